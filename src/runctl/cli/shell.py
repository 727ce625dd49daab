"""``runctl shell``: a shell on a machine, in this terminal."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import tty
from typing import TYPE_CHECKING

from runctl.cli.arguments import MACHINE_HELP

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from runctl.cli.session import Session

READ = 1 << 16
LEAVE = (b"\n~.", b"\r~.")
EPILOG = """\
Every key goes to the shell there, Ctrl+C included; the window may change its size. It ends with the shell (`exit`), or
with ~. at the beginning of a line, which works also when the other side is silent. On an instance it is the account's
standard session of Systems Manager, with the user, the log and the profile of its preferences.

examples:
  runctl shell i-0abc1234def567890
  runctl shell latest
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("machine", metavar="MACHINE", help=MACHINE_HELP)


def run(args: argparse.Namespace, session: Session) -> int:
    """Until the shell ends; 0.

    Raises:
        UsageError: ``usage`` without a terminal; ``machine-unknown``, ``transport-cannot``.
        AccessError: ``needs-session``.
    """
    from runctl import api  # noqa: PLC0415 - `shell --help` does without the engine
    from runctl.cli.corrections import usage  # noqa: PLC0415 - as above
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - as above

    if not (os.isatty(0) and os.isatty(1)):
        fix = (f"  runctl exec {args.machine} -- COMMAND",)
        raise usage("a shell needs a terminal on stdin and stdout", fix=fix)
    runtime = session.runtime
    with install_signals(session.cancel, say=lambda _text: None), _raw(0):
        api.shell(runtime, args.machine, ThisTerminal())
    return 0


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Within the block every key is a byte; afterwards the terminal is what it was."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # what was typed ahead stays
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


class ThisTerminal:
    """The terminal of stdin and stdout, in raw mode. ``~.`` at the beginning of a line ends what is read."""

    def __init__(self) -> None:
        self._typed = b"\n"  # the end of what was typed
        self._gone = False

    def keys(self, seconds: float) -> bytes | None:
        """What was typed, after at most ``seconds``; None: nothing, empty: it is over."""
        if self._gone:
            return b""
        if not select.select([0], [], [], seconds)[0]:
            return None
        data = os.read(0, READ)
        recent = self._typed + data
        self._typed = recent[-2:]
        self._gone = not data or any(mark in recent for mark in LEAVE)
        return data.partition(b"~")[0] if self._gone else data

    def show(self, data: bytes) -> None:
        """Bytes of the other side, as they are."""
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]

    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        with contextlib.suppress(OSError):
            found = os.get_terminal_size(1)
            return found.columns, found.lines
        return 80, 24
