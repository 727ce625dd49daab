"""What Ctrl+C, a closed terminal and a polite kill mean while a command works.

The first signal cancels the token, the second asks for the shortest clean-up, the third ends the process at once.

The work is done on a thread of its own that the C-level handler wakes through a pipe: a signal is answered even
while the main thread sits in a call that does not return, and no lock the main thread holds can be in the way.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runctl.core.cancel import CancelToken

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = b"\x1b[?25h"
_WORDS = {
    signal.SIGINT: "Ctrl+C",
    signal.SIGTERM: "asked to end (SIGTERM)",
    signal.SIGHUP: "the terminal was closed",
}


@contextmanager
def install_signals(cancel: CancelToken, *, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, signals go to ``cancel``; the handlers from before come back at its end.

    A signal that was ignored when the block began (``nohup``, a background job) stays ignored. Outside of the main
    thread, where Python allows no handlers, the block changes nothing.

    Args:
        cancel: cancelled by the first signal, hurried by the second. The third ends the process with status
            128 + its number, without any clean-up.
        say: told what the next signal would do; called from another thread, failures are swallowed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # what the interpreter asks of a wake-up file descriptor
    watcher = threading.Thread(target=_watch, args=(reader, wanted, cancel, say), name="signals", daemon=True)
    watcher.start()
    before_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _woken) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _woken(number: int, frame: object) -> None:
    """Nothing: that there is a handler makes the interpreter wake the watcher and leave its slice of waiting."""
    del number, frame


def _watch(
    reader: int, wanted: list[signal.Signals], cancel: CancelToken, say: Callable[[str], None]
) -> None:
    """Count the signals that arrive; ends when the other end is closed."""
    count = 0
    while data := os.read(reader, 1):
        if data[0] not in wanted:
            continue
        number = signal.Signals(data[0])
        count += 1
        if count == 1:
            cancel.cancel(_WORDS[number])
            _try_to(say, f"\n{_WORDS[number]}; once more to hurry")
        elif count == 2:
            cancel.hurry()
            _try_to(say, "hurrying; once more to leave at once, without cleaning up")
        else:
            _leave(number)


def _try_to(say: Callable[[str], None], text: str) -> None:
    with suppress(
        OSError, ValueError
    ):  # the terminal is gone or the stream closed: the signal counts all the same
        say(text)


def _leave(number: signal.Signals) -> None:
    """End the process now. The cursor comes back; nothing else is cleaned up."""
    if sys.stderr.isatty():
        os.write(2, _SHOW_CURSOR)
    os._exit(128 + number)
