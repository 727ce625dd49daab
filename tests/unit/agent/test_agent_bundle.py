"""The one file: the same bytes every time, found or sent, and small commands stay small."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from tests.agentbox import AgentBox

from runctl.engine.bundle import LOADER, bundle

OLD = [
    path
    for version in ("3.6", "3.7")
    for path in Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")
]


def test_the_bundle_is_named_by_its_bytes_and_the_same_in_every_process() -> None:
    code = "from runctl.engine.bundle import bundle; print(bundle().digest)"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == bundle().digest == hashlib.sha256(bundle().source).hexdigest()
    assert bundle() is bundle()


def test_what_is_kept_of_it_is_no_other_than_what_would_be_made(tmp_path: Path) -> None:
    package = Path(sys.modules["runctl"].__path__[0])
    copy = tmp_path / "runctl"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "data"))
    ask = [sys.executable, "-c", "from runctl.engine.bundle import bundle; print(bundle().digest)"]

    def digest() -> str:
        env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
        return subprocess.run(ask, env=env, capture_output=True, text=True, check=True).stdout.strip()

    first, kept = digest(), copy / "engine" / "__pycache__" / "agent.bundle"
    assert first == digest() == bundle().digest
    kept.write_bytes(kept.read_bytes()[:-1] + b"#")
    assert digest() == first
    with (copy / "agent" / "wire.py").open("a") as file:
        file.write("# another agent\n")
    assert digest() != first


def test_every_module_of_the_agent_and_the_formats_is_in_it() -> None:
    source = bundle().source.decode()
    root = Path(sys.modules["runctl"].__path__[0])
    for package in ("agent", "formats"):
        for path in (root / package).rglob("*.py"):
            name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
            assert f"    {name!r}: " in source


def test_an_agent_that_is_not_there_is_asked_for_and_then_kept(box: AgentBox) -> None:
    asked = box.raw("status", b'0 1\n{"runs":null}\n')
    assert (asked.returncode, asked.stdout) == (90, b"")
    assert box.call("status", {"runs": None}) == {"runs": []}
    assert sorted(path.name for path in (box.home / "agent").iterdir()) == [
        compiled(box).name,
        kept(box).name,
    ]
    again = box.raw("status", b'0 1\n{"runs":null}\n')
    assert json.loads(again.stdout) == {"runs": []}


def test_without_keep_nothing_is_written(box: AgentBox) -> None:
    facts = box.call("probe", {"blobs": [], "environment": None}, keep=False)
    assert facts["agent"] == bundle().digest
    assert not box.home.exists()


def test_a_damaged_agent_is_deleted_and_asked_for_again(box: AgentBox) -> None:
    box.call("status", {"runs": None})
    compiled(box).unlink()
    kept(box).write_bytes(kept(box).read_bytes()[:-1])
    assert box.raw("status", b'0 1\n{"runs":null}\n').returncode == 90
    assert not kept(box).exists()


def test_what_is_compiled_is_kept_and_what_is_damaged_is_compiled_again(box: AgentBox) -> None:
    box.call("status", {"runs": None})
    first = compiled(box).read_bytes()
    asked = b'0 1\n{"runs":null}\n'
    assert json.loads(box.raw("status", asked).stdout) == {"runs": []}
    assert compiled(box).read_bytes() == first  # nothing was missing in it
    box.raw("probe", b'0 1\n{"blobs":[]}\n')
    assert len(compiled(box).read_bytes()) > len(first)
    for damage in (first[:100], first[:-1] + b"\0", b""):
        compiled(box).write_bytes(damage)
        assert json.loads(box.raw("status", asked).stdout) == {"runs": []}
        assert compiled(box).read_bytes() == first
    kept(box).unlink()  # the compiled one is enough
    assert json.loads(box.raw("status", asked).stdout) == {"runs": []}


def kept(box: AgentBox) -> Path:
    return box.home / "agent" / f"{bundle().digest}.py"


def compiled(box: AgentBox) -> Path:
    magic = importlib.util.MAGIC_NUMBER.hex()
    return box.home / "agent" / f"{bundle().digest}.{magic}"


def test_an_agent_that_arrives_damaged_is_neither_run_nor_kept(box: AgentBox) -> None:
    damaged = zlib.compress(bundle().source[:-1] + b"#")
    done = box.raw("status", b"%d 1\n" % len(damaged) + damaged + b'{"runs":null}\n')
    assert (done.returncode, done.stdout) == (92, b"")
    cut = box.raw("status", b"%d 1\n" % len(damaged) + damaged[:100])
    assert (cut.returncode, cut.stdout) == (91, b"")
    assert not box.home.exists()


def test_a_home_that_cannot_be_written_does_not_stop_a_question(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    box = AgentBox(tmp_path / "file" / "home")
    assert box.call("status", {"runs": None}) == {"runs": []}


def test_an_empty_home_means_the_users(tmp_path: Path, box: AgentBox) -> None:
    box.env["HOME"] = str(tmp_path / "user")
    argv = [box.python, "-I", "-S", "-c", LOADER, bundle().digest, "", "probe"]
    done = subprocess.run(argv, input=box.stdin({"blobs": []}), env=box.env, capture_output=True, check=True)
    assert json.loads(done.stdout)["home"] == str(tmp_path / "user" / ".runctl")


@pytest.mark.skipif(not OLD, reason="no Python older than 3.8 here")
@pytest.mark.parametrize("python", OLD, ids=lambda path: path.parts[-3])
def test_an_old_python_says_that_it_is_too_old(python: Path, tmp_path: Path) -> None:
    done = AgentBox(tmp_path / "home", str(python)).raw("probe", b"0 0\n{}\n")
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "machine-python-too-old"
    assert error["facts"]["python"].startswith(python.parts[-3][:3])


@pytest.mark.parametrize("command", ["follow", "status", "probe"])
def test_a_small_command_imports_little(command: str, box: AgentBox) -> None:
    box.call("status", {"runs": None})
    argv = box.argv(command)
    argv[1:1] = ["-X", "importtime"]
    request: dict[str, object] = {"run": "r", "runs": None, "blobs": []}
    done = subprocess.run(
        argv, input=b"0 1\n" + json.dumps(request).encode() + b"\n", capture_output=True, check=False
    )
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr.decode(), re.MULTILINE))
    assert "json" in imported
    heavy = {"pathlib", "dataclasses", "ctypes", "asyncio", "inspect"}
    if command != "probe":
        heavy |= {"typing", "subprocess", "shutil", "hashlib", "threading"}
    assert not imported & heavy


def test_a_crash_is_answered_with_its_traceback(box: AgentBox) -> None:
    run = box.home / "runs" / "r1"
    run.mkdir(parents=True)
    (run / "status.json").write_text('{"state": 1}')
    done = box.raw("status", box.stdin({"runs": None}))
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (1, "agent-crashed")
    assert "KeyError" in error["facts"]["detail"]
    assert re.search(
        r'File "runctl/agent/status.py", line \d+, in observe\n +.*supervisor', error["facts"]["traceback"]
    )


def test_only_the_owner_may_look(box: AgentBox) -> None:
    box.whole("r1", "print(1)")
    assert os.stat(box.home).st_mode & 0o777 == 0o700
    assert os.stat(box.folder("r1")).st_mode & 0o777 == 0o700
    assert os.stat(box.folder("r1") / "output.log").st_mode & 0o077 == 0
