"""The import gate: a script runs while its packages are being installed, by the real installers."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.environment.env_machine import INSTALLERS, Machine, until
from tests.unit.environment.wheel_index import Index, broken_sdist, wheel

from runctl.agent.failure import AgentFailure

if TYPE_CHECKING:
    from runctl.agent.environment import Environment

each_installer = pytest.mark.parametrize("installer", INSTALLERS)


class Script:
    """A script that was started in an environment; it tells its progress by files."""

    def __init__(self, machine: Machine, found: Environment, source: str) -> None:
        self.folder = machine.code
        (machine.code / "train.py").write_text(
            "import pathlib\ndef told(name):\n    pathlib.Path(name).touch()\n" + textwrap.dedent(source)
        )
        self.process = subprocess.Popen(
            [found.python, "train.py"],
            cwd=machine.code,
            env={**os.environ, **found.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, name: str) -> bool:
        return (self.folder / name).exists()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def index() -> Any:
    made = Index().add(
        wheel(
            "slow",
            files={"slow/__init__.py": "x = 42\n", "slow/part.py": "", "slow/d.bin": os.urandom(400_000)},
        )
    )
    made.add(wheel("needs", requires=("slow", 'never; sys_platform == "win32"')))
    made.add(wheel("space_a", files={"space/a/__init__.py": "x = 'a'\n"}))
    made.add(wheel("space_b", files={"space/b.py": "x = 'b'\n"}, requires=("slow",)))
    with made:
        yield made


SLOW = "slow-1.0-py3-none-any.whl"


@each_installer
def test_the_script_works_while_its_package_comes(installer, index, tmp_path, monkeypatch) -> None:
    event = index.hold(SLOW)
    machine = Machine(tmp_path, monkeypatch, index)
    (machine.code / "own.py").write_text("y = 1\n")
    (machine.code / "plain").mkdir()
    (machine.code / "plain" / "module.py").write_text("z = 2\n")
    found = machine.ensure(machine.request("needs", installer=installer), mode="background")
    assert machine.complete() == []
    script = Script(
        machine,
        found,
        """
        import sqlite3, json, xml.dom.minidom, multiprocessing, own, plain.module
        told("worked")
        import threading
        def other():
            import csv, plistlib  # the interpreter's import lock is not held by the one who waits
            told("thread")
        threading.Timer(0.3, other).start()
        told("waits")
        import needs, slow.part
        from importlib.metadata import version
        print(needs.__version__, slow.x, version("slow"))
        """,
    )
    until(lambda: script.told("worked") and script.told("waits"))
    until(lambda: "the script waits for needs" in machine.notices())
    until(lambda: script.told("thread"))
    assert script.process.poll() is None
    assert not found.complete
    event.set()
    assert script.end() == (0, "1.0 42 1.0\n", "")
    found.wait()
    assert machine.complete() == [found.key]
    # Nothing is left of the gate but a module nobody imports.
    listed = machine.run(
        found,
        "import sys; print([f for f in sys.meta_path if 'Gate' in type(f).__name__], 'json' in sys.modules)",
    )
    assert listed.stdout == "[] False\n"
    assert not list((machine.home / "envs").glob("*/lib/*/site-packages/_runctl_gate.pth"))


@each_installer
def test_namespace_packages_and_optional_imports_wait_as_long_as_they_must(
    installer, index, tmp_path, monkeypatch
) -> None:
    event = index.hold(SLOW)
    machine = Machine(tmp_path, monkeypatch, index)
    found = machine.ensure(machine.request("space_a", "space_b", installer=installer), mode="background")
    script = Script(
        machine,
        found,
        """
        told("begun")
        import space.a, space.b
        import importlib.util
        print(space.a.x, space.b.x, importlib.util.find_spec("optional_thing"))
        try:
            import optional_thing
        except ModuleNotFoundError as error:
            print(error)
        """,
    )
    until(lambda: script.told("begun"))
    until(lambda: "the script waits for space" in machine.notices())
    event.set()
    assert script.end() == (0, "a b None\nNo module named 'optional_thing'\n", "")
    found.wait()


@each_installer
def test_after_a_failed_installation_the_import_fails_with_the_reason(
    installer, index, tmp_path, monkeypatch
) -> None:
    event = index.hold(SLOW)
    index.add(broken_sdist("nobuild"))
    index.false_hash.add("needs-1.0-py3-none-any.whl")
    machine = Machine(tmp_path, monkeypatch, index)
    found = machine.ensure(machine.request("slow", "needs", installer=installer), mode="background")
    script = Script(
        machine,
        found,
        """
        import importlib.util
        told("begun")
        try:
            import slow
        except ImportError as error:
            print("reason:", error)
        print(importlib.util.find_spec("needs"))
        import needs
        """,
    )
    until(lambda: script.told("begun"))
    event.set()
    with pytest.raises(AgentFailure) as caught:
        found.wait()
    assert caught.value.code == "hash-mismatch"
    code, out, err = script.end()
    assert code == 1
    assert out.startswith("reason: No module named 'slow': the installation failed:"), out
    assert "sha256" in out
    assert "\nNone\n" in out
    assert "ModuleNotFoundError: No module named 'needs': the installation failed" in err
    assert machine.complete() == []
    assert machine.events("step.failed")[0]["code"] == "hash-mismatch"
    index.false_hash.clear()
    assert (
        machine.run(
            machine.ensure(machine.request("slow", "needs", installer=installer)), "import needs"
        ).returncode
        == 0
    )


@each_installer
def test_children_of_the_script_wait_too(installer, index, tmp_path, monkeypatch) -> None:
    event = index.hold(SLOW)
    machine = Machine(tmp_path, monkeypatch, index)
    found = machine.ensure(machine.request("slow", installer=installer), mode="background")
    (machine.code / "work.py").write_text("def of(n):\n    import slow\n    return slow.x + n\n")
    script = Script(
        machine,
        found,
        """
        import multiprocessing, subprocess, sys, work
        if __name__ == "__main__":
            told("begun")
            child = subprocess.Popen([sys.executable, "-c", "import slow.part; print(f'child {slow.x}' + chr(10), end='')"])
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(f"pool {pool.map(work.of, [1])}" + chr(10), end="", flush=True)
            sys.exit(child.wait())
        """,
    )
    until(lambda: script.told("begun"))
    until(lambda: len(list(machine.home.glob("envs/*.waiting/*-1"))) == 2)
    event.set()
    code, out, err = script.end()
    assert (code, sorted(out.splitlines()), err) == (0, ["child 42", "pool [43]"], "")
    found.wait()


def test_a_half_written_package_is_never_imported(index, tmp_path, monkeypatch) -> None:
    event = index.hold(SLOW)
    machine = Machine(tmp_path, monkeypatch, index)
    found = machine.ensure(machine.request("slow"), mode="background")
    site = next(machine.home.glob("envs/*/lib/*/site-packages"))
    (site / "slow").mkdir()
    (site / "slow" / "__init__.py").write_text("raise SystemExit('half')\n")
    (site / "done").mkdir()
    (site / "done" / "__init__.py").write_text("")
    info = site / "done-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: done\nVersion: 1.0\nRequires-Dist: other; extra == 'all'\n\n")
    (info / "RECORD").write_text("done/__init__.py,,\ndone-1.0.dist-info/INSTALLER,,\n")
    script = Script(machine, found, "import done\ntold('done')\nimport slow\nprint(slow.x)\n")
    until(lambda: script.told("done"))  # what is in place does not wait
    until(lambda: "waits for slow" in machine.notices())
    (site / "slow" / "__init__.py").unlink()
    (site / "slow").rmdir()
    event.set()
    assert script.end() == (0, "42\n", "")
    found.wait()


def test_a_killed_builder_ends_the_waiting(index, tmp_path, monkeypatch) -> None:
    machine = Machine(tmp_path, monkeypatch, index)
    index.hold(SLOW)
    stop: list[bool] = []
    found = machine.ensure(machine.request("slow"), mode="background", cancelled=lambda: bool(stop))
    script = Script(machine, found, "told('begun')\nimport slow\n")
    until(lambda: "waits for slow" in machine.notices())
    state = machine.home / "envs" / f"{found.key}.state.json"
    told = json.loads(state.read_text())
    stop.append(True)
    with pytest.raises(AgentFailure, match="cancelled"):
        found.wait()
    assert script.end()[0] == 1
    told |= {
        "state": "installing",
        "builder": [told["builder"][0], 1],
    }  # a process number that was used again
    state.write_text(json.dumps(told))
    done = machine.run(found, "import slow")
    assert "it was ended before it was complete" in done.stderr


def test_an_environment_complete_has_no_gate_and_the_bare_one_is_there_at_once(
    tmp_path: Path, monkeypatch, index
) -> None:
    machine = Machine(tmp_path, monkeypatch, index)
    found = machine.ensure(machine.request("slow"), mode="background")
    found.wait()
    again = machine.ensure(machine.request("slow"), mode="background")
    assert again.complete
    assert machine.run(again, "import slow, sys; print('_runctl_gate' in sys.modules)").stdout == "False\n"


def test_the_import_that_opens_the_gate_skips_no_finder(tmp_path: Path, monkeypatch, index) -> None:
    machine = Machine(tmp_path, monkeypatch, index)
    event = index.hold(SLOW)
    found = machine.ensure(machine.request("slow"), mode="background")
    script = Script(
        machine,
        found,
        """
        import os, sys, time
        told("begun")
        while not os.path.exists(os.path.join(sys.prefix, ".runctl.json")):
            time.sleep(0.02)
        name = next(n for n in sys.builtin_module_names if n not in sys.modules)
        print(__import__(name).__name__ == name, [f for f in sys.meta_path if type(f).__name__ == "Gate"])
        """,
    )
    until(lambda: script.told("begun"))
    event.set()
    assert script.end() == (0, "True []\n", "")
    found.wait()


@each_installer
def test_the_gate_works_in_the_oldest_python(installer, index, tmp_path, monkeypatch) -> None:
    folders = [
        *os.environ["PATH"].split(os.pathsep),
        *map(str, (Path.home() / ".pyenv/versions").glob("3.8*/bin")),
    ]
    old = next(
        (each for each in folders if os.access(f"{each}/python3.8", os.X_OK) and "shims" not in each), None
    )
    if old is None:
        pytest.skip("no Python 3.8 on this machine")
    event = index.hold(SLOW)
    machine = Machine(tmp_path, monkeypatch, index)
    monkeypatch.setenv("PATH", f"{old}{os.pathsep}{os.environ['PATH']}")
    request = machine.request("slow", installer=installer, python="==3.8.*")
    found = machine.ensure(request, mode="background")
    script = Script(
        machine,
        found,
        "import sqlite3, decimal, sys\ntold('begun')\nimport slow\nprint(slow.x, sys.version_info[:2])\n",
    )
    until(lambda: script.told("begun"))
    until(lambda: "waits for slow" in machine.notices())
    event.set()
    assert script.end() == (0, "42 (3, 8)\n", "")
    found.wait()
