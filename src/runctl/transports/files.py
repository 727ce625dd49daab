"""Files over a transport that can run commands: one there, one here, each complete or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from runctl.core.catalogue import known
from runctl.transports.conversation import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path, PurePosixPath

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Completed, Transport

# $1 the file, $2 its mode, $3 its size: a link that breaks looks there like the end of the file
_PUT = (
    'part="$1.partial-$$"; trap \'rm -f "$part"\' EXIT; cat > "$part" && '
    'if [ "$(wc -c < "$part")" -ne "$3" ]; then echo "it came incomplete" >&2; exit 1; fi && '
    'chmod "$2" "$part" && mv "$part" "$1"'
)
# GNU and busybox know `stat -c`, BSD and macOS `stat -f`
_GET = 'exec < "$1" && { stat -L -c %a -- "$1" 2>/dev/null || stat -L -f %Lp -- "$1"; } && exec cat'


def put(transport: Transport, source: Path, target: PurePosixPath, machine: str, cancel: CancelToken) -> None:
    """Copy one file there with its mode. Raises as ``exec`` does, and ``file-not-copied`` with ``machine``'s name."""
    found = os.stat(source)
    argv = ["sh", "-c", _PUT, "sh", str(target), f"{found.st_mode & 0o777:o}", str(found.st_size)]
    _check(transport.exec(argv, stdin=_read(source), cancel=cancel), str(source), machine)


def get(transport: Transport, source: PurePosixPath, target: Path, machine: str, cancel: CancelToken) -> None:
    """Copy one file here with its mode. Raises as ``put`` does."""
    partial = f"{target}.partial-{os.getpid()}"
    head = bytearray()
    try:
        with open(partial, "wb") as file:

            def keep(chunk: bytes) -> None:
                if b"\n" in head:
                    file.write(chunk)
                    return
                head.extend(chunk)
                _, newline, body = bytes(head).partition(b"\n")
                if newline:
                    file.write(body)

            done = transport.exec(["sh", "-c", _GET, "sh", str(source)], on_output=keep, cancel=cancel)
        _check(done, str(source), machine)
        os.chmod(partial, int(bytes(head).partition(b"\n")[0], 8))
        os.replace(partial, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def _check(done: Completed, path: str, machine: str) -> None:
    if done.exit_code != 0:
        told = done.stderr.decode(errors="replace").strip()[-500:] or f"exit status {done.exit_code}"
        raise known("file-not-copied", path=path, machine=machine, detail=told)


def _read(source: Path) -> Iterator[bytes]:
    with open(source, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
