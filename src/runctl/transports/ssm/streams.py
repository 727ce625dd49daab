"""A command or a connection on the machine, seen from here: its input as far as there is room, its output as it comes."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, RunctlError
from runctl.core.ports import Completed
from runctl.transports.ssm.machine import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runctl.core.cancel import CancelToken
    from runctl.transports.ssm.link import Link

STDERR_KEPT = 64 * 1024
CREDIT_STEP = wire.OUTPUT_AHEAD // 8  # bytes taken after which the machine is told
STOP_SECONDS = 0.7  # for a command that was told to stop to say that it has


class Stream:
    """One of a link's streams. What is called ``_locked`` is called by the link, which holds the lock of ``changed``."""

    def __init__(self, link: Link, number: int, changed: threading.Condition) -> None:
        self.number = number
        self._link = link
        self._changed = changed
        self._chunks: deque[tuple[int, bytes]] = deque()
        self.code: int | None = None  # the exit status once it has ended
        self.failure: str | None = None  # why it never began
        self._sent = 0
        self._room = wire.INPUT_AHEAD
        self._taken = 0
        self._told = 0

    def arrived_locked(self, kind: int, payload: bytes) -> None:
        """One frame of the machine, in order."""
        if kind == wire.EXIT:
            self.code = int(payload)
        elif kind == wire.FAILED:
            self.failure = payload.decode(errors="replace")
        else:
            self._chunks.append((kind, payload))

    def credit_locked(self, taken: int) -> None:
        """How much of the input the machine has taken."""
        self._room = max(self._room, taken + wire.INPUT_AHEAD)

    @property
    def taken(self) -> int:
        """Bytes of output that were taken here."""
        return self._taken

    def write(self, data: bytes, cancel: CancelToken) -> bool:
        """Send input; waits for room. False when nobody reads it there. Raises Cancelled, and the error of a cut link."""
        for start in range(0, len(data), wire.PIECE):
            piece = data[start : start + wire.PIECE]
            with self._changed:
                while self._sent + len(piece) > self._room and not self.over:
                    self._check(cancel)
                    self._changed.wait(SLICE)
                if self.over or self._room >= wire.NOBODY:
                    return False
                self._sent += len(piece)
            self._link.put(wire.INPUT, self, piece)
        return True

    def end(self) -> None:
        """No more input."""
        self._link.put(wire.END, self)

    def stop(self) -> None:
        """TERM to the command and all it started, KILL half a second later; a connection is closed."""
        self._link.put(wire.STOP, self)

    def read(self, cancel: CancelToken | None, seconds: float | None = None) -> tuple[int, bytes] | None:
        """The next piece of output with its kind; None when there is no more, or none within ``seconds``.

        Raises:
            Cancelled: the token was set. The command goes on until it is stopped.
            RunctlError: the link is cut.
        """
        left = seconds
        with self._changed:
            while not self._chunks:
                if self.over or (left is not None and left <= 0):
                    return None
                self._check(cancel)
                self._changed.wait(SLICE if left is None else min(SLICE, left))
                left = None if left is None else left - SLICE
            return self._chunks.popleft()

    def took(self, size: int) -> None:
        """So many more bytes of output were used: there is room for as many."""
        self._taken += size
        if self._taken - self._told >= CREDIT_STEP:
            self._told = self._taken
            self._link.say(wire.CREDIT, self.number, wire.COUNT.pack(self._taken))

    @property
    def over(self) -> bool:
        """Whether the machine has told how it ended; output may still wait to be read."""
        return self.code is not None or self.failure is not None

    def _check(self, cancel: CancelToken | None) -> None:
        if self._link.error is not None:
            raise self._link.error
        if cancel is not None:
            cancel.check()


def run(
    stream: Stream,
    stdin: Iterable[bytes],
    on_output: Callable[[bytes], None] | None,
    on_errors: Callable[[bytes], None] | None,
    *,
    cancel: CancelToken,
    program: str,
) -> Completed:
    """Feed a command and take its output to its end. Raises as ``Transport.exec`` does."""
    feeding = _Feeding(stream, stdin, cancel)
    stderr = bytearray()
    try:
        while True:
            got = stream.read(cancel)
            feeding.check()
            if got is None:
                break
            kind, piece = got
            if kind == wire.ERR:
                stderr = (stderr + piece)[-STDERR_KEPT:]
            hear = on_errors if kind == wire.ERR else on_output
            if hear is not None:
                hear(piece)
            stream.took(len(piece))
    except BaseException:
        _give_up(stream)
        raise
    if stream.code is None:
        raise known("command-not-started", program=program, detail=stream.failure)
    return Completed(stream.code, bytes(stderr))


def _give_up(stream: Stream) -> None:
    """Stop a command, and wait a moment for it to have ended; a link that is cut has ended it already."""
    try:
        stream.stop()
        while (got := stream.read(None, STOP_SECONDS)) is not None:
            stream.took(len(got[1]))
    except RunctlError:
        return


class _Feeding:
    """Input on a thread of its own: where it comes from may wait."""

    def __init__(self, stream: Stream, stdin: Iterable[bytes], cancel: CancelToken) -> None:
        self._error: BaseException | None = None
        self._stream = stream
        self._stdin = stdin
        self._cancel = cancel
        if isinstance(stdin, (tuple, list)) and not stdin:
            stream.end()
        else:
            threading.Thread(target=self._feed, name="ssm input", daemon=True).start()

    def _feed(self) -> None:
        try:
            for chunk in self._stdin:
                if not self._stream.write(chunk, self._cancel):
                    return
            self._stream.end()
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised by whoever takes the output
            self._error = error
            self._stream.stop()

    def check(self) -> None:
        """Raise what the source of the input raised."""
        if self._error is not None:
            raise self._error
