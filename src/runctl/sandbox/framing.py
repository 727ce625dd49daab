"""HTTP/1.1 framing: bytes that arrived, request heads, bodies by length or by chunks."""

from __future__ import annotations

import asyncio
import functools
import re
from collections import deque
from typing import TYPE_CHECKING, Protocol

from runctl.sandbox import http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD_LIMIT = 64 * 1024  # request line and headers; AWS refuses above 8 KiB of metadata, so this is generous
LINE_LIMIT = 4096  # a chunk's size line; aws-chunked signatures are in the payload, not here
PAUSE_ABOVE = 2 * 1024 * 1024  # unread bytes held for a connection before the socket is left alone
RESUME_BELOW = 512 * 1024

_METHOD = re.compile(r"[A-Za-z]{1,32}")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class BadRequest(Exception):
    """What arrived is not HTTP/1.1 as we speak it; `status` says how to answer before closing."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Input:
    """Bytes that arrived and were not read yet."""

    __slots__ = ("_chunks", "_size", "_waiter", "ended", "transport")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False
        self.transport: asyncio.Transport | None = None

    def feed(self, data: bytes) -> None:
        """Takes bytes from the socket; asks it to pause when too many wait."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size > PAUSE_ABOVE and self.transport is not None:
            self.transport.pause_reading()
        self._wake()

    def end(self) -> None:
        """No more bytes will come."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        if self.ended:
            raise http.ClientGone("the client closed the connection")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def some(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes, as they arrived. Raises ClientGone at the end."""
        while not self._chunks:
            await self._more()
        data = self._chunks.popleft()
        if len(data) > limit:
            self._chunks.appendleft(data[limit:])
            data = data[:limit]
        self._size -= len(data)
        if self._size < RESUME_BELOW and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        return data

    async def until(self, mark: bytes, limit: int) -> bytes:
        """Everything before `mark`, which is eaten. Raises BadRequest 431 beyond `limit`, ClientGone at the end."""
        seen = 0
        while True:
            if len(self._chunks) > 1:
                self._chunks = deque([b"".join(self._chunks)])
            if self._chunks:
                data = self._chunks[0]
                at = data.find(mark, max(0, seen - len(mark)))
                if at >= 0 and at <= limit:
                    self._chunks.popleft()
                    if len(data) > at + len(mark):
                        self._chunks.appendleft(data[at + len(mark) :])
                    self._size -= at + len(mark)
                    return data[:at]
                seen = len(data)
                if seen > limit:
                    raise BadRequest(431, "header fields too large")
            await self._more()

    def rest(self) -> bytes:
        """All that waits, taken away."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return data


class Source(Protocol):
    """What a body reads from (a connection)."""

    input: Input

    async def take(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes."""

    def write(self, data: bytes) -> None:
        """Queues bytes for the client."""


class Body:
    """A request's body, framed by Content-Length or chunked."""

    __slots__ = ("_connection", "_continue", "_iterator", "_left", "done", "length", "trailers")

    def __init__(self, connection: Source, length: int | None, *, expects: bool) -> None:
        self._connection = connection
        self._continue = (
            expects  # of an empty body too, as S3 does: some clients wait for it before they go on
        )
        self.length = length
        self.trailers = http.Headers()
        self.done = length == 0
        self._left = length or 0
        self._iterator: AsyncIterator[bytes] | None = None

    @property
    def unasked(self) -> bool:
        """Whether the client still waits for `100 Continue` before it sends the body."""
        return self._continue

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._go_on()
        if self._iterator is None:
            self._iterator = self._chunked() if self.length is None else self._sized()
        return self._iterator

    def _go_on(self) -> None:
        """Tells a client that waits for it to send the body."""
        if self._continue:
            self._continue = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def read(self, limit: int) -> bytes:
        """The whole body (see `http.RequestBody`)."""
        if self.length is not None and self.length > limit:
            raise http.BodyTooLarge(f"{self.length} bytes, at most {limit} expected")
        pieces: list[bytes] = []
        size = 0
        if self.length is not None:  # without a generator's cost, on the path of every small request
            self._go_on()
            while self._left:
                pieces.append(await self._piece())
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        async for piece in self:
            size += len(piece)
            if size > limit:
                raise http.BodyTooLarge(f"more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def _piece(self) -> bytes:
        """The next piece of a body of known length."""
        piece = await self._connection.take(self._left)
        self._left -= len(piece)
        self.done = self._left == 0
        return piece

    async def _sized(self) -> AsyncIterator[bytes]:
        while self._left:
            yield await self._piece()

    async def _chunked(self) -> AsyncIterator[bytes]:
        source = self._connection.input
        while True:
            line = (await source.until(b"\r\n", LINE_LIMIT)).partition(b";")[0].strip()
            try:
                size = int(line, 16) if line.isalnum() else -1
            except ValueError:
                size = -1
            if size < 0:
                raise BadRequest(400, "bad chunk size")
            if size == 0:
                break
            while size:
                piece = await self._connection.take(size)
                size -= len(piece)
                yield piece
            if await source.until(b"\r\n", 0) != b"":
                raise BadRequest(400, "bad chunk end")
        fields = []
        while line := await source.until(b"\r\n", HEAD_LIMIT):
            fields.append(_field(line.decode("latin-1")))
        self.trailers = http.Headers(fields)
        self.done = True


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise BadRequest(400, "bad header field")
    return _name(name), value.strip(" \t")


@functools.lru_cache(maxsize=512)  # the same few names come again and again
def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadRequest(400, "bad header field")
    return name.lower()


def parse_head(head: bytes) -> tuple[str, str, bool, http.Headers]:
    """(method, target, whether HTTP/1.1, headers) of a request's head. Raises BadRequest."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not _METHOD.fullmatch(parts[0]) or not parts[1]:
        raise BadRequest(400, "bad request line")
    if parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, "HTTP version not supported")
    return parts[0], parts[1], parts[2] == "HTTP/1.1", http.Headers(map(_field, lines[1:]))


def body_length(headers: http.Headers) -> int | None:
    """Content-Length, 0 without a body, None when chunked. Raises BadRequest when it is ambiguous."""
    coding = headers.get("transfer-encoding").lower()
    lengths = set(headers.all("content-length"))
    if coding:
        if coding != "chunked" or len(headers.all("transfer-encoding")) > 1:
            raise BadRequest(501, "unknown transfer coding")
        if lengths:  # two framings on one message is how requests are smuggled
            raise BadRequest(400, "both Content-Length and Transfer-Encoding")
        return None
    if not lengths:
        return 0
    text = lengths.pop()
    if lengths or not (text.isascii() and text.isdigit()):
        raise BadRequest(400, "bad Content-Length")
    return int(text)
