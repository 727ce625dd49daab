"""Commands and connections of a relay: where their input goes, where their output comes from, how they end."""

from __future__ import annotations

import os
import selectors
import signal
import time

from runctl.transports.ssm.machine import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any


GRACE = 0.5  # seconds between TERM and KILL
CONNECT_SECONDS = 10.0
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Stream:
    """What commands and connections have in common; all descriptors are non-blocking."""

    def __init__(self, number: int, sink: Any, sources: dict[Any, int]) -> None:
        self.number = number
        self.sink = sink  # where input goes; None once it is over
        self.sources = sources  # where output comes from, and as which kind of frame
        self.pending = bytearray()  # input not yet written
        self.taken = 0  # bytes of input written
        self.deaf = False  # nobody reads the input
        self.sent = 0  # bytes of output sent
        self.accepted = 0  # bytes of it that the client has taken
        self.closing = False  # no more input will come
        self.stopped = 0.0  # when it was told to end
        for each in (sink, *sources):
            if each is not None:
                os.set_blocking(each.fileno(), False)

    def wants(self, *, room: bool) -> dict[Any, int]:
        """Which descriptors to watch for what; with ``room`` there is a lane that takes output."""
        wanted = {}
        if room and self.sent - self.accepted < wire.OUTPUT_AHEAD:
            wanted = dict.fromkeys(self.sources, READ)
        if self.sink is not None and (self.pending or self.closing):
            wanted[self.sink] = wanted.get(self.sink, 0) | WRITE
        return wanted

    def give(self, data: bytes) -> None:
        """More input."""
        if not self.deaf:
            self.pending += data

    def feed(self) -> Any:
        """Write input that waits; the sink when it is now to be closed."""
        try:
            if self.pending:
                count = os.write(self.sink.fileno(), self.pending[: 1 << 16])
                del self.pending[:count]
                self.taken += count
        except BlockingIOError:
            return None
        except OSError:
            self.deaf = True
            self.pending.clear()
        if not self.deaf and (self.pending or not self.closing):
            return None
        sink, self.sink = self.sink, None
        return sink

    def read(self, source: Any) -> bytes | None:
        """The next output of a source: None when there is none now, empty at its end."""
        try:
            piece = os.read(source.fileno(), wire.PIECE)
        except BlockingIOError:
            return None
        except OSError:
            piece = b""
        self.sent += len(piece)
        if not piece:
            del self.sources[source]
        return piece


class Command(Stream):
    """A process with pipes, the leader of a session of its own. Raises OSError, ValueError."""

    def __init__(self, number: int, argv: list[str]) -> None:
        import subprocess

        home = os.path.expanduser("~")
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            cwd=home if os.path.isdir(home) else "/",
        )
        sources = {self._process.stdout: wire.OUT, self._process.stderr: wire.ERR}
        super().__init__(number, self._process.stdin, sources)

    def stop(self, number: int) -> None:
        """Signal the process and what it started, unless it left the session."""
        self.stopped = self.stopped or time.monotonic()
        try:
            os.killpg(self._process.pid, number)
        except OSError:
            pass  # it has ended

    def outcome(self) -> int | None:
        """The exit status, or minus the signal's number, once the process has ended and all it wrote is read."""
        if self.stopped and time.monotonic() - self.stopped > GRACE:
            self.stop(signal.SIGKILL)
        return None if self.sources else self._process.poll()

    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def remains(self) -> list[Any]:
        """What is still open."""
        return [each for each in (self.sink, *self.sources) if each is not None]


class Connection(Stream):
    """A TCP connection to somewhere the machine can reach; input waits until it is made."""

    def __init__(self, number: int) -> None:
        self._connection: socket.socket | None = None
        super().__init__(number, None, {})

    def made(self, connection: socket.socket) -> None:
        """It is there."""
        os.set_blocking(connection.fileno(), False)
        self._connection = self.sink = connection
        self.sources = {connection: wire.OUT}

    def stop(self, _number: int) -> None:
        """Hang up."""
        self.stopped = self.stopped or time.monotonic()

    def shut(self) -> None:
        """Tell the other end that no more input comes."""
        try:
            if self._connection is not None:
                self._connection.shutdown(1)  # SHUT_WR
        except OSError:
            pass  # the other end is gone

    def outcome(self) -> int | None:
        """0 once both directions are over, or it was told to end."""
        made = self._connection is not None
        return 0 if self.stopped or (made and self.sink is None and not self.sources) else None

    def alive(self) -> bool:
        """A connection ends with the relay."""
        return False

    def remains(self) -> list[Any]:
        """What is still open."""
        return [] if self._connection is None else [self._connection]
