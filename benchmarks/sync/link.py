"""A slow line in user space: a relay that delays every byte and lets only so many through in a second.

``python -m benchmarks.sync.link LISTEN TARGET RTT_MS MBIT COUNT``: listens on 127.0.0.1:LISTEN, connects to 127.0.0.1:TARGET. All
connections share the rate of a direction, as on a real line. A connection costs one round trip before its first byte, as
TCP's handshake does; what the operating systems on both sides keep in their buffers is limited, so that a sender feels the
line. Prints a line when it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

CHUNK = 16 << 10  # bytes
TOLD_EVERY = 0.02  # seconds
BUFFER = 256 << 10  # bytes that a socket may hold; 40 ms at 100 Mbit/s are 500 kB
AHEAD = 1 << 20  # bytes of one connection on the line: its bandwidth times its delay, and some


class Direction:
    """One direction of the line: when it is free again."""

    def __init__(self, rate: float) -> None:
        self.rate = rate  # bytes a second
        self.carried = 0  # bytes
        self.free_at = 0.0

    def send(self, size: int, now: float) -> float:
        """When the last of ``size`` bytes has left."""
        self.carried += size
        self.free_at = max(self.free_at, now) + size / self.rate
        return self.free_at


async def carry(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, line: Direction, delay: float
) -> None:
    """Bytes of one connection in one direction, in order, until its end."""
    loop = asyncio.get_running_loop()
    waiting: deque[tuple[float, bytes]] = deque()
    room, filled = asyncio.Event(), asyncio.Event()
    room.set()
    held = 0

    async def deliver() -> None:
        nonlocal held
        while True:
            while not waiting:
                filled.clear()
                await filled.wait()
            at, data = waiting.popleft()
            if (left := at - loop.time()) > 0:
                await asyncio.sleep(left)
            if not data:
                target.write_eof()
                return
            target.write(data)
            await target.drain()
            held -= len(data)
            if held < AHEAD:
                room.set()

    delivering = asyncio.create_task(deliver())
    with contextlib.suppress(ConnectionError):
        while True:
            data = await source.read(CHUNK)
            waiting.append((line.send(len(data), loop.time()) + delay, data))
            filled.set()
            if not data:
                break
            held += len(data)
            if held >= AHEAD:
                room.clear()
                await room.wait()
        await delivering
    delivering.cancel()


async def serve(listen: int, target: int, *, rtt: float, rate: float, count: str = "") -> None:
    """Relay until this process is ended; ``count`` is a file that always says how many bytes went up and down."""
    up, down = Direction(rate), Direction(rate)

    async def tell(file: BinaryIO) -> None:
        while True:
            file.seek(0)
            file.write(b"%15d %15d" % (up.carried, down.carried))
            file.flush()
            await asyncio.sleep(TOLD_EVERY)

    telling = asyncio.create_task(tell(Path(count).open("wb"))) if count else None  # noqa: ASYNC230, SIM115 - a few bytes, until the end

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(rtt)
        there, back = await asyncio.open_connection("127.0.0.1", target)
        for each in (writer, back):
            found = each.get_extra_info("socket")
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(carry(reader, back, up, rtt / 2), carry(there, writer, down, rtt / 2))
        for each in (writer, back):
            each.close()

    server = await asyncio.start_server(handle, "127.0.0.1", listen, limit=CHUNK)
    for listening in server.sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    print("listening", flush=True)
    await server.serve_forever()
    del telling


@contextlib.contextmanager
def line_to(port: int, *, rtt: float, mbit: float, count: str = "") -> Iterator[int]:
    """A slow line to a port of this machine; its own port. ``count``: see ``serve``."""
    own = free_port()
    words = [str(own), str(port), str(rtt * 1000), str(mbit), count]
    relay = subprocess.Popen([sys.executable, "-m", "benchmarks.sync.link", *words], stdout=subprocess.PIPE)
    try:
        assert relay.stdout is not None
        relay.stdout.readline()
        yield own
    finally:
        relay.terminate()
        relay.wait()
        if relay.stdout is not None:
            relay.stdout.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    own_port, there_port, milliseconds, megabits, counts = sys.argv[1:]
    seconds, bytes_a_second = float(milliseconds) / 1000, float(megabits) * 125_000
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(own_port), int(there_port), rtt=seconds, rate=bytes_a_second, count=counts))
