"""stdout for the script's bytes, stderr for our lines, and the rule that one never tears the other."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from runctl.core.errors import Cancelled
from runctl.core.stdout import to_stdout

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 1.0  # seconds a line of ours waits for the script to end its own


def write_all(fd: int, data: bytes) -> None:
    """Write everything to a file descriptor, also to one that another program has made non-blocking.

    Unbuffered on purpose: a signal handler may write while the main thread is writing, and Python's buffered
    streams refuse that. Raises ``OSError`` as the system gives it.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            import select  # noqa: PLC0415 - rare

            select.select([], [fd], [], PATIENCE)


def same_file(one: int, other: int) -> bool:
    """Whether two descriptors lead to the same terminal, pipe or file; false when either is closed."""
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False


class Streams:
    """The two ways out.

    Args:
        out: writes the script's bytes, untouched; what it raises is passed on.
        err: writes our lines; what it raises is dropped, since talk is not worth a run.
        shared: whether both end on the same screen or in the same log.
        encoding: of stderr; what it cannot say becomes ``?``.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        out: Callable[[bytes], object],
        err: Callable[[bytes], object],
        *,
        shared: bool,
        encoding: str = "utf-8",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._err = err
        self.shared = shared
        self._encoding = encoding
        self._clock = clock
        # Re-entrant, because a signal handler may speak while its own thread is writing. Two locks where the
        # streams are apart: a reader of stdout that stands still must not silence stderr.
        self._out_lock = threading.RLock()
        self._err_lock = self._out_lock if shared else threading.RLock()
        self._line_start = True
        self._held: list[str] = []
        self._held_since = 0.0

    def output(self, data: bytes) -> None:
        """Pass on bytes of the script, at once. Raises ``BrokenPipeError`` when nobody reads, ``StdoutFailed``."""
        with self._out_lock:
            if self._held and b"\n" in data:
                end = data.rindex(b"\n") + 1
                with to_stdout():
                    self._out(data[:end])
                self._line_start = True
                self._release()
                data = data[end:]
            if data:
                with to_stdout():
                    self._out(data)
                self._line_start = data.endswith(b"\n")

    def say(self, line: str) -> None:
        """Write one of our lines (or several, joined by line breaks), when the script's output is at a line start."""
        with self._err_lock:
            if self.shared and not self._line_start:
                if not self._held:
                    self._held_since = self._clock()
                self._held.append(line)
                return
            self._speak(line + "\n")

    def draw(self, sequence: str) -> None:
        """Write to stderr as it is: frames of the live tree, before any output."""
        with self._err_lock:
            self._speak(sequence)

    def tick(self) -> None:
        """Let out lines that have waited long enough, on a line of their own."""
        with self._err_lock:
            if self._held and self._clock() - self._held_since >= PATIENCE:
                self.flush()

    def flush(self) -> None:
        """Let out every line that waits, and leave the cursor at a line start."""
        with self._err_lock:
            if self.shared and not self._line_start:
                self._speak("\n")
                self._line_start = True
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for line in held:
            self._speak(line + "\n")

    def _speak(self, words: str) -> None:
        with suppress(OSError, Cancelled):
            self._err(words.encode(self._encoding, "replace"))


class Ticker:
    """Calls ``beat`` every ``interval`` seconds on a daemon thread until stopped."""

    def __init__(self, interval: float, beat: Callable[[], None]) -> None:
        self._stop = threading.Event()
        self._interval = interval
        self._beat = beat
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    def start(self) -> Ticker:
        """Begin."""
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._beat()

    def stop(self) -> None:
        """End; no beat begins after this. Waits briefly for one in progress. Safe to repeat, from any thread."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(PATIENCE)
