"""Clients of clouds that are none of ours, run as a shell would run them, with a sandbox's variables around them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.sandbox.cloud_world import SandboxBox

PLACE = Path(sys.prefix) / "clients"  # made by tests/clients.sh
NEEDED = pytest.mark.skipif(
    not (PLACE / ".ready").exists(), reason="no independent clients here: make .venv/clients/.ready"
)


def environment(box: SandboxBox, **more: str) -> dict[str, str]:
    """What a program gets: the sandbox's variables, the clients on PATH, and nothing else of ours."""
    path = f"{PLACE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(box.base), "LANG": "C.UTF-8", **box.values, **more}


def client(
    box: SandboxBox, *argv: str | Path, code: int = 0, stdin: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a client to its end; it has to end with ``code``."""
    done = subprocess.run(
        list(map(str, argv)),
        env=environment(box, **more),
        cwd=box.base,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}\n{box.log()}"
    return done


def tree(folder: Path) -> Path:
    """A folder with names and sizes that clients treat each in its own way; ``big`` is for several parts."""
    (folder / "deep" / "deeper").mkdir(parents=True)
    for name in ("plain", "with space", "a+b&c=d", "ü~'", "empty"):
        (folder / "deep" / name).write_bytes(b"" if name == "empty" else os.urandom(1234))
    (folder / "deep" / "deeper" / "last").write_text("last\n")
    (folder / "big").write_bytes(os.urandom(17 * 1024 * 1024 + 5))
    return folder


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    return subprocess.run(["diff", "-r", one, other], capture_output=True, check=False).returncode == 0
