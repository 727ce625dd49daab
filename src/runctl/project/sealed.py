"""Small files of our own below the cache: plain values behind a header that says which program wrote them, and whole.

``marshal`` is five times as fast to read as JSON. Anything unexpected, another Python included, reads as nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def read(file: Path, kind: str) -> Any:
    """The values that ``write`` put into ``file``; None when there are none, or it is not what it was."""
    import marshal  # noqa: PLC0415 - only where something is kept

    try:
        header, _, body = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    if header != _header(kind, body):
        return None
    try:
        return marshal.loads(body)  # noqa: S302 - its digest has been verified
    except (ValueError, EOFError, TypeError):
        return None


def write(file: Path, kind: str, values: Any) -> None:
    """Replace ``file`` as a whole. Safe to run side by side. Raises ``OSError``, and leaves nothing half then."""
    import marshal  # noqa: PLC0415 - as above

    body = marshal.dumps(values)
    part = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        part.write_bytes(_header(kind, body) + b"\n" + body)
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _header(kind: str, body: bytes) -> bytes:
    return f"runctl-{kind} {sys.implementation.cache_tag} {sha256(body).hexdigest()}".encode()
