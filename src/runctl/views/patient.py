"""Writing where the other side may stand still (a pager, a stopped terminal, a full pipe) without standing still oneself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE
from runctl.core.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE = 0.3  # seconds a reader gets to take what is being written, once somebody asked to stop
IDLE = 1.0  # seconds without a write after which the thread ends; the next write starts another


class PatientWriter:
    """Calls ``write`` on a thread of its own and waits for it, however long, but not after a cancel.

    A write that blocks cannot be interrupted: Python takes it up again after every signal. So nobody who has to
    answer Ctrl+C may sit in one. One caller at a time.

    Args:
        write: takes all of the bytes; may block for ever.
        cancelled: whether somebody asked to stop.
    """

    def __init__(self, write: Callable[[bytes], object], *, cancelled: Callable[[], bool]) -> None:
        self._write = write
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._work = threading.Event()
        self._done = threading.Event()
        self._data = b""
        self._error: OSError | ValueError | None = None
        self._given_up = False

    def __call__(self, data: bytes) -> None:
        """Write all of ``data``.

        Raises:
            OSError: as ``write`` does.
            Cancelled: the reader stands still, and somebody asked to stop. What is written from then on is dropped.
        """
        if self._given_up:
            return
        self._begin(data)
        while not self._done.wait(SLICE):
            if self._cancelled() and not self._done.wait(GRACE):
                self._given_up = True
                raise Cancelled(what="stopped while nobody took the output")
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _begin(self, data: bytes) -> None:
        with self._lock:
            self._data = data
            self._done.clear()
            self._work.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            if not self._work.wait(IDLE):
                with self._lock:
                    if self._work.is_set():
                        continue
                    self._thread = None
                    return
            self._work.clear()
            try:
                self._write(self._data)
            except (OSError, ValueError) as error:
                self._error = error
            finally:
                self._done.set()
