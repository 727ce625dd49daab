"""The sandbox's side of the keeper: starting it, talking to it, and the checks that say whether it can work here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.sandbox.instances import janitor
from runctl.sandbox.instances.layout import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runctl.sandbox.instances.layout import Layout

MESSAGE = 256 * 1024
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_TOOLS = {"ip": "iproute2", "unshare": "util-linux", "mount": "mount", "cp": "coreutils", "tee": "coreutils"}
_TRIAL = (
    "set -e; mkdir $0/upper $0/work $0/root; mknod $0/upper/hidden c 0 0; "
    "mount -t overlay overlay -o lowerdir=/,upperdir=$0/upper,workdir=$0/work $0/root; test -x $0/root/bin/sh; "
    "ip link add br0 type bridge; ip link add v0 type veth peer name v1"
)


def search_path() -> str:
    """PATH with the folders of administrators' tools, which a plain user's PATH lacks."""
    return os.environ.get("PATH", os.defpath) + ":" + SBIN


def missing_packages() -> list[str]:
    """The Debian packages whose programs are not here, out of those that instances in namespaces need."""
    return sorted({package for tool, package in _TOOLS.items() if not shutil.which(tool, path=search_path())})


def require(program: str, package: str) -> str:
    """Where a program is. Raises the error `sandbox-needs-package`, which names the command that installs it."""
    found = shutil.which(program, path=search_path())
    if found is None:
        raise known("sandbox-needs-package", program=program, package=package)
    return found


@functools.cache
def obstacle(folder: Path) -> str:
    """Why instances cannot have namespaces of their own with their disks below `folder`; empty when they can."""
    if sys.platform != "linux":
        return "this is not Linux"
    if os.geteuid() != 0:
        return "not root"
    if packages := missing_packages():
        return f"not installed: {', '.join(packages)} (apt-get install {' '.join(packages)})"
    if any(sign in str(folder) for sign in ":,\\"):
        return f"{folder} has a sign in its name that overlayfs cannot take"
    trial = folder / f"trial-{os.getpid()}"
    trial.mkdir(parents=True)
    try:
        os.setxattr(trial, "trusted.overlay.opaque", b"y")  # refused to the root of a mere user namespace
        done = subprocess.run(
            [
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--",
                "sh",
                "-c",
                _TRIAL,
                trial,
            ],
            env={**os.environ, "PATH": search_path()},
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"the kernel refuses: {error.strerror}"
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    return (
        ""
        if done.returncode == 0
        else f"the kernel refuses: {(done.stderr.strip() or 'no reason given')[-300:]}"
    )


class Link:
    """A running keeper. `events` gets every message that is no answer, with its descriptors, in the event loop."""

    def __init__(self, layout: Layout, events: Callable[[dict[str, Any], list[int]], None]) -> None:
        self._layout = layout
        self._events = events
        self._calls: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._last = 0
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[None] | None = None
        self.lost = False

    async def start(self) -> None:
        """Starts the keeper and waits until it serves. Raises OSError with its words when it cannot."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE)
        ours.setblocking(False)
        self._socket = ours
        self._ready = loop.create_future()
        namespaces = [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--ipc",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ]
        program = [sys.executable, "-m", "runctl.sandbox.instances.keeper", str(theirs.fileno())]
        with self._layout.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [*namespaces, "--", *program],
                env={**os.environ, "PATH": search_path(), MARKER: str(self._layout.root)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        theirs.close()
        janitor.record(self._layout, [self._process.pid])
        loop.add_reader(ours.fileno(), self._read)
        await self._ready

    def _read(self) -> None:
        assert self._socket is not None
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, MESSAGE, 8)
            except BlockingIOError:
                return
            except ConnectionError:
                data, descriptors = b"", []
            if not data:
                self._gone()
                return
            self._take(json.loads(data), descriptors)

    def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        waiting = self._calls.pop(message.get("call", 0), None)
        if waiting is not None and not waiting.done():
            if "error" in message:
                waiting.set_exception(OSError(message["error"]))
            else:
                waiting.set_result((message, descriptors))
        elif "call" in message:
            for descriptor in descriptors:
                os.close(descriptor)
        elif message["event"] == "ready" and self._ready is not None:
            self._ready.set_result(None)
        elif message["event"] == "failed" and self._ready is not None:
            self._ready.set_exception(OSError(message["error"]))
        else:
            self._events(message, descriptors)

    def _gone(self) -> None:
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self.lost = True
        words = OSError(f"the process that holds the instances ended; its words are in {self._layout.log}")
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(words)
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(words)
        self._calls.clear()
        self._events({"event": "lost"}, [])

    async def call(self, do: str, **fields: Any) -> tuple[dict[str, Any], list[int]]:
        """One request and its answer. Raises OSError with the keeper's words, or when it is gone."""
        if self.lost or self._socket is None:
            raise OSError("the process that holds the instances is not running")
        self._last += 1
        number = self._last
        self._calls[number] = asyncio.get_running_loop().create_future()
        data = json.dumps({"call": number, "do": do, **fields}).encode()
        await asyncio.get_running_loop().sock_sendall(self._socket, data)
        return await self._calls[number]

    async def close(self) -> None:
        """Ends the keeper and with it everything it holds; returns when all of it is gone. Safe to repeat."""
        if self._socket is not None:
            with contextlib.suppress(ValueError, OSError):
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(self._process.wait)
            await asyncio.to_thread(janitor.sweep, self._layout, disks=False)
