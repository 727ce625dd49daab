"""One HTTP request and its answer: short timeouts, connections kept for the next one, nothing tried again here."""

from __future__ import annotations

import os
import threading
import time

from runctl.s3.connection import BadAnswer, Connection
from runctl.s3.patience import Passing

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext
    from types import TracebackType

    from runctl.s3.connection import Body, Response
    from runctl.s3.proxy import Proxy

CONNECT_SECONDS, SILENCE_SECONDS = 5.0, 20.0
KEEP_SECONDS = 4.0  # an idle connection older than this is not used again: the other side may have closed it
ERROR_LIMIT = (
    1 << 16
)  # bytes of an answer's body that nobody asked for and that are read to keep the connection


class Address:
    """Where a service listens."""

    __slots__ = ("host", "port", "secure")

    def __init__(self, host: str, *, secure: bool = True, port: int | None = None) -> None:
        self.host = host
        self.secure = secure
        self.port = port or (443 if secure else 80)

    @property
    def header(self) -> str:
        """The ``Host`` header."""
        return self.host if self.port == (443 if self.secure else 80) else "%s:%d" % (self.host, self.port)

    @property
    def key(self) -> tuple[str, int, bool]:
        """What makes two addresses the same."""
        return self.host, self.port, self.secure


class Answer:
    """A response whose body is still to be read; to be used with ``with``, which lets go of the connection."""

    def __init__(self, response: Response, connection: Connection, pool: Pool, address: Address) -> None:
        self._response = response
        self._connection = connection
        self._pool = pool
        self._address = address
        self.status = response.status
        self.headers = response.headers

    def __enter__(self) -> Answer:  # noqa: PYI034 - Self is newer than Python 3.8
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        response = self._response
        if kind is None and not response.done and (response.left or 0) <= ERROR_LIMIT:
            try:
                response.whole()
            except (OSError, BadAnswer):
                pass
        if kind is None and response.done and not response.closes:
            self._pool.keep(self._address, self._connection)
        else:
            self._pool.drop(self._connection)

    def read(self, limit: int) -> bytes:
        """Up to ``limit`` bytes of the body; empty at its end. Raises ``Passing``."""
        try:
            return self._response.read(limit)
        except (OSError, BadAnswer) as error:
            raise _failed(self._address, error) from error

    def whole(self) -> bytes:
        """The rest of the body. Raises ``Passing`` when it ends before its announced length."""
        try:
            return self._response.whole()
        except (OSError, BadAnswer) as error:
            raise _failed(self._address, error) from error


class Pool:
    """Connections that are open and idle. Safe to use from several threads."""

    def __init__(
        self,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        """``AWS_CA_BUNDLE``, ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` in ``env`` are honoured."""
        self._connect = connect_seconds
        self._silence = silence_seconds
        self._env = env
        self._used: dict[Connection, object] = {}
        self._idle: dict[tuple[str, int, bool], list[tuple[float, Connection]]] = {}
        self._lock = threading.Lock()
        self._context: SSLContext | None = None

    def send(
        self,
        address: Address,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body = None,
        *,
        owner: object = None,
    ) -> Answer:
        """One request. ``headers`` must say ``content-length`` when ``body`` is an iterable; see ``interrupt`` for ``owner``.

        Raises:
            Passing: ``store-unreachable`` when there is no answer: refused, cut, silent for too long.
        """
        proxy = None if address.secure else self._proxy(address)
        if proxy is not None:  # a proxy for plain HTTP is asked for the whole address
            target, headers = "http://%s%s" % (address.header, target), {**headers, **proxy.headers}
        try:
            connection = self._take(address)
        except (OSError, BadAnswer) as error:
            raise _failed(address, error) from error
        with self._lock:
            self._used[connection] = owner
        try:
            return Answer(self._talk(connection, method, target, headers, body), connection, self, address)
        except (OSError, BadAnswer) as error:
            self.drop(connection)
            raise _failed(address, error) from error
        except BaseException:
            self.drop(connection)
            raise

    def _talk(
        self, connection: Connection, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> Response:
        try:
            connection.send(method, target, headers, body)
        except (BrokenPipeError, ConnectionResetError) as error:
            # A refusal may come before the body was read to its end: what was said is more than that it was cut.
            try:
                return connection.answer(head_only=method == "HEAD")
            except (OSError, BadAnswer):
                raise error from None
        return connection.answer(head_only=method == "HEAD")

    def keep(self, address: Address, connection: Connection) -> None:
        """Take back a connection whose answer was read to its end."""
        with self._lock:
            self._used.pop(connection, None)
            self._idle.setdefault(address.key, []).append((time.monotonic(), connection))

    def drop(self, connection: Connection) -> None:
        """Close a connection that is of no more use."""
        with self._lock:
            self._used.pop(connection, None)
        connection.close()

    def interrupt(self, owner: object) -> None:
        """Break the connections that are in use for ``owner``: whoever waits on one gets ``Passing`` at once."""
        with self._lock:
            for connection, whose in self._used.items():
                if whose is owner:
                    connection.interrupt()

    def close(self) -> None:
        """Close the connections that are idle. Safe to repeat; the pool can be used again."""
        with self._lock:
            for waiting in self._idle.values():
                for _, connection in waiting:
                    connection.close()
            self._idle.clear()

    def __del__(self) -> None:
        self.close()

    def _take(self, address: Address) -> Connection:
        with self._lock:
            waiting = self._idle.get(address.key, [])
            while waiting:
                since, connection = waiting.pop()
                if time.monotonic() - since < KEEP_SECONDS:
                    return connection
                connection.close()
        connection = self._made(address)
        connection.patient(self._silence)
        return connection

    def _made(self, address: Address) -> Connection:
        proxy = self._proxy(address)
        host, port = (address.host, address.port) if proxy is None else (proxy.host, proxy.port)
        connection = Connection(host, port, seconds=self._connect)
        try:
            connection.open()
            if address.secure:
                if proxy is not None:
                    connection.tunnel(address.host, address.port, proxy.headers)
                connection.secure(self._tls(), address.host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _tls(self) -> SSLContext:
        import ssl  # noqa: PLC0415 - not for plain HTTP

        with self._lock:
            if self._context is None:
                bundle = self._env.get("AWS_CA_BUNDLE") or None
                self._context = ssl.create_default_context(cafile=bundle)
            return self._context

    def _proxy(self, address: Address) -> Proxy | None:
        """The proxy that leads there; None where none is set, which costs nothing to find out."""
        name = "https_proxy" if address.secure else "http_proxy"
        url = self._env.get(name) or self._env.get(name.upper())
        if not url:
            return None
        from runctl.s3.proxy import passes_by, proxy_at  # noqa: PLC0415 - rarely

        return None if passes_by(address.host, self._env) else proxy_at(url)


def _failed(address: Address, error: BaseException) -> Passing:
    detail = "%s: %s" % (type(error).__name__, error)
    return Passing("store-unreachable", host=address.header, detail=detail)
