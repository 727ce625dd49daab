"""This machine, reached like any other: an argv is run, bytes go in, bytes come out."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from runctl.core.catalogue import known
from runctl.core.ports import Completed
from runctl.transports.conversation import CHUNK, begin, converse, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path, PurePosixPath

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Endpoint
    from runctl.core.ports import Surroundings, Terminal


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
            process = begin(argv)
        except OSError as error:
            raise known(
                "command-not-started", program=argv[0], detail=error.strerror or str(error)
            ) from error
        try:
            stderr = converse(process, stdin, (on_output, on_errors), cancel)
            return Completed(process.wait(), stderr)
        finally:
            leave(process)

    def put(self, source: Path, target: PurePosixPath, cancel: CancelToken) -> None:
        """Copy one file to ``target``, complete or not at all. Raises ``Cancelled`` between chunks."""
        _copy(str(source), str(target), cancel)

    def get(self, source: PurePosixPath, target: Path, cancel: CancelToken) -> None:
        """Copy one file to ``target``, complete or not at all. Raises ``Cancelled`` between chunks."""
        _copy(str(source), str(target), cancel)

    def shell(self, terminal: Terminal, cancel: CancelToken) -> None:
        """The user's shell, in a terminal of its own."""
        from runctl.transports.local_shell import run  # noqa: PLC0415 - only for a shell

        run([os.environ.get("SHELL") or "/bin/sh", "-i"], terminal, cancel)

    def close(self) -> None:
        """Nothing is held open between commands."""


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
