"""Runs an installer: its own process group, output line by line, a cancel seen within a fifth of a second.

uv shows its progress only to a terminal, so it may be given one: a pseudo-terminal, wide enough that nothing wraps.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SLICE = 0.1  # seconds between two looks at the cancel
GRACE = 3.0  # seconds an installer has between TERM and KILL
WIDTH = 200  # columns: uv breaks its sentences at the edge
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


class Lines:
    """Cuts a byte stream into what a person would see: whole lines, and the states a line passed through.

    ``feed`` gives pairs (text, stays): a text that stays ended with a line feed, another was overwritten by a
    carriage return or a cursor movement. Half a line is kept until it is whole, or shown (once) as a passing state.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[str, bool]]:
        """The texts that became whole with ``data``."""
        out: list[tuple[str, bool]] = []
        pieces = re.split(rb"(\r*\n|\r+|\x1b\[\d*[AB])", self._rest + data)
        if len(pieces) > 1 and not pieces[-1] and pieces[-2].endswith(b"\r"):
            pieces[-3:] = [pieces[-3] + pieces[-2]]  # a line feed may still follow
        for text, end in zip(pieces[0:-1:2], pieces[1::2]):
            self._add(out, text, stays=b"\n" in end)
        self._rest = pieces[-1][-65536:]
        return out

    def close(self) -> list[tuple[str, bool]]:
        """What is left at the end."""
        out: list[tuple[str, bool]] = []
        self._add(out, self._rest, stays=True)
        self._rest = b""
        return out

    @staticmethod
    def _add(out: list[tuple[str, bool]], raw: bytes, *, stays: bool) -> None:
        text = _ANSI.sub("", raw.decode("utf-8", "replace")).rstrip()
        if text:
            out.append((text, stays))


def run(
    argv: list[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    terminal: bool,
    keep_open: int,
    on_start: Callable[[int], None],
    on_text: Callable[[str, bool], None],
    on_tick: Callable[[], None],
    cancelled: Callable[[], bool],
) -> int:
    """Run ``argv`` to its end; its exit status (negative: the signal).

    ``keep_open`` is a descriptor the installer inherits (the lock of what it writes to: as long as it lives, nobody
    else may begin). ``on_start`` gets the process group, ``on_tick`` comes at least ten times a second. Raises
    ``AgentFailure("cancelled")`` after the whole process group has ended, ``install-failed`` when it cannot start.
    """
    ours, theirs = _channel(terminal=terminal)
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            pass_fds=(keep_open,),
        )
    except OSError as error:
        os.close(ours)
        raise AgentFailure(
            "install-failed", reason="cannot start %s: %s" % (argv[0], error), log="", package=""
        ) from error
    finally:
        os.close(theirs)
    lines = Lines()
    try:
        on_start(process.pid)
        while not cancelled():
            data = _read(ours)
            if data is None:
                break
            for text, stays in lines.feed(data):
                on_text(text, stays)
            on_tick()
            if not data and process.poll() is not None:
                break
        for text, stays in lines.close():
            on_text(text, stays)
        while process.poll() is None and not cancelled():
            time.sleep(0.01)
        if cancelled():
            raise AgentFailure("cancelled", step="environment")
        return process.returncode
    finally:
        end_group(process.pid, lambda: process.poll() is not None)
        process.wait()
        os.close(ours)


def end_group(group: int, ended: Callable[[], bool]) -> None:
    """TERM to a process group, a short grace, KILL; a group that is gone is a success."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not ended():
            time.sleep(0.02)


def _channel(*, terminal: bool) -> tuple[int, int]:
    if terminal:
        try:
            ours, theirs = os.openpty()
        except OSError:
            return os.pipe()  # no pseudo-terminal left: the installer says less, nothing breaks
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        return ours, theirs
    return os.pipe()


def _read(ours: int) -> bytes | None:
    """What there is within ``SLICE`` seconds; empty when quiet, None at the end."""
    if not select.select([ours], [], [], SLICE)[0]:
        return b""
    try:
        return os.read(ours, 65536) or None
    except OSError as error:
        if error.errno == errno.EIO:  # the other side of a pseudo-terminal was closed
            return None
        raise
