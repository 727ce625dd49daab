"""TCP connections through a link: the machine connects, its relay carries the bytes; any number of them share one link."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE, CancelToken
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import Notice
from runctl.transports.listening import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from runctl.core.events import Emit
    from runctl.transports.ssm.link import Link
    from runctl.transports.ssm.streams import Stream

READ = 1 << 16


def forward(
    linked: Callable[[CancelToken], Link],
    local_port: int,
    there: tuple[str, int],
    *,
    emit: Emit,
    on_ready: Callable[[int], None],
    cancel: CancelToken,
) -> None:
    """Listen on 127.0.0.1, and carry every connection; see ``ports.Forwards``. ``linked`` gives the link of the moment."""
    linked(cancel)  # what is in the way of it is told before anybody connects
    with listening(local_port) as listener:
        on_ready(int(listener.getsockname()[1]))
        mine = CancelToken(cancel)
        try:
            while True:
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    cancel.check()
                    continue
                one = (linked, connection, there, emit, mine)
                threading.Thread(target=_serve, args=one, name="forward", daemon=True).start()
        finally:
            mine.cancel("forwarding ended")


def _serve(
    linked: Callable[[CancelToken], Link],
    connection: socket.socket,
    there: tuple[str, int],
    emit: Emit,
    cancel: CancelToken,
) -> None:
    """One connection; what goes wrong with it is said, and ends it alone."""

    def received() -> Iterator[bytes]:
        connection.settimeout(SLICE)
        while not cancel.cancelled:
            try:
                data = connection.recv(READ)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            yield data

    def send(data: bytes) -> None:
        connection.settimeout(None)
        with contextlib.suppress(OSError):
            connection.sendall(data) if data else connection.shutdown(socket.SHUT_WR)

    with connection, contextlib.suppress(RunctlError):
        try:
            carry(linked(cancel), there, stdin=received(), on_output=send, linger=True, cancel=cancel)
        except RunctlError as error:
            if not cancel.cancelled:
                emit(Notice("warning", error.what))
            raise


def carry(
    link: Link,
    there: tuple[str, int],
    *,
    stdin: Iterable[bytes],
    on_output: Callable[[bytes], None],
    linger: bool,
    cancel: CancelToken,
) -> None:
    """One connection from the machine to ``there``, until the other end has hung up; with ``linger`` until both have.

    ``on_output`` gets an empty piece when the other end has hung up.

    Raises:
        UnreachableError: ``connection-refused-there``; ``session-cut``.
        Cancelled: the token was set.
    """
    stream = link.connect(*there)
    up = threading.Thread(target=_feed, args=(stream, stdin, cancel), name="forward up", daemon=True)
    up.start()
    try:
        while (got := stream.read(cancel)) is not None:
            on_output(got[1])
            stream.took(len(got[1]))
            if not got[1] and not linger:
                break
    finally:
        with contextlib.suppress(RunctlError):
            stream.stop()
    if stream.failure is not None:
        host, port = there
        raise known(
            "connection-refused-there", instance=link.instance, host=host, port=port, detail=stream.failure
        )


def _feed(stream: Stream, stdin: Iterable[bytes], cancel: CancelToken) -> None:
    with contextlib.suppress(RunctlError):
        for data in stdin:
            if not stream.write(data, cancel):
                return
        stream.end()
