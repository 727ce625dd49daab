"""A child process spoken to: bytes go in, bytes come out, in slices that a cancel is heard between."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import IO

    from runctl.core.cancel import CancelToken

CHUNK = 1 << 20  # bytes a read; large enough that 100 MB cost a few hundred wake-ups
STDERR_KEPT = 64 * 1024
TERM_GRACE = 0.5  # seconds a cancelled command gets between TERM and KILL


def begin(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own, so that Ctrl+C is ours to handle. Raises OSError."""
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )


def converse(
    process: subprocess.Popen[bytes],
    stdin: Iterable[bytes],
    listeners: tuple[Callable[[bytes], None] | None, Callable[[bytes], None] | None],
    cancel: CancelToken,
) -> bytes:
    """Move bytes both ways until the process has closed its output; returns the tail of its stderr.

    ``listeners`` are told of stdout and of stderr.

    Raises:
        BaseException: what making ``stdin`` or taking the output raised.
        Cancelled: the token was set. The process is left to the caller, as after any other error.
    """
    out, err = _pipe(process.stdout), _pipe(process.stderr)
    feeding = _Feeding(_pipe(process.stdin), stdin)
    stderr = bytearray()
    reading = {out, err}
    with selectors.DefaultSelector() as selector:
        for pipe in reading:
            selector.register(pipe, selectors.EVENT_READ)
        while reading:
            cancel.check()
            feeding.check()
            for key, _ in selector.select(SLICE):
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                    reading.discard(out if key.fileobj is out else err)
                    continue
                if key.fileobj is err:
                    stderr = (stderr + chunk)[-STDERR_KEPT:]
                hear = listeners[key.fileobj is err]
                if hear is not None:
                    hear(chunk)
    feeding.check()
    return bytes(stderr)


class _Feeding:
    """Feeds a process on a thread of its own, so that the input may wait for the output."""

    def __init__(self, pipe: IO[bytes], stdin: Iterable[bytes]) -> None:
        self._pipe = pipe
        self._stdin = stdin
        self._error: BaseException | None = None
        if isinstance(stdin, tuple) and not stdin:
            pipe.close()
        else:
            threading.Thread(target=self._feed, name="stdin", daemon=True).start()

    def _feed(self) -> None:
        try:
            for chunk in self._stdin:
                view = memoryview(chunk)
                while view:
                    view = view[self._pipe.write(view) :]
        except BrokenPipeError:
            pass  # nobody reads it any more
        except BaseException as error:  # noqa: BLE001 - raised where the command is waited for
            self._error = error
        finally:
            with contextlib.suppress(OSError):
                self._pipe.close()

    def check(self) -> None:
        """Raise what making the input raised."""
        if self._error is not None:
            raise self._error


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def leave(process: subprocess.Popen[bytes]) -> None:
    """End the process and its group if it still runs, and close what was read of it. Safe to repeat."""
    if process.returncode is None:
        end_group(process)
    for pipe in (process.stdout, process.stderr):  # its input is closed by whoever feeds it
        if pipe is not None:
            pipe.close()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """TERM to the whole group, a short grace, then KILL; never leaves a zombie."""
    for number, grace in ((signal.SIGTERM, TERM_GRACE), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return
            time.sleep(0.01)
