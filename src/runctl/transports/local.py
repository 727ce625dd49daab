"""This machine, reached like any other: an argv is run, bytes go in, bytes come out."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE
from runctl.core.catalogue import known
from runctl.core.ports import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path, PurePosixPath
    from typing import IO

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Endpoint
    from runctl.core.ports import Surroundings, Terminal

CHUNK = 1 << 20  # bytes a read; large enough that 100 MB cost a few hundred wake-ups
STDERR_KEPT = 64 * 1024
TERM_GRACE = 0.5  # seconds a cancelled command gets between TERM and KILL


class LocalTransport:
    """Runs commands as children of this process, each in a session of its own, so that Ctrl+C is ours to handle."""

    def __init__(self, endpoint: Endpoint, surroundings: Surroundings) -> None:
        """This machine needs no address, and nothing that a surrounding could give."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: Iterable[bytes] = (),
        on_output: Callable[[bytes], None] | None = None,
        on_errors: Callable[[bytes], None] | None = None,
        cancel: CancelToken,
    ) -> Completed:
        """Run ``argv``; feed ``stdin`` while it runs, hand over stdout and stderr in chunks as they arrive.

        Raises:
            UnreachableError: the program cannot be started.
            Cancelled: the token was set; the process group was sent TERM, and KILL after half a second.
        """
        cancel.check()
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise known(
                "command-not-started", program=argv[0], detail=error.strerror or str(error)
            ) from error
        try:
            stderr = _converse(process, stdin, (on_output, on_errors), cancel)
            return Completed(process.wait(), stderr)
        finally:
            if process.returncode is None:
                _end_group(process)
            for pipe in (process.stdout, process.stderr):  # its input is closed by whoever feeds it
                if pipe is not None:
                    pipe.close()

    def put(self, source: Path, target: PurePosixPath, cancel: CancelToken) -> None:
        """Copy one file to ``target``, complete or not at all. Raises ``Cancelled`` between chunks."""
        _copy(str(source), str(target), cancel)

    def get(self, source: PurePosixPath, target: Path, cancel: CancelToken) -> None:
        """Copy one file to ``target``, complete or not at all. Raises ``Cancelled`` between chunks."""
        _copy(str(source), str(target), cancel)

    def shell(self, terminal: Terminal, cancel: CancelToken) -> None:
        """The user's shell, in a terminal of its own."""
        from runctl.transports.local_shell import run  # noqa: PLC0415 - only for a shell

        run(terminal, cancel)

    def close(self) -> None:
        """Nothing is held open between commands."""


def _converse(
    process: subprocess.Popen[bytes],
    stdin: Iterable[bytes],
    listeners: tuple[Callable[[bytes], None] | None, Callable[[bytes], None] | None],
    cancel: CancelToken,
) -> bytes:
    """Move bytes both ways until the process has closed its output; returns the tail of its stderr."""
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


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """TERM to the whole group, a short grace, then KILL; never leaves a zombie."""
    for number, grace in ((signal.SIGTERM, TERM_GRACE), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return
            time.sleep(0.01)


def _copy(source: str, target: str, cancel: CancelToken) -> None:
    partial = f"{target}.partial-{os.getpid()}"
    try:
        with open(source, "rb") as reader, open(partial, "wb") as writer:
            while chunk := reader.read(CHUNK):
                cancel.check()
                writer.write(chunk)
        shutil.copymode(source, partial)
        os.replace(partial, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
