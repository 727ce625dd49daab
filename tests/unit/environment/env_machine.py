"""A machine for the tests of environments: a home, a project, and installers that know only the loopback index."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.agent import environment
from runctl.agent.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from tests.unit.environment.wheel_index import Index

SOURCE = Path(environment.__file__).parents[2]
INSTALLERS = ("uv", "pip")


class Machine:
    """$RUNCTL_HOME, the code of one run, and its journal, below ``root``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, index: Index | None = None) -> None:
        self.root = root
        self.home = root / "machine"
        self.code = root / "code"
        self.code.mkdir(parents=True)
        self.home.mkdir()
        self.journal = root / "events.jsonl"
        for name in list(os.environ):
            if name.startswith(("PIP_", "UV_", "VIRTUAL_ENV")) or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        (root / "home").mkdir()
        settings = {
            "HOME": str(root / "home"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_CACHE_DIR": str(root / "pip-cache"),
            "PIP_RETRIES": "1",
            "UV_CACHE_DIR": str(root / "uv-cache"),
            "UV_HTTP_RETRIES": "0",
            "UV_PYTHON_DOWNLOADS": "never",
        }
        if index is not None:
            settings |= {"PIP_INDEX_URL": index.url, "UV_DEFAULT_INDEX": index.url}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    def request(self, *lines: str, installer: str = "uv", **more: Any) -> dict[str, Any]:
        """A request for these requirement lines; the file is written into the code."""
        text = "".join(line + "\n" for line in lines)
        (self.code / "requirements.txt").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return {
            "kind": "requirements",
            "files": ["requirements.txt"],
            "blobs": {"requirements.txt": digest},
            "python": None,
            "digest": digest,
            "installer": installer,
            **more,
        }

    def ensure(
        self, request: dict[str, Any] | None, *, cancelled: Callable[[], bool] = lambda: False, **options: Any
    ) -> environment.Environment:
        journal = Journal(str(self.journal), "brave-otter-1")
        options = {"retry_after": (), **options}
        return environment.ensure(
            request, home=str(self.home), code=str(self.code), journal=journal, cancelled=cancelled, **options
        )

    def start(
        self,
        request: dict[str, Any],
        *,
        journal: str = "events.jsonl",
        prefix: tuple[str, ...] = (),
        store: dict[str, Any] | None = None,
    ) -> Any:
        """The same in a process of its own, which prints the outcome as one JSON line."""
        program = (
            f"import sys, json; sys.path.insert(0, {str(SOURCE)!r})\n"
            "from runctl.agent import environment\n"
            "from runctl.agent.journal import Journal\n"
            "request, home, code, journal, store = json.loads(sys.argv[1])\n"
            "try:\n"
            "    found = environment.ensure(request, home=home, code=code, journal=Journal(journal, 'r'),\n"
            "                               cancelled=lambda: False, retry_after=(), store=store)\n"
            "    print(json.dumps({'python': found.python}))\n"
            "except environment.AgentFailure as failure:\n"
            "    print(json.dumps(failure.to_json()))\n"
        )
        argument = json.dumps([request, str(self.home), str(self.code), str(self.root / journal), store])
        return subprocess.Popen(
            [*prefix, sys.executable, "-c", program, argument],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def events(self, kind: str = "", journal: str = "events.jsonl") -> list[dict[str, Any]]:
        """The events so far, of one kind when it is given."""
        path = self.root / journal
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [event for event in found if not kind or event["kind"] == kind]

    def notices(self, journal: str = "events.jsonl") -> str:
        return "\n".join(event["text"] for event in self.events("notice", journal))

    def run(self, found: environment.Environment, code: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python as the script would run."""
        return subprocess.run(
            [found.python, "-c", code, *argv],
            env={**os.environ, **found.variables},
            cwd=self.code,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def complete(self) -> list[str]:
        """Keys of the complete environments."""
        return [path.parent.name for path in self.home.glob("envs/*/.runctl.json")]


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Poll until the condition is true; its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
