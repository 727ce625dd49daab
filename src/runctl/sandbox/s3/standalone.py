"""S3 alone on a port, in a thread: for tests and for trying it without the rest of the sandbox."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl.sandbox.http import Request, Response, serve
from runctl.sandbox.s3.service import S3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCESS_KEY = "AKIASANDBOXSANDBOX00"
SECRET_KEY = "sandbox-secret-key-that-opens-nothing-else"


@dataclass
class OneCall:
    """What S3 wants to know of a call when there is no front."""

    request_id: str
    action: str = ""


@dataclass
class Standalone:
    """A running S3: where it is and the loop it lives on."""

    url: str
    service: S3
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event

    def sweep(self, now: float) -> int:
        """Applies lifecycle rules as of `now`."""
        return asyncio.run_coroutine_threadsafe(self.service.sweep(now), self.loop).result()


@contextmanager
def serving(root: Path, *, port: int = 0, now: Callable[[], float] = time.time) -> Iterator[Standalone]:
    """S3 over `root` on 127.0.0.1 with the credentials of this module, until the block ends.

    Raises OSError when the port or the folder cannot be had.
    """
    started: list[Standalone | BaseException] = []
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(root, port, now, started, ready)), name="s3")
    thread.start()
    ready.wait()
    first = started[0]
    if isinstance(first, BaseException):
        thread.join()
        raise first
    try:
        yield first
    finally:
        first.loop.call_soon_threadsafe(first.stop.set)
        thread.join()


async def _serve(
    root: Path,
    port: int,
    now: Callable[[], float],
    started: list[Standalone | BaseException],
    ready: threading.Event,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    try:
        service = S3(
            root, lookup=lambda key, token: SECRET_KEY if (key, token) == (ACCESS_KEY, "") else None, now=now
        )

        async def handler(request: Request) -> Response:
            return await service.handle(request, OneCall(uuid.uuid4().hex[:16].upper()))

        server = await serve(handler, "127.0.0.1", port)
    except BaseException as error:  # noqa: BLE001 - it is raised where the block is entered
        started.append(error)
        ready.set()
        return
    started.append(Standalone(f"http://127.0.0.1:{server.port}", service, loop, stop))
    ready.set()
    await stop.wait()
    await server.close()
    service.close()
