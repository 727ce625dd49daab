"""The agent's own modules for a test: any Python runs a piece of code in front of them, as it would on a machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from runctl.engine.bundle import bundle

VERSIONS = Path("~/.pyenv/versions").expanduser()
OLDEST = next((str(path) for path in sorted(VERSIONS.glob("3.8.*/bin/python"))), "")
PYTHONS = [sys.executable, *([OLDEST] if OLDEST else [])]


def program(code: str) -> str:
    """A whole program: the agent's modules can be imported in it, nothing else of runctl can."""
    modules, found, _ = bundle().source.decode().partition("from runctl.agent.main import main")
    assert found
    return modules + code


def on_machine(
    code: str, file: Path, *, python: str = sys.executable, env: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` as a machine's Python would: isolated, standard library and the agent only."""
    file.write_text(program(code))
    done = subprocess.run(
        [python, "-I", "-S", str(file)],
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
