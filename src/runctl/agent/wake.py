"""Waiting that a signal or another thread ends at once."""

from __future__ import annotations

import os
import select
import signal

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable


class Wake:
    """A pipe to wait on; signals of interest and ``call`` write to it. Make it in the main thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def on(self, number: int, action: Callable[[], None]) -> None:
        """Do ``action`` in the main thread when the signal arrives, and end a wait."""
        signal.signal(number, lambda _number, _frame: action())

    def call(self) -> None:
        """End the wait that is going on, or the next one. From any thread."""
        try:
            os.write(self._write, b".")
        except BlockingIOError:
            pass  # full: it will wake anyway

    def wait(self, seconds: float) -> None:
        """Wait that long, or until something happened."""
        if select.select([self._read], [], [], max(seconds, 0))[0]:
            try:
                os.read(self._read, 4096)
            except BlockingIOError:
                pass
