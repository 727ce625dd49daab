"""What every test stands on: a world of its own (home, state, config) and the real program run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox
from tests.worstday import Clients


@dataclass
class Result:
    """What a finished command left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class World:
    """A user's machine in a folder: nothing of it touches the real home."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def machine(self) -> Path:
        """$RUNCTL_HOME of the local machine."""
        return self.home / ".runctl"

    def project(self, files: dict[str, str], name: str = "project") -> Path:
        base = self.root / name
        for path, text in files.items():
            target = base / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        base.mkdir(exist_ok=True)
        return base

    def argv(self, *args: str | Path) -> list[str]:
        return [sys.executable, "-m", "runctl", *map(str, args)]

    def runctl(
        self, *args: str | Path, cwd: Path | None = None, stdin: str = "", timeout: float = 60, **env: str
    ) -> Result:
        done = subprocess.run(
            self.argv(*args),
            cwd=cwd or self.root,
            env={**self.env, **env},
            input=stdin,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def world(tmp_path: Path) -> World:
    home = tmp_path / "home"
    home.mkdir()
    keep = {
        k: v
        for k, v in os.environ.items()
        if k in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") or k.startswith(("PIP_", "UV_", "OPENBLAS"))
    }
    env = {**keep, "HOME": str(home), "TERM": "xterm", "GIT_CONFIG_NOSYSTEM": "1"}
    return World(tmp_path, env)


@pytest.fixture
def clients(world: World) -> Iterator[Clients]:
    """Starts commands in the background; the test fails when a process of its world is left behind."""
    clients = Clients(world)
    yield clients
    clients.end_all()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[AgentBox]:
    """A machine in a folder; the test fails when a process of it is left behind."""
    box = AgentBox(tmp_path / "machine")
    yield box
    box.check_nothing_left()


# What looks at the whole machine must not run beside what changes it: namespaces of the sandbox, the kernel's count
# of processes killed for want of memory. One group runs on one worker, one test after the other.
ALONE = {
    "sandbox": "sandbox",
    "test_aws_train": "sandbox",
    "test_aws_bad": "sandbox",
    "test_agent_endings": "endings",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for part, group in ALONE.items():
            if part in str(item.path.relative_to(Path(__file__).parent)):
                item.add_marker(pytest.mark.xdist_group(group))
