"""The network between a client and a server of a test: it can be cut, be away for a while, or be slow."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Line:
    """Carries connections from a port of its own to another one on this computer."""

    def __init__(self, port: int, bytes_a_second: float = 0.0) -> None:
        self._pace = 1 / bytes_a_second if bytes_a_second else 0.0
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.carried = 0  # bytes from the server
        self.brought = 0  # bytes to the server
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._changing = threading.Lock()
        self._away_until = 0.0
        self._held = threading.Event()
        self._held.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, away: float = 0.0) -> None:
        """Break every connection; for ``away`` seconds nothing gets through."""
        self._away_until = time.monotonic() + away
        with self._changing:
            cut = list(self._open)
        for each in cut:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Bytes go nowhere and no connection breaks, as when a cable is pulled far away."""
        self._held.clear()
        try:
            yield
        finally:
            self._held.set()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            if time.monotonic() < self._away_until:
                here.close()
                continue
            try:
                there = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                here.close()
                continue
            self.connections += 1
            with self._changing:
                self._open |= {here, there}
            for source, target, down in ((here, there, False), (there, here, True)):
                threading.Thread(target=self._carry, args=(source, target, down), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                self._held.wait()
                target.sendall(piece)
                time.sleep(len(piece) * self._pace)
                self.carried += len(piece) if down else 0
                self.brought += 0 if down else len(piece)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._changing:
            self._open.discard(source)
        source.close()  # each way closes what only it reads: the other may still be in a call on its own

    def close(self) -> None:
        self._held.set()
        self._listener.close()
        self.cut()


@contextmanager
def line_to(port: int, *, bytes_a_second: float = 0.0) -> Iterator[Line]:
    """A line to ``port``; each connection and way of it carries no more than that, where it is told."""
    line = Line(port, bytes_a_second)
    try:
        yield line
    finally:
        line.close()
