"""Bytes between two connections, and ports of this machine that lead to a port of an instance."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Dial = Callable[[], Awaitable[socket.socket]]

PIECE = 256 * 1024  # bytes moved at once


async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the end of one side, then ends the other's input."""
    with contextlib.suppress(OSError):  # either side may go at any moment
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def both_ways(here: Ends, there: Ends) -> None:
    """Copies in both directions until both have ended; closes both, on a cancel too."""
    try:
        await asyncio.gather(one_way(here[0], there[1]), one_way(there[0], here[1]))
    finally:
        for _, writer in (here, there):
            writer.close()


class Forward:
    """A port on 127.0.0.1 that leads into an instance; `port` is known after `start`."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listens on `port` (0: any free one). Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # a task of our own: of one that asyncio's server makes, Python 3.11 logs the cancel as a failure
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(sock=await self._dial())
        except OSError:
            writer.transport.abort()  # refused, as by a machine where nobody listens
        else:
            await both_ways((reader, writer), there)

    async def close(self) -> None:
        """Stops listening and cuts what is open. Safe to repeat."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
