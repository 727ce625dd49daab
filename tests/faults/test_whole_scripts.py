"""Scripts that misbehave: how they end, what they print, what they leave, what they do to their own files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.agentbox import until
from tests.conftest import World
from tests.worstday import Clients, processes_of, runs


def train(world: World, source: str) -> tuple[int, bytes, str]:
    """Exit status, stdout as bytes, stderr of a run of ``source``."""
    import subprocess

    project = world.project({"t.py": source, ".runctl.toml": ""})
    done = subprocess.run(
        world.argv("train", "t.py"), cwd=project, env=world.env, capture_output=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("status", [0, 1, 2, 126, 127, 130, 137, 143, 255])
def test_every_exit_status_is_the_scripts_own(world: World, status: int) -> None:
    code, _, err = train(world, f"import os; os._exit({status})")
    assert code == (1 if status else 0)
    assert status == 0 or f"exit status {status}" in err
    (run,) = runs(world)
    assert (run["outcome"], run["exit_code"]) == ("failed" if status else "succeeded", status)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import sys; sys.exit('a message')", b"a message\n"),
        ("import nowhere_to_be_found", b"ModuleNotFoundError: No module named 'nowhere_to_be_found'\n"),
        ("def (:", b"SyntaxError: invalid syntax\n"),
    ],
)
def test_what_python_says_is_shown(world: World, source: str, said: bytes) -> None:
    code, out, err = train(world, source)
    assert code == 1
    assert out.endswith(said)
    assert "error[script-failed]" in err


EVERY_BYTE = bytes(range(256)) * 100 + b"\x1b]0;title\x07\x1b[2J\0\0\r\n\xff"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import sys; sys.stdout.write('x' * 10_000_000)", b"x" * 10_000_000),
        (f"import sys; sys.stdout.buffer.write({EVERY_BYTE!r})", EVERY_BYTE),
        ("import os; print('a', flush=True); os.close(1); os.close(2)", b"a\n"),
        ("import os; os.close(0); print('b')", b"b\n"),
        ("import os, shutil; shutil.rmtree(os.getcwd()); print('gone')", b"gone\n"),
    ],
)
def test_output_of_any_kind_is_passed_on_untouched(world: World, source: str, expected: bytes) -> None:
    code, out, err = train(world, source)
    assert code == 0, err
    assert out == expected
    assert world.runctl("show", "latest").code == 0


def test_thousands_of_warnings_arrive(world: World) -> None:
    source = "import warnings\nwarnings.simplefilter('always')\nfor i in range(5000): warnings.warn(str(i))"
    code, out, _ = train(world, source)
    assert code == 0
    assert out.count(b"UserWarning") == 5000


@pytest.mark.parametrize(
    "source",
    [
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(600)\n  os._exit(0)",
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)",
        "import subprocess\nsubprocess.Popen(['setsid', '-f', 'sleep', '600'], env={})",
    ],
)
def test_a_daemon_does_not_outlive_its_run_or_hold_it_up(world: World, source: str) -> None:
    code, out, err = train(world, source + "\nprint('y')")
    assert (code, out) == (0, b"y\n"), err
    assert "killed" in err
    until(lambda: not processes_of(world), "nothing is left")


def test_ten_thousand_small_files(world: World, clients: Clients) -> None:
    project = world.project({"t.py": "import os; print(len(os.listdir('many')))", ".runctl.toml": ""})
    (project / "many").mkdir()
    for number in range(10_000):
        (project / "many" / f"{number}.txt").write_text(str(number))
    done = world.runctl("train", "t.py", cwd=project)
    assert (done.code, done.out) == (0, "10000\n"), done.err
    again = world.runctl("train", "t.py", "-n", "--json", cwd=project)
    (code,) = [event["plan"]["code"] for event in again.events() if event["kind"] == "run.planned"]
    assert (code["files"], code["send_files"]) == (10_002, 0)


def test_a_huge_file_that_is_ignored_costs_nothing(world: World) -> None:
    project = world.project({"t.py": "print(1)", ".runctl.toml": "", ".gitignore": "*.bin\n"})
    with (project / "huge.bin").open("wb") as file:
        file.truncate(3 << 40)
    done = world.runctl("train", "t.py", cwd=project)
    assert (done.code, done.out) == (0, "1\n"), done.err


def test_an_empty_project_has_no_script(world: World) -> None:
    project: Path = world.project({".runctl.toml": ""})
    done = world.runctl("train", "t.py", cwd=project)
    assert done.code == 2
    assert "error[script-not-found]" in done.err
    assert not os.path.exists(world.machine)
