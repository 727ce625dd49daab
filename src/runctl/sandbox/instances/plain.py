"""Instances where the system lends no namespaces: ordinary processes with a HOME of their own, and IMDS on a port.

The same interface as `ground.Namespaces`; `weaker` says what an instance of this kind does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.sandbox.instances import disk, janitor
from runctl.sandbox.instances.ground import Listeners, endpoint_environment
from runctl.sandbox.instances.layout import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox import http
    from runctl.sandbox.instances.facts import Facts
    from runctl.sandbox.instances.layout import Layout

RESPAWN = 1.0  # seconds before a service that ended is started again
GRACE = 2.0  # seconds between TERM and KILL
INSTANCE = "RUNCTL_SANDBOX_HOME"  # environment variable of every process of one instance: its folder
_POWER = """#!{python} -IS
import os, sys, urllib.request
kind, delay = os.path.basename(sys.argv[0]), 0.0
words = [word for word in sys.argv[1:] if word]
if kind == "shutdown":
    flags = "".join(word for word in words if word[0] == "-")
    kind = "cancel" if "c" in flags else "reboot" if "r" in flags else "poweroff"
    when = ([word for word in words if word[0] != "-"] or ["+1"])[0]
    delay = 0.0 if when == "now" else 60.0 * int(when.lstrip("+"))
url = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] + f"/runctl/power/{{kind}}/{{delay}}"
urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10).close()
"""


class Guest:
    """What runs of one instance."""

    def __init__(self, facts: Facts, env: dict[str, str]) -> None:
        self.facts = facts
        self.env = env
        self.listeners = Listeners()
        self.tasks: set[asyncio.Task[None]] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.pids: set[int] = set()  # leaders of process groups


class Processes:
    """See Ground. `why` is what stands in the way of namespaces."""

    def __init__(self, layout: Layout, *, port: Callable[[], int], environ: dict[str, str], why: str) -> None:
        self._layout = layout
        self._port = port
        self._environ = environ
        self._guests: dict[str, Guest] = {}
        self.died: Callable[[str, bool], None] = lambda _id, _again: None
        self.weaker: tuple[str, ...] = (
            f"instances are ordinary processes of yours: {why}",
            "they share this machine's files, processes, network and addresses; only HOME is their own",
            "the metadata service is on a port of 127.0.0.1, named by AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "a stop keeps HOME only, and an image holds HOME only; user data runs as you, not as root",
            "a volume is a folder below ~/volumes, not a block device; a disk cannot be made full",
        )

    async def open(self) -> None:
        """See Ground: an empty HOME to begin with."""
        base = self._layout.images / "base" / "upper"
        base.mkdir(parents=True, exist_ok=True)

    async def boot(self, facts: Facts, metadata: http.Handler) -> None:
        """See Ground."""
        home = facts.folder / "upper"
        if not (facts.folder / "booted").exists():
            await asyncio.to_thread(self._fill_home, facts)
        guest = Guest(facts, {})
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        await guest.listeners.http(sock, metadata)
        guest.env = {
            **{name: value for name, value in self._environ.items() if not name.startswith("AWS_")},
            **endpoint_environment(facts, self._port()),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{sock.getsockname()[1]}",
            "HOME": str(home),
            "PATH": f"{facts.folder / 'bin'}:{self._environ.get('PATH', os.defpath)}",
            MARKER: str(self._layout.root),
            INSTANCE: str(facts.folder),
        }
        self._guests[facts.id] = guest
        for service in facts.services:
            self._go(guest, self._keep_up(guest, service))
        await self._run_user_data(guest)

    def _fill_home(self, facts: Facts) -> None:
        home = facts.folder / "upper"
        (facts.folder / "bin").mkdir()
        for name in disk.POWER:
            script = facts.folder / "bin" / name
            script.write_text(_POWER.format(python=sys.executable))
            script.chmod(0o755)
        (home / "volumes").mkdir(exist_ok=True)

    def _go(self, guest: Guest, work: Any) -> None:
        task = asyncio.ensure_future(work)
        guest.tasks.add(task)
        task.add_done_callback(guest.tasks.discard)

    async def _spawn(
        self, guest: Guest, argv: list[str], env: dict[str, str], log: Path
    ) -> asyncio.subprocess.Process:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=guest.env["HOME"],
                env={**guest.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        guest.pids.add(process.pid)
        janitor.record(self._layout, {pid for each in self._guests.values() for pid in each.pids})
        return process

    async def _keep_up(self, guest: Guest, service: dict[str, Any]) -> None:
        log = guest.facts.folder / "log" / Path(service["log"]).name
        while True:
            with contextlib.suppress(OSError):
                process = await self._spawn(guest, service["argv"], service["env"], log)
                await process.wait()
                guest.pids.discard(process.pid)
            await asyncio.sleep(RESPAWN)

    async def _run_user_data(self, guest: Guest) -> None:
        folder = guest.facts.folder
        if (folder / "booted").exists():
            return
        (folder / "booted").touch()
        if guest.facts.user_data[:2] == b"#!":
            script = folder / "user-data"
            script.write_bytes(guest.facts.user_data)
            script.chmod(0o700)
            process = await self._spawn(guest, [str(script)], {}, folder / "console.log")
            self._go(guest, self._collect(guest, process))

    @staticmethod
    async def _collect(guest: Guest, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        guest.pids.discard(process.pid)

    def power(self, facts: Facts, kind: str, delay: float) -> None:
        """What `shutdown` and its like asked for: `poweroff`, `halt` or `reboot` after `delay` seconds, or `cancel`."""
        guest = self._guests.get(facts.id)
        if guest is None:
            return
        if guest.timer is not None:
            guest.timer.cancel()
            guest.timer = None
        if kind != "cancel":
            loop = asyncio.get_running_loop()
            guest.timer = loop.call_later(
                delay, lambda: loop.create_task(self._down(facts, again=kind == "reboot"))
            )

    async def _down(self, facts: Facts, *, again: bool, politely: bool = True) -> None:
        guest = self._guests.pop(facts.id, None)
        if guest is None:
            return
        if guest.timer is not None:
            guest.timer.cancel()
        for task in list(guest.tasks):
            task.cancel()
        await asyncio.gather(*guest.tasks, return_exceptions=True)
        await asyncio.to_thread(self._end, guest, politely=politely)
        guest.listeners.close()
        self.died(facts.id, again)

    def _end(self, guest: Guest, *, politely: bool) -> None:
        mark = f"{INSTANCE}={guest.facts.folder}".encode()
        limit = GRACE if politely else 0.0
        for number, patience in ((signal.SIGTERM, limit), (signal.SIGKILL, 10.0)):
            if number == signal.SIGTERM and not politely:
                continue
            janitor.end(lambda: guest.pids | set(janitor.carrying(mark)), number, patience)

    async def halt(self, facts: Facts, *, politely: bool) -> None:
        """See Ground."""
        await self._down(facts, again=False, politely=politely)

    async def dial(self, facts: Facts, port: int) -> socket.socket:
        """See Ground: the port is one of this machine's."""
        if facts.id not in self._guests:
            raise ConnectionRefusedError(f"{facts.id} is not running")
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return sock

    async def attach(self, facts: Facts, volume: str, path: Path, device: str, number: int) -> None:
        """See Ground: the volume is a folder, linked below ~/volumes under its device's name."""
        del volume, number
        link = facts.folder / "upper" / "volumes" / Path(device).name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path)

    async def detach(self, facts: Facts, volume: str) -> None:
        """See Ground."""
        for link in (facts.folder / "upper" / "volumes").iterdir():
            if link.is_symlink() and link.readlink() == self._layout.volume(volume):
                link.unlink()

    async def fill(self, facts: Facts, *, full: bool) -> None:
        """See Ground: refused, the disk is the user's own."""
        raise OSError(f"{facts.id} has no disk of its own to be {'full' if full else 'empty'}")

    def make_volume(self, path: Path, size: int) -> None:
        """See Ground: a folder; its size is not held to."""
        del size
        path.mkdir()

    async def close(self) -> None:
        """See Ground."""
        for guest in list(self._guests.values()):
            await self._down(guest.facts, again=False, politely=False)
