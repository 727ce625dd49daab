"""One HTTP/1.1 connection on asyncio: framing, keep-alive, back-pressure, sendfile.

A protocol of our own and not asyncio's streams: pieces of a body go to the handler as they came from the socket,
uncopied, and a small request costs one wake-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from runctl.sandbox import http
from runctl.sandbox.framing import HEAD_LIMIT, BadRequest, Body, Input, body_length, parse_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

log = logging.getLogger("runctl.sandbox.http")

DISCARD_LIMIT = 64 * 1024 * 1024  # an unread body up to this length is read away to keep the connection
SLICE = 256 * 1024

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BODYLESS = frozenset({204, 304})


class Dates:
    """The Date header by a server's own clock, made once a second."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._at = 0
        self._text = b""

    def text(self) -> bytes:
        """What the header says now."""
        now = int(self._now())
        if now != self._at:
            self._at, self._text = now, formatdate(now, usegmt=True).encode()
        return self._text


_REAL = Dates(time.time)


class Connection(asyncio.Protocol):
    """One client's connection: reads a request, calls the handler, writes its answer, again."""

    def __init__(self, handler: http.Handler, connections: set[Connection], dates: Dates = _REAL) -> None:
        self._handler = handler
        self._dates = dates
        self._all = connections
        self.input = Input()
        self.task: asyncio.Task[None] | None = None
        self.closed = False
        self._transport: asyncio.Transport
        self._client = ""
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._keep = True
        self._idle = True
        self.idle_since = time.monotonic()
        self._upgraded = False
        self._writer: asyncio.StreamWriter | None = None  # kept, for one that is dropped open complains
        self._cut: int | None = None

    # --- what asyncio calls ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts reading requests."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=1024 * 1024)
        self.input.transport = self._transport
        peer = transport.get_extra_info("peername")
        self._client = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"
        self._all.add(self)
        self.task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Keeps what arrived for the handler."""
        self.input.feed(data)

    def eof_received(self) -> bool:
        """The client will send no more."""
        self.input.end()
        return True  # a client may close its half and still wait for the answer

    def connection_lost(self, exc: Exception | None) -> None:
        """Wakes whoever waits on the socket."""
        del exc  # why it was lost makes no difference to anybody
        self.closed = True
        self._all.discard(self)
        self.input.end()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # --- what the server and a request call -------------------------------------------------------------

    def retire(self) -> None:
        """Closes when the request in progress has been answered; at once when there is none."""
        self._keep = False
        if self._idle and not self._upgraded:
            self._transport.close()

    def close_if_idle(self, *, before: float) -> None:
        """Closes a connection that has waited for a whole request since `before` (of the monotonic clock)."""
        if self._idle and not self._upgraded and self.idle_since < before:
            self._transport.close()

    def drop(self) -> None:
        """Closes at once; what was not sent yet is lost."""
        self._keep = False
        self._transport.abort()
        self.input.end()

    def abort(self) -> None:
        """Breaks the connection: the client sees a reset, not an end."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # it is closed already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop()

    def cut_after(self, count: int) -> None:
        """Cuts after `count` more bytes of the body were read (see `http.Request`)."""
        self._cut = count

    def upgrade(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Hands the socket over as streams (see `http.Request`)."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1024 * 1024, loop=loop)
        protocol = _Upgraded(self, reader, loop)
        self._upgraded = True
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if rest := self.input.rest():
            reader.feed_data(rest)
        if self.input.ended:
            reader.feed_eof()
        else:
            self._transport.resume_reading()
        self._writer = asyncio.StreamWriter(self._transport, protocol, reader, loop)
        return reader, self._writer

    async def take(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes of a body."""
        if self._cut is not None:
            if self._cut <= 0:
                self.abort()
                raise http.ClientGone("the connection was cut")
            limit = min(limit, self._cut)
        piece = await self.input.some(limit)
        if self._cut is not None:
            self._cut -= len(piece)
        return piece

    def write(self, data: bytes) -> None:
        """Queues bytes for the client."""
        self._transport.write(data)

    async def drain(self) -> None:
        """Waits until the client has taken enough of what was written. Raises ClientGone."""
        while self._paused and not self.closed:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable
        if self.closed:
            raise http.ClientGone("the client closed the connection")

    # --- the loop ---------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._keep:
                self._idle = True
                self.idle_since = time.monotonic()
                head = await self.input.until(b"\r\n\r\n", HEAD_LIMIT)
                self._idle = False
                await self._one(head)
        except (http.ClientGone, OSError):
            pass
        except BadRequest as error:
            self._refuse(error.status, str(error))
        finally:
            self._transport.close()

    def _refuse(self, status: int, why: str) -> None:
        text = why.encode()
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Length: {len(text)}\r\n"
        self.write(head.encode() + b"Content-Type: text/plain\r\nConnection: close\r\n\r\n" + text)

    async def _one(self, head: bytes) -> None:
        method, target, modern, headers = parse_head(head.lstrip(b"\r\n"))
        expects = modern and headers.get("expect").lower() == "100-continue"
        body = Body(self, body_length(headers), expects=expects)
        wish = headers.get("connection").lower()
        self._keep = self._keep and ("close" not in wish if modern else "keep-alive" in wish)
        self._cut = None
        request = http.Request(method, target, headers, body, client=self._client, link=self)
        try:
            response = await self._handler(request)
        except (http.ClientGone, BadRequest):
            raise
        except Exception:
            log.exception("%s %s failed", method, target)
            response = http.Response(
                500, {"Content-Type": "text/plain"}, b"the sandbox failed; see its log\n"
            )
        if self._upgraded or self.closed:
            self._keep = False
            return
        if response is None:
            self.abort()
            return
        if body.unasked or (not body.done and (body.length or 0) > DISCARD_LIMIT):
            self._keep = False
        try:
            await self._answer(response, method=method, modern=modern)
        finally:
            response.close()
        if not body.done and not body.unasked:
            await self._discard(body)

    async def _discard(self, body: Body) -> None:
        """Reads the rest of a body nobody wanted, so that a client that sends before it reads gets the answer."""
        size = 0
        async for piece in body:
            size += len(piece)
            if size > DISCARD_LIMIT:
                self._keep = False
                return

    async def _answer(self, response: http.Response, *, method: str, modern: bool) -> None:
        length = response.length()
        fields = response.fields()
        names = {name.lower() for name, _ in fields}
        chunked = False
        if "content-length" not in names and response.status not in _BODYLESS:
            if length is not None:
                fields.append(("Content-Length", str(length)))
            elif modern:
                fields.append(("Transfer-Encoding", "chunked"))
                chunked = True
            else:
                self._keep = False
        if not self._keep:
            fields.append(("Connection", "close"))
        elif not modern:
            fields.append(("Connection", "keep-alive"))
        lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in fields]
        head = "\r\n".join(lines).encode("latin-1", "replace")
        head += b"\r\nDate: " + self._dates.text() + b"\r\nServer: runctl-sandbox\r\n\r\n"
        if method == "HEAD" or response.status in _BODYLESS:
            self.write(head)
        elif response.cut_after is not None or response.rate is not None:
            self.write(head)
            await self._weathered(response, chunked=chunked)
        elif isinstance(response.body, bytes):
            self.write(head + response.body if response.body else head)
            if self._paused:
                await self.drain()
        else:
            self.write(head)
            await self._stream(response.body, chunked=chunked)

    async def _stream(
        self, body: AsyncIterator[bytes] | http.FileSlice | tuple[http.FileSlice, ...], *, chunked: bool
    ) -> None:
        if isinstance(body, http.FileSlice):
            body = (body,)
        if isinstance(body, tuple):
            loop = asyncio.get_running_loop()
            for piece in body:
                if piece.length:
                    sent = await self._sendfile(loop, piece)
                    if sent != piece.length:  # the file is shorter than promised: only a cut tells the client
                        self.abort()
                        raise http.ClientGone("the file ended early")
            return
        try:
            async for data in body:
                await self._put(data, chunked=chunked)
        except (OSError, asyncio.CancelledError):
            self.abort()
            raise
        except Exception:
            log.exception("a streamed answer broke off")
            self.abort()
            return
        if chunked:
            self.write(b"0\r\n\r\n")

    async def _sendfile(self, loop: asyncio.AbstractEventLoop, piece: http.FileSlice) -> int:
        try:
            return await loop.sendfile(self._transport, piece.file, piece.offset, piece.length)
        except RuntimeError as error:  # asyncio says so when the transport is already closing
            raise http.ClientGone("the client closed the connection") from error

    async def _put(self, data: bytes, *, chunked: bool) -> None:
        if data:
            self.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        await self.drain()

    async def _weathered(self, response: http.Response, *, chunked: bool) -> None:
        """Sends slowly, or only a part and then a reset."""
        left = response.cut_after
        async for data in _pieces(response.body, response.rate):
            part = data if left is None else data[:left]
            await self._put(part, chunked=chunked)
            if left is not None:
                left -= len(part)
                if left <= 0:
                    await asyncio.sleep(0.05)  # what was written reaches the client before the reset does
                    self.abort()
                    raise http.ClientGone("the connection was cut")
            if response.rate:
                await asyncio.sleep(len(part) / response.rate)
        if chunked:
            self.write(b"0\r\n\r\n")


async def _pieces(body: http.ResponseBody, rate: int | None) -> AsyncIterator[bytes]:
    """A body in pieces small enough that a rate is felt (ten a second), else 256 KiB."""
    size = max(1, min(SLICE, rate // 10)) if rate else SLICE
    if isinstance(body, http.FileSlice):
        body = (body,)
    if isinstance(body, bytes):
        for at in range(0, len(body), size):
            yield body[at : at + size]
    elif isinstance(body, tuple):
        for piece in body:
            piece.file.seek(piece.offset)
            left = piece.length
            while left and (data := piece.file.read(min(size, left))):
                left -= len(data)
                yield data
    else:
        async for data in body:
            for at in range(0, len(data), size):
                yield data[at : at + size]


class _Upgraded(asyncio.StreamReaderProtocol):
    """asyncio's streams on a socket that spoke HTTP before; the connection still learns when it is lost."""

    def __init__(
        self, connection: Connection, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(reader, loop=loop)
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        with contextlib.suppress(Exception):  # the streams' own bookkeeping must not stop ours
            super().connection_lost(exc)
        self._connection.connection_lost(exc)
