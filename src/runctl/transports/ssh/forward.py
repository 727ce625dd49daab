"""TCP connections through ssh. The master that is there anyway listens and carries them; here somebody sees to it that it stays."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import Notice
from runctl.transports.conversation import begin, converse, leave
from runctl.transports.listening import listening
from runctl.transports.ssh.words import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runctl.core.cancel import CancelToken
    from runctl.core.events import Emit
    from runctl.transports.ssh.connection import Connection

STAY = "exec cat"  # what runs there meanwhile: a master without a session ends, and this ends with its input
# What ssh says of a connection that could not be made from there: through a master, and by itself.
_REFUSED = re.compile(r"forwarding request failed|stdio forwarding failed|: open failed")
_WHY = "nothing answers there, or the host's sshd does not allow forwarding (AllowTcpForwarding)"
LOOK_SECONDS = 1.0  # between two looks whether the master is there
PAUSES = (1.0, 15.0)  # seconds between two tries to connect again: the first, the longest


def forward(
    connection: Connection,
    local_port: int,
    there: tuple[str, int],
    *,
    emit: Emit,
    on_ready: Callable[[int], None],
    cancel: CancelToken,
) -> None:
    """Carry connections from a port here until ``cancel``; see ``SshTransport.forward``."""
    connection.open(cancel)
    with listening(local_port) as listener:  # whether it may be had, and which it is: ssh takes no port 0
        local_port = int(listener.getsockname()[1])
    told = False
    while True:
        refused = connection.forward(local_port, *there)
        if refused and connection.answers():
            raise known("port-taken", port=local_port, detail=refused)
        if not refused:
            try:
                if not told:
                    on_ready(local_port)
                    told = True
                _stay(connection, cancel)
            finally:
                connection.forward(local_port, *there, off=True)
        emit(Notice("warning", f"the connection to {connection.host} broke; connecting again"))
        _again(connection, emit, cancel)


def _stay(connection: Connection, cancel: CancelToken) -> None:
    """Return when the connection has broken. Raises Cancelled."""
    held = subprocess.Popen(
        connection.argv(STAY),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        looked = time.monotonic()
        while held.poll() is None:
            cancel.wait(SLICE)
            cancel.check()
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                if (
                    not connection.answers()
                ):  # a session that began as the master went has a connection of its own
                    return
    finally:
        leave(held)
        if held.stdin is not None:
            held.stdin.close()


def _again(connection: Connection, emit: Emit, cancel: CancelToken) -> None:
    """Connect, however long it takes. Raises Cancelled, and what trying again does not help."""
    pause = PAUSES[0]
    while True:
        try:
            connection.open(cancel)
        except RunctlError as error:
            if not error.transient:
                raise
            emit(Notice("warning", f"{error.what}: trying again in {pause:.0f} s"))
            cancel.wait(pause)
            cancel.check()
            pause = min(pause * 2, PAUSES[1])
        else:
            return


def carry(
    connection: Connection,
    there: tuple[str, int],
    *,
    stdin: Iterable[bytes],
    on_output: Callable[[bytes], None],
    cancel: CancelToken,
) -> None:
    """One connection, until the other end has hung up.

    Raises:
        UnreachableError: ``connection-refused-there``; the link was cut.
        Cancelled: the token was set.
    """
    process = begin(connection.through_argv(*there))
    try:
        stderr = converse(process, stdin, (on_output, None), cancel)
        status = process.wait()
    finally:
        leave(process)
    if status:
        said = stderr.decode(errors="replace").strip()
        if _REFUSED.search(said):
            host, port = there
            raise known(
                "connection-refused-there", instance=connection.host, host=host, port=port, detail=_WHY
            )
        raise translated(said, connection.host, connection.login, connected=True)
