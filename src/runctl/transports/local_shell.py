"""A program on this computer in a terminal of its own, seen through the terminal a person sits at."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Terminal

LOOK_SECONDS = 0.02  # between looks at the keys while the shell is silent
READ = 1 << 16


def run(argv: Sequence[str], terminal: Terminal, cancel: CancelToken) -> int:
    """Until the program ends, the terminal is gone, or the token is set: it is hung up on then; its exit status.

    Raises:
        UnreachableError: ``command-not-started``.
        Cancelled: the token was set.
    """
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509 - one call, and no lock is taken in it
        )
    except OSError as error:
        os.close(leader)
        raise known("command-not-started", program=argv[0], detail=error.strerror or str(error)) from error
    finally:
        os.close(follower)
    try:
        _converse(leader, process, terminal, cancel)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGHUP)
        os.close(leader)
        status = process.wait()
    return status


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _converse(leader: int, process: subprocess.Popen[bytes], terminal: Terminal, cancel: CancelToken) -> None:
    size = (0, 0)
    while True:
        cancel.check()
        if size != (now := terminal.size()):
            size = now
            fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", now[1], now[0], 0, 0))
        if select.select([leader], [], [], 0)[0]:
            try:
                data = os.read(leader, READ)
            except OSError:  # EIO: nobody holds the other end any more
                data = b""
            if not data:
                return
            terminal.show(data)
            continue
        if process.poll() is not None:
            return
        typed = terminal.keys(LOOK_SECONDS)
        if typed == b"":
            return
        if typed:
            os.write(leader, typed)
