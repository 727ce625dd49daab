"""The client as a process that can be hit at any step, and everything that is left of it afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.agentbox import until
from tests.unit.environment.wheel_index import wheel

if TYPE_CHECKING:
    from tests.conftest import World

PATIENCE = 30.0  # seconds a command may take on a loaded machine
WAITS = """
import pathlib, sys, time
print("ready", flush=True)
gate = pathlib.Path(sys.argv[1])
while not gate.exists():
    time.sleep(0.02)
print("done", flush=True)
"""


class Clients:
    """Commands in the background, each in a session of its own; ``world`` is theirs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *args: str | Path, cwd: Path | None = None, **more: Any) -> subprocess.Popen[bytes]:
        settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        process = subprocess.Popen(
            self.world.argv(*args),
            env=self.world.env,
            cwd=cwd or self.world.root,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **settings,
        )
        self._started.append(process)
        return process

    def detached(self, cwd: Path, script: str, *args: str) -> tuple[str, Path]:
        """A run that said ``ready``: its name, its folder on the machine."""
        done = self.world.runctl("train", script, "-d", "--", *args, cwd=cwd)
        assert done.code == 0, done.err
        (run,) = [run for run in runs(self.world) if run["name"] == done.out.strip()]
        folder = self.world.machine / "runs" / run["id"]
        until(lambda: b"ready" in _content(folder / "output.log"), "the script is up")
        return run["name"], folder

    def end_all(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        for run in runs(self.world):
            if run["state"] not in ("ended", "lost"):
                self.world.runctl("cancel", run["name"], "--grace", "0")
        until(lambda: not processes_of(self.world), f"no process is left: {processes_of(self.world)}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def runs(world: World) -> list[dict[str, Any]]:
    listed = world.runctl("runs", "--json")
    assert listed.code == 0, listed.err
    found: list[dict[str, Any]] = listed.json()
    return found


def status_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


def processes_of(world: World) -> dict[int, str]:
    """Every living process of this world, by the HOME it was given."""
    found = {}
    mark = b"HOME=%s\0" % os.fsencode(world.home)
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and mark in Path(f"/proc/{name}/environ").read_bytes():
                state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                if state not in ("Z", "X"):
                    command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(name)] = command.decode(errors="replace")[-120:]
    return found


# Each of these starts `runctl train t.py` and gives it back while it surely is within one step, with what lets go.
Held = tuple[subprocess.Popen[bytes], Callable[[], object]]


def in_scan(clients: Clients, project: Path) -> Held:
    """Hashing 6 GB, which are a hole, takes seconds."""
    large = project / "large.bin"
    with large.open("wb") as file:
        file.truncate(6 << 30)
    client = clients.start("train", "t.py", cwd=project)
    until(lambda: any(path.endswith("large.bin") for path in _open_files(client.pid)), "it is being hashed")
    return client, large.unlink


def in_probe(clients: Clients, project: Path) -> Held:
    """A machine whose graphics driver does not answer."""
    gate = _shim(clients.world, "nvidia-smi", "*")
    client = clients.start("train", "t.py", cwd=project)
    until(Path(f"{gate}.in").exists, "the machine is asked")
    return client, gate.touch


def in_sync(clients: Clients, project: Path) -> Held:
    """The receiver is stopped in the middle of a file."""
    with (project / "large.bin").open("wb") as file:
        file.truncate(150 << 20)
    incoming = clients.world.machine / "blobs" / "incoming"
    client = clients.start("train", "t.py", cwd=project)

    def half() -> int:
        with contextlib.suppress(OSError):
            for path in incoming.iterdir():
                if path.stat().st_size > 1 << 20:
                    return int(path.name.partition(".")[0])
        return 0

    receiver = 0
    while not receiver and client.poll() is None:
        receiver = half()
    os.kill(receiver, signal.SIGSTOP)

    def let_go() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(receiver, signal.SIGCONT)

    return client, let_go


def in_launch(clients: Clients, project: Path) -> Held:
    """Another launch holds the machine's lock."""
    clients.world.machine.mkdir(exist_ok=True)
    lock = os.open(clients.world.machine / "launch.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    client = clients.start("train", "t.py", cwd=project)
    until(lambda: any(c.rstrip().endswith(" launch") for c in processes_of(clients.world).values()), "launch")
    return client, lambda: os.close(lock)


def in_install(clients: Clients, project: Path) -> Held:
    """An installer that takes its time, on the machine."""
    require_a_wheel(clients.world, project)
    gate = _shim(clients.world, "uv", "*install*|*sync*")
    client = clients.start("train", "t.py", cwd=project)
    until(Path(f"{gate}.in").exists, "the installer works")
    return client, gate.touch


def in_run(clients: Clients, project: Path) -> Held:
    gate = clients.world.root / "gate-run"
    (project / "t.py").write_text(WAITS.replace("sys.argv[1]", repr(str(gate))))
    client = clients.start("train", "t.py", cwd=project)
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    return client, gate.touch


def require_a_wheel(world: World, project: Path) -> None:
    """The project needs the package ``tiny``, which is a file on this disk."""
    name, body = wheel("tiny")
    (world.root / name).write_bytes(body)
    (project / "requirements.txt").write_text(f"tiny @ {(world.root / name).as_uri()}\n")


BEFORE_THE_MACHINE_HAS_IT = (in_scan, in_probe, in_sync, in_launch)
ONCE_THE_MACHINE_HAS_IT = (in_install, in_run)


def _open_files(pid: int) -> Iterator[str]:
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{number}")


def _shim(world: World, name: str, pattern: str) -> Path:
    """A program first on PATH that waits for a gate when its arguments fit, then does what the real one does."""
    folder, gate = world.root / "bin", world.root / f"gate-{name}"
    folder.mkdir(exist_ok=True)
    real = shutil.which(name, path=f"{Path(sys.executable).parent}:{world.env['PATH']}") or "true"
    (folder / name).write_text(
        f'#!/bin/sh\ncase "$*" in {pattern}) : > {gate}.in; while ! [ -e {gate} ]; do sleep 0.02; done;; esac\n'
        f'exec {real} "$@"\n'
    )
    (folder / name).chmod(0o755)
    world.env["PATH"] = f"{folder}:{world.env['PATH']}"
    return gate
