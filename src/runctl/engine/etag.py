"""Whether a file is what an object's ETag stands for.

An object stored whole has the MD5 of its content, one stored in parts the MD5 of its parts' MD5s with their number; an
object encrypted with a customer's key has neither (Amazon S3 User Guide, "Checking object integrity").
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from runctl.s3.upload import MOST_PARTS

if TYPE_CHECKING:
    from pathlib import Path

    from runctl.core.cancel import CancelToken

_CHUNK: Final = 1 << 20
_MIB: Final = 1 << 20
_LEAST: Final = 5 * _MIB  # of every part but the last; a limit of S3
# how the usual clients cut: runctl, awscli and boto3 8 MiB; rclone 5; s5cmd 50; browsers and other tools 16, 64, 128
_PARTS: Final = tuple(size * _MIB for size in (8, 5, 16, 50, 64, 128))


def is_content(path: Path, size: int, etag: str, cancel: CancelToken) -> bool:
    """Whether the file at ``path``, of ``size`` bytes, has this ETag by any of the usual ways to store it.

    False says little: it may have been stored in a way that is not known here. Raises ``OSError``.
    """
    found = re.fullmatch(r"[0-9a-f]{32}(?:-([0-9]{1,5}))?", etag)
    if found is None:
        return False
    whole = etag.partition("-")[0]
    if found[1] is None:
        return _digests(path, max(size, 1), cancel) == [bytes.fromhex(whole)]
    parts = int(found[1])
    lengths = {length for length in (*_PARTS, -(-size // MOST_PARTS)) if length >= _LEAST}
    for length in sorted(length for length in lengths if max(-(-size // length), 1) == parts):
        digests = _digests(path, length, cancel)
        if hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest() == whole:
            return len(digests) == parts
    return False


def _digests(path: Path, length: int, cancel: CancelToken) -> list[bytes]:
    """The MD5s of the file's parts of ``length`` bytes, the last one of what is left; one of an empty file."""
    digests: list[bytes] = []
    with path.open("rb", buffering=0) as file:
        part, left = hashlib.md5(usedforsecurity=False), length
        while data := file.read(min(_CHUNK, left)):
            cancel.check()
            part.update(data)
            left -= len(data)
            if not left:
                digests.append(part.digest())
                part, left = hashlib.md5(usedforsecurity=False), length
    return digests if digests and left == length else [*digests, part.digest()]
