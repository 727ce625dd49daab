"""A user's machine in a temporary folder: home, state, projects, and the runctl of this very environment."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYTHON = sys.executable
BIN = Path(sys.executable).parent
RUNCTL = str(BIN / "runctl")


class World:
    """Nothing of it touches the real home; installers know no index but what a benchmark gives them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        home = root / "home"
        home.mkdir()
        self.state = root / "state"
        kept = {name: os.environ[name] for name in ("LANG", "PYTHONPATH", "TMPDIR") if name in os.environ}
        self.env = {
            **kept,
            "PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)]),
            "HOME": str(home),
            "TERM": "xterm",
            "RUNCTL_STATE_DIR": str(self.state),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "UV_NO_CONFIG": "1",
            "UV_PYTHON_DOWNLOADS": "never",
        }

    def project(self, name: str, files: Mapping[str, str]) -> Path:
        """A project folder with these files, and an empty ``.runctl.toml`` that makes it a root."""
        base = self.root / name
        for path, text in {".runctl.toml": "", **files}.items():
            target = base / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return base

    def runctl(
        self, *words: str | Path, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, output kept."""
        return subprocess.run(
            [RUNCTL, *words],
            cwd=cwd or self.root,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    @property
    def machine(self) -> Path:
        """``$RUNCTL_HOME`` of this world's machine."""
        return Path(self.env["HOME"]) / ".runctl"

    def active(self) -> list[dict[str, Any]]:
        """The runs that have not ended, as their machine says."""
        found = []
        for path in self.machine.glob("runs/*/status.json"):
            status = json.loads(path.read_text())
            if status["state"] != "ended":
                found.append(status)
        return found

    def end_all(self) -> None:
        """End whatever still runs here."""
        for status in self.active():
            self.runctl("cancel", status["run"], "--grace", "1")


@contextlib.contextmanager
def new_world() -> Iterator[World]:
    """A world for one benchmark; what runs in it is ended and what it wrote is deleted."""
    root = Path(tempfile.mkdtemp(prefix="runctl-bench-"))
    world = World(root)
    try:
        yield world
    finally:
        world.end_all()
        shutil.rmtree(root, ignore_errors=True)


def write_wheel(folder: Path, name: str) -> None:
    """A package of one empty module, so that an environment can be built without any index."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: benchmarks\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
