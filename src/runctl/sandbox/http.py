"""HTTP/1.1 as the sandbox serves it: requests whose bodies stream, responses that may be slices of files.

Wire details (framing, keep-alive, back-pressure, sendfile) are in `wire.py`; services only see this module.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from runctl.sandbox.wire import Connection

__all__ = [
    "BodyTooLarge",
    "ClientGone",
    "FileSlice",
    "Handler",
    "Headers",
    "Request",
    "RequestBody",
    "Response",
    "ResponseBody",
    "Server",
    "serve",
]


IDLE_SECONDS = 120.0  # a kept connection without a whole request
SWEEP_SECONDS = 15.0


class ClientGone(ConnectionError):
    """The client closed the connection, or it was cut, before the message was whole."""


class BodyTooLarge(ValueError):
    """The request's body is longer than the caller was ready to hold."""


class Headers:
    """Header fields in the order they arrived. Names are lower-case here, and asked for in lower case.

    Values are decoded as Latin-1, so `value.encode("latin-1")` gives back the bytes on the wire.
    """

    __slots__ = ("_first", "_items")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items = [(name.lower(), value) for name, value in items]
        self._first = dict(self._items)
        if len(self._first) < len(self._items):  # of a repeated name the first
            self._first = dict(reversed(self._items))

    def get(self, name: str, default: str = "") -> str:
        """The first value of a field, or `default`."""
        return self._first.get(name, default)

    def all(self, name: str) -> list[str]:
        """Every value of a field, in order; empty when it is absent."""
        if len(self._first) == len(self._items):
            return [self._first[name]] if name in self._first else []
        return [value for key, value in self._items if key == name]

    def items(self) -> list[tuple[str, str]]:
        """Every field as (lower-case name, value), in order of arrival, repeated names included."""
        return list(self._items)

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Headers({self._items!r})"


class RequestBody(Protocol):
    """The body of a request: iterate over its pieces once, or `read` it whole."""

    @property
    def length(self) -> int | None:
        """The announced length in bytes; None when the body is chunked."""

    @property
    def trailers(self) -> Headers:
        """Trailer fields of a chunked body; filled when the last piece has been read."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge beyond `limit` bytes and ClientGone when it ends early."""


class Link(Protocol):
    """What a request may do with the connection it came on (implemented by `wire.Connection`)."""

    @property
    def closed(self) -> bool: ...

    def upgrade(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...

    def cut_after(self, count: int) -> None: ...

    def abort(self) -> None: ...


class Request:
    """One request. `path` and `query` are as they were on the wire: still percent-encoded, without the `?`."""

    __slots__ = ("_link", "body", "client", "headers", "method", "path", "query")

    def __init__(
        self, method: str, target: str, headers: Headers, body: RequestBody, *, client: str, link: Link
    ) -> None:
        self.method = method
        if target.startswith(("http://", "https://")):  # the absolute form, as sent to proxies
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.client = client
        self._link = link

    @property
    def disconnected(self) -> bool:
        """Whether the client has gone: what is written from now on is lost."""
        return self._link.closed

    def upgrade(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The raw connection, for a protocol other than HTTP; the handler writes the 101 answer itself.

        The handler must return None afterwards; the connection is closed when it returns.
        """
        return self._link.upgrade()

    def cut_after(self, count: int) -> None:
        """Breaks the connection (a reset, not an end) once `count` more bytes of the body have been read."""
        self._link.cut_after(count)

    def abort(self) -> None:
        """Breaks the connection at once, without any answer."""
        self._link.abort()


class FileSlice:
    """`length` bytes of a file from `offset`, opened now, so that it can be replaced or deleted meanwhile.

    The server closes it after sending; call `close()` when it is not returned after all.
    Raises OSError when the file cannot be opened.
    """

    __slots__ = ("file", "length", "offset")

    def __init__(self, path: Path | str, offset: int = 0, length: int | None = None) -> None:
        self.file: BinaryIO = open(path, "rb")  # noqa: SIM115 - the server closes it when it is sent
        self.offset = offset
        self.length = os.fstat(self.file.fileno()).st_size - offset if length is None else length

    def close(self) -> None:
        """Closes the file; safe to repeat."""
        self.file.close()


ResponseBody = bytes | AsyncIterator[bytes] | FileSlice | tuple[FileSlice, ...]


@dataclass(slots=True)
class Response:
    """One answer. Content-Length (or chunked framing), Date, Server and Connection are added by the server.

    An iterator as the body is sent chunked unless `headers` holds Content-Length. For a HEAD request the body
    is not sent but its length is announced; a Content-Length in `headers` wins. `cut_after` breaks the
    connection after so many bytes of the body, `rate` (bytes a second) slows it down: both are for weather.
    """

    status: int = 200
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    body: ResponseBody = b""
    cut_after: int | None = None
    rate: int | None = None

    def fields(self) -> list[tuple[str, str]]:
        """The headers as pairs, whichever way they were given."""
        return list(self.headers.items() if isinstance(self.headers, Mapping) else self.headers)

    def length(self) -> int | None:
        """The body's length in bytes; None when it is an iterator."""
        if isinstance(self.body, bytes):
            return len(self.body)
        if isinstance(self.body, FileSlice):
            return self.body.length
        if isinstance(self.body, tuple):
            return sum(piece.length for piece in self.body)
        return None

    def close(self) -> None:
        """Closes the files of the body; safe to repeat."""
        if isinstance(self.body, FileSlice):
            self.body.close()
        elif isinstance(self.body, tuple):
            for piece in self.body:
                piece.close()


Handler = Callable[[Request], Awaitable[Response | None]]


class Server:
    """A listening server; `port` is the bound one. Made by `serve`."""

    def __init__(self, listeners: list[asyncio.Server], connections: set[Connection], port: int) -> None:
        self._listeners = listeners
        self._connections = connections
        self.port = port
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep_idle)

    def _sweep_idle(self) -> None:
        for connection in list(self._connections):
            connection.close_if_idle(before=time.monotonic() - IDLE_SECONDS)
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep_idle)

    async def close(self, *, grace: float = 1.0) -> None:
        """Stops listening, lets requests in progress end for `grace` seconds, then cuts. Safe to repeat."""
        self._sweep.cancel()
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.retire()
        tasks = [c.task for c in self._connections if c.task is not None and not c.task.done()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self._connections):
            connection.drop()
        await asyncio.sleep(0)  # lets the transports report that they are closed


async def serve(
    handler: Handler, host: str, port: int, *, unix: Path | None = None, now: Callable[[], float] = time.time
) -> Server:
    """Serves `handler` on TCP `host:port` (port 0: any free one) and, if given, on a unix socket too.

    `now` gives the seconds since the epoch that the Date headers tell.

    Each connection is a task; the handler is called once a request, in order on a connection. An exception of
    the handler is logged and answered with 500. Raises OSError when an address cannot be bound.
    """
    from runctl.sandbox.wire import Connection, Dates  # noqa: PLC0415 - wire.py stands on the types above

    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    dates = Dates(now)

    def connect() -> Connection:
        return Connection(handler, connections, dates)

    listeners = [await loop.create_server(connect, host, port, backlog=512, reuse_address=True)]
    if unix is not None:
        listeners.append(await loop.create_unix_server(connect, str(unix), backlog=512))
    bound = listeners[0].sockets[0].getsockname()[1]
    return Server(listeners, connections, bound)
