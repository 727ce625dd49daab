"""What instances stand on: namespaces (Linux as root) here, ordinary processes in `plain.py`; one interface."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runctl.sandbox.instances import disk, packages
from runctl.sandbox.instances.facts import device_names
from runctl.sandbox.instances.layout import MARKER
from runctl.sandbox.instances.rooted import SBIN, Link
from runctl.sandbox.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox import http
    from runctl.sandbox.instances.facts import Facts
    from runctl.sandbox.instances.layout import Layout

REBOOT = 64  # exit status of a guest that wants to be booted again
POWEROFF = signal.SIGRTMIN + 4 if hasattr(signal, "SIGRTMIN") else signal.SIGTERM  # as systemd understands it
PATIENCE = 6.0  # seconds between the request to power off and the plug; the guest takes four at most


class Ground(Protocol):
    """Where guests run. `died(instance, wants to be booted again)` is called on the loop when one ended."""

    weaker: tuple[str, ...]
    died: Callable[[str, bool], None]

    async def open(self) -> None:
        """Makes everything ready. Raises OSError."""

    async def boot(self, facts: Facts, metadata: http.Handler) -> None:
        """Starts the guest; returns when it runs. Raises OSError."""

    async def halt(self, facts: Facts, *, politely: bool) -> None:
        """Ends the guest and returns when nothing of it runs; `died` is called. Safe to repeat."""

    async def dial(self, facts: Facts, port: int) -> socket.socket:
        """A connection to a port of the guest. Raises OSError."""

    async def attach(self, facts: Facts, volume: str, path: Path, device: str, number: int) -> None:
        """Shows a volume in the guest, now and after a boot. Raises OSError."""

    async def detach(self, facts: Facts, volume: str) -> None:
        """Takes it away. Safe to repeat."""

    async def fill(self, facts: Facts, *, full: bool) -> None:
        """Makes writes fail for want of room, or no more. Raises OSError where that cannot be done."""

    def make_volume(self, path: Path, size: int) -> None:
        """An empty volume of `size` bytes. Raises OSError."""

    async def close(self) -> None:
        """Ends all guests and gives back what the host lent. Safe to repeat."""


class Listeners:
    """The sockets on which one guest finds the sandbox, each answered by this process."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()

    async def http(self, sock: socket.socket, handler: http.Handler) -> None:
        """Answers HTTP on a listening socket."""
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_server(lambda: Connection(handler, self._connections), sock=sock)
        )

    async def proxy(self, sock: socket.socket, proxy: packages.Proxy) -> None:
        """Serves the package proxy on a listening socket."""
        self._servers.append(await asyncio.start_server(proxy.serve, sock=sock))

    def close(self) -> None:
        """Stops and cuts: the guest is gone."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()


class Namespaces:
    """Each guest in namespaces of its own inside those of the keeper; see `keeper.py` and `birth.py`.

    Args:
        layout: the folders.
        front: answers the guests' calls to the sandbox's endpoint, which is at the same address inside as outside.
        port: gives the endpoint's port on 127.0.0.1.
        proxy: where packages come from.
        environ: the environment of the user who started the sandbox.
        private: folders of the host that no guest may see.
        keep: folders that guests see although they lie in a home or a temporary folder.
    """

    weaker: tuple[str, ...] = ()

    def __init__(
        self,
        layout: Layout,
        *,
        front: http.Handler,
        port: Callable[[], int],
        proxy: packages.Proxy,
        environ: dict[str, str],
        private: list[Path],
        keep: list[Path],
    ) -> None:
        self._layout = layout
        self._front = front
        self._port = port
        self._proxy = proxy
        self._environ = environ
        self._private = private
        self._keep = keep
        self._link = Link(layout, self._event)
        self._births: dict[str, asyncio.Future[list[int]]] = {}
        self._deaths: dict[str, asyncio.Future[None]] = {}
        self._listeners: dict[str, Listeners] = {}
        self._binds: list[str] = []
        self.died: Callable[[str, bool], None] = lambda _id, _again: None

    async def open(self) -> None:
        """Starts the keeper and makes the layer that all disks stand on. Raises OSError."""
        await asyncio.gather(self._link.start(), asyncio.to_thread(self._make_base))

    def _make_base(self) -> None:
        base = self._layout.images / "base"
        disk.remove(base)
        home = Path(self._environ.get("HOME", "/root"))
        keep = [*disk.kept(home, self._environ), *self._keep]
        disk.prepare(base / "upper", home=home, private=[self._layout.root, *self._private], keep=keep)
        for path, text in packages.settings(host_file).items():
            disk.write(base / "upper", path, text)
        root = os.stat("/").st_dev
        self._binds = [
            str(path) for path in keep if path.stat().st_dev != root
        ]  # other file systems do not show

    def _event(self, message: dict[str, Any], descriptors: list[int]) -> None:
        kind, instance = message["event"], message.get("id", "")
        birth = self._births.pop(instance, None)
        if kind == "born" and birth is not None:
            birth.set_result([message["init"], *descriptors])
        elif kind == "stillborn" and birth is not None:
            birth.set_exception(OSError(message["error"]))
        elif kind == "died":
            if birth is not None:
                birth.set_exception(OSError("the instance ended before it ran"))
            self._bury(instance, again=message["status"] == REBOOT)
        elif kind == "lost":
            for waiting in self._births.values():
                waiting.set_exception(OSError("the process that holds the instances ended"))
            self._births.clear()
            for name in list(self._deaths):
                self._bury(name, again=False)

    def _bury(self, instance: str, *, again: bool) -> None:
        death = self._deaths.pop(instance, None)
        if listeners := self._listeners.pop(instance, None):
            listeners.close()
        if death is not None:
            death.set_result(None)
            self.died(instance, again)

    async def boot(self, facts: Facts, metadata: http.Handler) -> None:
        """See Ground."""
        loop = asyncio.get_running_loop()
        birth: asyncio.Future[list[int]] = loop.create_future()
        self._births[facts.id] = birth
        await asyncio.to_thread((facts.folder / "user-data").write_bytes, facts.user_data)
        await self._link.call("boot", spec=self._spec(facts))
        init, *descriptors = await birth
        self._deaths[facts.id] = loop.create_future()
        listeners = self._listeners[facts.id] = Listeners()
        imds, api, proxy = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        await listeners.http(imds, metadata)
        await listeners.http(api, self._front)
        await listeners.proxy(proxy, self._proxy)
        await self._link.call("born", instance=facts.id, init=init)

    def _spec(self, facts: Facts) -> dict[str, Any]:
        return {
            "id": facts.id,
            "folder": str(facts.folder),
            "address": facts.address,
            "prefix": facts.prefix,
            "hostname": facts.hostname,
            "endpoint_port": self._port(),
            "binds": self._binds,
            "volumes": list(facts.volumes),
            "user_data": str(facts.folder / "user-data"),
            "services": facts.services,
            "init": [sys.executable, "-I", "-S", str(disk.GUEST / "init.py")],
            "env": self.environment(facts),
        }

    def environment(self, facts: Facts) -> dict[str, str]:
        """What every process of a guest starts with."""
        return {
            **packages.installers_environment(self._environ),
            **endpoint_environment(facts, self._port()),
            "HOME": "/root",
            "LANG": self._environ.get("LANG", "C.UTF-8"),
            "PATH": f"{self._environ.get('PATH', os.defpath)}:{SBIN}",
            "USER": "root",
            "LOGNAME": "root",
            "SHELL": "/bin/bash",
            MARKER: str(self._layout.root),
        }

    async def halt(self, facts: Facts, *, politely: bool) -> None:
        """See Ground."""
        death = self._deaths.get(facts.id)
        if death is None:
            return
        if politely:
            await self._link.call("kill", instance=facts.id, number=int(POWEROFF))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(death), PATIENCE)
        if not death.done():
            await self._link.call("kill", instance=facts.id, number=int(signal.SIGKILL))
            await asyncio.shield(death)

    async def dial(self, facts: Facts, port: int) -> socket.socket:
        """See Ground."""
        _, descriptors = await self._link.call("dial", instance=facts.id)
        sock = socket.socket(fileno=descriptors[0])
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return sock

    async def attach(self, facts: Facts, volume: str, path: Path, device: str, number: int) -> None:
        """See Ground: the volume is a block device."""
        names = device_names(device, volume, number)
        await self._link.call("attach", instance=facts.id, volume=volume, image=str(path), names=names)

    async def detach(self, facts: Facts, volume: str) -> None:
        """See Ground."""
        await self._link.call("detach", instance=facts.id, volume=volume)

    async def fill(self, facts: Facts, *, full: bool) -> None:
        """See Ground: files that are open already can still be written."""
        await self._link.call("fill", instance=facts.id, full=full)

    def make_volume(self, path: Path, size: int) -> None:
        """See Ground: a file with nothing in it, which takes no room until written to."""
        with path.open("xb") as file:
            file.truncate(size)

    async def close(self) -> None:
        """See Ground."""
        await self._link.close()
        for listeners in self._listeners.values():
            listeners.close()
        self._listeners.clear()


def host_file(path: str) -> str:
    """A text file of the host's; empty when there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def endpoint_environment(facts: Facts, port: int) -> dict[str, str]:
    """The variables by which AWS clients in a guest find the sandbox: the same address as outside."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": facts.region,
        "AWS_DEFAULT_REGION": facts.region,
        "RUNCTL_SANDBOX_INSTANCE": facts.id,
    }
