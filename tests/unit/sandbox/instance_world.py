"""A place for instances of their own in a test: the machines, a stand-in front, and the guest seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runctl.sandbox import http
from runctl.sandbox.instances import making, rooted
from runctl.sandbox.instances.machines import Machines
from runctl.sandbox.state import RoleCredentials

OBSTACLE = rooted.obstacle(Path(tempfile.gettempdir()) / f"runctl-obstacle-{os.getpid()}")
with contextlib.suppress(OSError):
    (Path(tempfile.gettempdir()) / f"runctl-obstacle-{os.getpid()}").rmdir()
WHY = f"no instances in namespaces here: {OBSTACLE}"


@dataclass
class Place:
    """The machines, and what the tests ask of guests."""

    machines: Machines
    root: Path
    server: http.Server
    ended: list[str] = field(default_factory=list)

    async def run(self, instance: str, script: str, address: str = "172.31.7.7", **more: Any) -> None:
        """Boots an instance whose user data is this shell script."""
        data = f"#!/bin/bash\n{script}\n".encode()
        await self.machines.boot(instance, address=address, user_data=data, **more)

    async def says(self, instance: str, word: str, seconds: float = 20) -> str:
        """The console once it holds a word."""
        await until(lambda: word in self.console(instance), f"{word!r} on the console of {instance}", seconds)
        return self.console(instance)

    async def boots(self, instance: str, count: int) -> None:
        """Returns when the instance has finished booting so many times."""
        await until(
            lambda: self.console(instance).count("boot finished") == count, f"boot {count} of {instance}"
        )

    def console(self, instance: str) -> str:
        return self.machines.console(instance).decode()


async def until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"waited {seconds:.0f} s for {what}"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def place(root: Path, **more: Any) -> AsyncIterator[Place]:
    async def front(request: http.Request) -> http.Response:
        return http.Response(200, {}, f"front {request.method} {request.path}".encode())

    server = await http.serve(front, "127.0.0.1", 0)
    machines = making.make(
        root,
        front=front,
        port=lambda: server.port,
        credentials=lambda instance, role: RoleCredentials(
            f"ASIA{instance}", "se/cret", "token", time.time() + 3600, role
        ),
        **more,
    )
    here = Place(machines, root, server)
    try:
        await machines.begin()
        machines.on_shutdown = here.ended.append
        yield here
    finally:
        await machines.close()
        await server.close()


def go(work: Callable[[], Awaitable[None]]) -> None:
    """Runs an async test."""
    asyncio.run(asyncio.wait_for(work(), 100))
