"""HTTP/1.1 on one connection, as much of it as S3 and the metadata service speak.

The standard library's client parses headers as if they were mail, and loading that takes longer than asking S3. Here a
request is one head and its body; an answer has a length, comes in chunks, or ends with its connection.
"""

from __future__ import annotations

import socket
from io import BufferedReader

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ssl import SSLContext
    from typing import Optional, Union

    Body = Optional[Union[bytes, Iterable[bytes]]]

LINE_LIMIT = 1 << 16  # bytes of one line of a head
HEADERS_LIMIT = 200
BUFFER = 1 << 16  # bytes
EMPTY = (204, 304)  # statuses whose answers have no body


class BadAnswer(Exception):
    """What came is no HTTP, or ended too early."""


class Connection:
    """One connection. Nothing is opened before ``open``."""

    def __init__(self, host: str, port: int, *, seconds: float) -> None:
        """``seconds`` bounds the connecting, and whatever is needed before the first request."""
        self._host = host
        self._port = port
        self._seconds = seconds
        self.socket: socket.socket | None = None
        self._reader: BufferedReader | None = None

    def open(self) -> None:
        """Connect. Raises ``OSError``."""
        self.socket = socket.create_connection((self._host, self._port), self._seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def tunnel(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        """Ask a proxy for a way to another host. Raises ``OSError`` when it has none."""
        target = "%s:%d" % (host, port)
        self.send("CONNECT", target, {"host": target, **headers})
        answer = Response(self._reading(), head_only=True)
        if answer.status != 200:
            raise OSError("the proxy %s refused a way to %s: status %d" % (self._host, target, answer.status))
        self._reader = None

    def secure(self, context: SSLContext, host: str) -> None:
        """Go on encrypted, with whoever proves to be ``host``. Raises ``OSError``."""
        assert self.socket is not None
        self.socket = context.wrap_socket(self.socket, server_hostname=host)

    def patient(self, seconds: float) -> None:
        """How long the other side may be silent from now on."""
        assert self.socket is not None
        self.socket.settimeout(seconds)

    def send(self, method: str, target: str, headers: Mapping[str, str], body: Body = None) -> None:
        """Send one request; an iterable body comes chunk by chunk. Raises ``OSError``."""
        assert self.socket is not None
        lines = ["%s %s HTTP/1.1" % (method, target)]
        lines += ["%s: %s" % pair for pair in headers.items()]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        if body is None or isinstance(body, bytes):
            self.socket.sendall(head + (body or b""))
            return
        for chunk in body:
            if head and len(chunk) < BUFFER:
                chunk = head + chunk  # noqa: PLW2901 - one packet where two would go
            elif head:
                self.socket.sendall(head)
            head = b""
            self.socket.sendall(chunk)
        if head:
            self.socket.sendall(head)

    def answer(self, *, head_only: bool) -> Response:
        """The next answer. Raises ``OSError``, ``BadAnswer``."""
        return Response(self._reading(), head_only=head_only)

    def _reading(self) -> BufferedReader:
        if self._reader is None:
            assert self.socket is not None
            self._reader = BufferedReader(self.socket.makefile("rb", buffering=0), BUFFER)
        return self._reader

    def interrupt(self) -> None:
        """Break it: whoever waits on it fails at once. Safe from another thread, and to repeat."""
        if self.socket is not None:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is broken already

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Response:
    """One answer: its head is read, its body is still to be read."""

    def __init__(self, reader: BufferedReader, *, head_only: bool) -> None:
        self._reader = reader
        self.status, version = self._status()
        self.headers = self._headers()
        while 100 <= self.status < 200:  # only a word in between
            self.status, version = self._status()
            self.headers = self._headers()
        length = self.headers.get("content-length")
        self.chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        bare = head_only or self.status in EMPTY
        if bare or (length is not None and not self.chunked):
            self.left: int | None = 0 if bare else _number(length or "0", 10)
        else:
            self.left = 0 if self.chunked else None  # of a chunk; None: until the connection ends
        self.done = bare or (self.left == 0 and not self.chunked)
        said = self.headers.get("connection", "").lower()
        self.closes = (
            "close" in said or (version == "HTTP/1.0" and "keep-alive" not in said) or self.left is None
        )

    def _line(self) -> str:
        line = self._reader.readline(LINE_LIMIT + 1)
        if not line.endswith(b"\n"):
            raise BadAnswer(
                "the answer ended within its head" if len(line) <= LINE_LIMIT else "a line too long"
            )
        return line.decode("latin-1").rstrip("\r\n")

    def _status(self) -> tuple[int, str]:
        words = self._line().split(None, 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise BadAnswer("no HTTP: %r" % " ".join(words)[:80])
        return int(words[1]), words[0]

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(HEADERS_LIMIT):
            line = self._line()
            if not line:
                return found
            name, _, value = line.partition(":")
            found[name.strip().lower()] = value.strip()
        raise BadAnswer("more than %d headers" % HEADERS_LIMIT)

    def read(self, limit: int) -> bytes:
        """Up to ``limit`` bytes of the body, empty at its end. Raises ``OSError``, ``BadAnswer`` when it ends too early."""
        if self.done:
            return b""
        if self.chunked and not self.left and not self._next_chunk():
            return b""
        data = self._reader.read(limit if self.left is None else min(limit, self.left))
        if self.left is None:
            self.done = not data
            return data
        self.left -= len(data)
        if not data:
            raise BadAnswer("the answer ended %d bytes early" % self.left)
        if not self.left:
            self._end_of_stretch()
        return data

    def _next_chunk(self) -> bool:
        size = _number(self._line().partition(";")[0].strip(), 16)
        if size:
            self.left = size
            return True
        while self._line():
            pass  # trailers say nothing that we use
        self.done = True
        return False

    def _end_of_stretch(self) -> None:
        if not self.chunked:
            self.done = True
        elif self._line():
            raise BadAnswer("a chunk that does not end where it says")

    def whole(self) -> bytes:
        """The rest of the body. Raises as ``read``."""
        parts: list[bytes] = []
        while True:
            part = self.read(1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)


def _number(text: str, base: int) -> int:
    """A length as a server writes it."""
    if not text or not set(text.lower()) <= set("0123456789abcdef"[:base]):
        raise BadAnswer("not a length: %r" % text[:40])
    return int(text, base)
