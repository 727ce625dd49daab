"""What the client stands on, broken: its streams, its locale, its state folder, its cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Result, World
from tests.worstday import WAITS, Clients, processes_of, runs

FULL = "cannot write to stdout: No space left on device"


@pytest.fixture
def project(world: World) -> Path:
    return world.project({"t.py": "print('said')", ".runctl.toml": ""})


def shell(world: World, line: str, cwd: Path, **env: str) -> Result:
    """``line`` in a real shell, for its redirections; ``$R`` is the program."""
    program = f"{sys.executable} -m runctl"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env={**world.env, "R": program, **env},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@pytest.mark.parametrize(
    ("redirection", "seen"), [(">&-", ""), ("<&-", "said\n"), ("2>&-", "said\n"), ("<&- >&- 2>&-", "")]
)
def test_closed_streams_are_nobodys_failure(world: World, project: Path, redirection: str, seen: str) -> None:
    done = shell(world, f"$R train t.py {redirection}", project)
    assert (done.code, done.out) == (0, seen), done.err
    assert [run["outcome"] for run in runs(world)] == ["succeeded"]


@pytest.mark.parametrize(
    "command",
    ["runs", "runs --json", "logs latest", "show latest", "train --help", "--version", "runs --help"],
)
def test_a_full_disk_behind_stdout_is_said(world: World, project: Path, command: str) -> None:
    assert world.runctl("train", "t.py", cwd=project).code == 0
    done = shell(world, f"$R {command} > /dev/full", project)
    assert (done.code, done.err.count("error[")) == (74, 0)
    assert FULL in done.err


def test_a_run_goes_on_when_its_output_cannot_be_written(world: World, clients: Clients) -> None:
    project = world.project({"t.py": WAITS})
    gate = world.root / "gate"
    full = shell(world, f"$R train t.py -- {gate} > /dev/full", project)
    left = shell(world, f"set -o pipefail; $R train t.py -- {gate} | true", project)
    assert (full.code, left.code) == (74, 141)
    assert FULL in full.err
    found = runs(world)
    assert [run["state"] for run in found] == ["running", "running"]
    for run, done in zip(reversed(found), (full, left), strict=True):
        assert f"runctl attach {run['name']}" in done.err
    gate.touch()
    for run in found:
        assert world.runctl("attach", run["name"]).out == "ready\ndone\n"


BARE_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("locale", [BARE_ASCII, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_names_that_the_locale_cannot_say(world: World, locale: dict[str, str]) -> None:
    world.env.update(locale)
    project = world.project({"übung ✓.py": "import sys; print(ascii(sys.argv[0]))", ".runctl.toml": ""})
    done = world.runctl("train", "übung ✓.py", cwd=project)
    assert done.code == 0, done.err
    for args in (["runs"], ["show", "latest"], ["runs", "--json"], ["project", "--files"]):
        told = world.runctl(*args, cwd=project)
        assert told.code == 0, told.err
        assert told.out
    dry = world.runctl("train", "-n", "übung ✓.py", cwd=project)
    assert dry.code == 0, dry.err
    assert "bung" in dry.out


@pytest.mark.parametrize("folder", [b"no\xffutf", b"new\nline", b"-d", b'it\'s "quoted" $HOME', "ü".encode()])
def test_a_project_folder_of_any_name(world: World, folder: bytes) -> None:
    project = world.root / os.fsdecode(folder)
    project.mkdir()
    (project / "t.py").write_text("print(1)")
    (project / ".runctl.toml").write_text("")
    done = world.runctl("train", "t.py", cwd=project)
    assert (done.code, done.out) == (0, "1\n"), done.err
    assert runs(world)[0]["project"] == str(project)
    assert world.runctl("show", "latest").code == 0


@pytest.mark.parametrize(
    "script", [b"a b.py", b"new\nline.py", b"q\"'uote.py", b"-dash.py", b"no\xffutf.py", b"$HOME.py", b"*.py"]
)
def test_a_script_of_any_name(world: World, script: bytes) -> None:
    name = os.fsdecode(script)
    project = world.project({name: "import sys; print(ascii(sys.argv[0]))", ".runctl.toml": ""})
    given = f"./{name}" if name.startswith("-") else name
    dry = world.runctl("train", "-n", "--json", given, cwd=project)
    (plan,) = [event["plan"] for event in dry.events() if event["kind"] == "run.planned"]
    done = world.runctl("train", given, cwd=project)
    assert (done.code, done.out) == (0, ascii(given) + "\n"), done.err
    assert plan["command"][-1] == given


def test_arguments_and_variables_of_any_kind(world: World) -> None:
    show = "import os, sys\nprint(len(sys.argv), len(sys.argv[-1]), ascii(os.environ.get('ODD')))"
    project = world.project({"t.py": show, ".runctl.toml": ""})
    for args, env, expected in (
        (["x" * 100_000], "a\nb", "2 100000 'a\\nb'"),
        (["abc"] * 20_000, "\udcff\udcfe", "20001 3 '\\udcff\\udcfe'"),
    ):
        done = world.runctl("train", "t.py", "--env", f"ODD={env}", "--", *args, cwd=project)
        assert (done.code, done.out) == (0, expected + "\n"), done.err[-2000:]


def break_index(state: Path, how: str) -> None:
    for path in state.glob("index.sqlite*"):
        path.unlink()
    if how == "garbage":
        (state / "index.sqlite").write_bytes(b"garbage " * 500)
    elif how == "cut":
        (state / "index.sqlite").write_bytes(b"SQLite format 3\0" + b"\0" * 30)


@pytest.mark.parametrize("how", ["gone", "garbage", "cut"])
def test_an_index_that_is_broken_is_made_again(world: World, project: Path, how: str) -> None:
    assert world.runctl("train", "t.py", cwd=project).code == 0
    break_index(world.home / ".local/state/runctl", how)
    assert [run["outcome"] for run in runs(world)] == ["succeeded"]
    break_index(world.home / ".local/state/runctl", how)
    done = world.runctl("train", "t.py", cwd=project)
    assert (done.code, done.out) == (0, "said\n"), done.err
    assert len(runs(world)) == 2


@pytest.mark.parametrize("place", ["index.sqlite", "runs", "."])
def test_a_file_where_a_folder_belongs_and_the_other_way(world: World, project: Path, place: str) -> None:
    state = world.home / ".local/state/runctl"
    if place == "index.sqlite":
        (state / place).mkdir(parents=True)
    else:
        (state / place).parent.mkdir(parents=True)
        (state / place).resolve().write_text("")
    done = world.runctl("train", "t.py", cwd=project)
    assert done.code == 3
    assert "error[state-unwritable]" in done.err
    assert not (world.machine / "runs").exists()
    assert world.runctl("runs").code == 0


def test_a_cache_that_cannot_be_written_costs_time_only(world: World, project: Path) -> None:
    (world.home / ".cache").write_text("")
    done = world.runctl("train", "t.py", cwd=project)
    assert (done.code, done.out) == (0, "said\n"), done.err


def mounted(world: World, options: str, line: str, cwd: Path, **env: Any) -> Result:
    """``line`` where the folder ``$D`` is a mount of its own; skips the test where that is not allowed."""
    folder = world.root / "mounted"
    folder.mkdir(exist_ok=True)
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounts need root")
    return shell(world, f"exec unshare -m bash -c '{options} && {line}'", cwd, D=str(folder), **env)


def test_a_state_folder_that_is_read_only_still_lets_one_watch_and_cancel(
    world: World, clients: Clients
) -> None:
    project = world.project({"t.py": WAITS})
    state = world.home / ".local/state"
    name, _ = clients.detached(project, "t.py", str(world.root / "never"))
    read_only = f"mount -o bind {state} {state} && mount -o remount,ro,bind {state}"
    for command, code in (
        (f"runs | grep {name}", 0),
        (f"show {name}", 0),
        (f"logs {name}", 0),
        ("stats", 0),
        ("train t.py -- x", 3),
        (f"cancel {name} --grace 1", 0),
        (f"attach {name}", 130),
    ):
        done = mounted(world, read_only, f"$R {command}", project)
        assert done.code == code, f"{command}: {done.err}"
        assert "error[bug]" not in done.err
    assert [(run["name"], run["outcome"]) for run in runs(world)] == [(name, "cancelled")]


@pytest.mark.parametrize("size", ["16k", "64k", "100k"])
def test_a_full_state_folder_starts_nothing_half(world: World, project: Path, size: str) -> None:
    line = "RUNCTL_STATE_DIR=$D $R train t.py; code=$?; RUNCTL_STATE_DIR=$D $R runs --json; exit $code"
    done = mounted(world, f"mount -t tmpfs -o size={size} none $D", line, project)
    assert done.code in (0, 3), done.err
    assert "error[bug]" not in done.err
    if done.code == 3:
        assert "error[state-unwritable]" in done.err
        assert not (world.machine / "runs").exists()
        assert done.out in ("[]\n", "")
    assert not processes_of(world)


def test_no_home_at_all_is_one_clear_error_or_none(world: World, project: Path) -> None:
    (world.root / "file").write_text("")
    done = world.runctl("train", "t.py", cwd=project, HOME=str(world.root / "file"))
    assert done.code == 3
    assert "error[state-unwritable]" in done.err
    shutil.rmtree(world.home)
    done = world.runctl("train", "t.py", cwd=project)
    assert (done.code, done.out) == (0, "said\n"), done.err
