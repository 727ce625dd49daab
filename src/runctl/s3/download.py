"""A file out of S3: large ones in stretches side by side, resumed where an earlier try stopped, there whole or not at all."""

from __future__ import annotations

import os
from hashlib import sha256

from runctl.s3.checksum import Crc32
from runctl.s3.crew import together
from runctl.s3.failure import KnownFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from runctl.s3.objects import Objects
    from runctl.s3.stored import Stored

    Told = Callable[[int], Any]

CHUNK = 1 << 20  # bytes
STRETCH = 16 << 20  # bytes; an object of no more than this is read in one go
BLOCK = 4 << 20  # bytes; what a later call need not read again, and has a CRC-32 of its own
WORKERS = 4
CHANGES = 3  # times an object may be replaced while it is read before we give up


def download(
    s3: Objects,
    key: str,
    path: str,
    *,
    size: int | None = None,
    digest: str = "",
    told: Told = lambda _count: None,
) -> None:
    """Write the object to ``path``, replacing what is there in one step once all of it has arrived and is right.

    Args:
        s3: where from.
        key: which.
        path: where to; its folder exists. Beside it lies ``NAME.part`` meanwhile; a later call goes on with that.
        size: what it must have, when that is known.
        digest: SHA-256 its content must have, when that is known.
        told: called with the number of bytes that are there now and were not before.

    Raises:
        KnownFailure: ``store-missing``, ``store-corrupt`` when it is not what was expected, what else S3 refused.
        OSError: the disk.
        Stopped: we were told to.
    """
    for tried in range(CHANGES):
        found = s3.find(key)
        if found is None:
            raise KnownFailure("store-missing", url=s3.url, key=key, detail="no such object")
        if size is not None and found.size != size:
            detail = "%d bytes instead of %d" % (found.size, size)
            raise KnownFailure("store-corrupt", url=s3.url, key=key, detail=detail)
        try:
            _Download(s3, found, path, told).go(digest)
        except KnownFailure as error:
            if error.code != "store-changed" or tried == CHANGES - 1:
                raise
        else:
            return


def _noted(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        start, _, crc32 = line.partition(" ")
        if start.isdigit() and crc32.isdigit():
            yield int(start), int(crc32)


class _Download:
    """One object, as it was when it was found."""

    def __init__(self, s3: Objects, found: Stored, path: str, told: Told) -> None:
        self._s3, self._found, self._path, self._told = s3, found, path, told
        self._part = path + ".part"
        self._notes = (
            path + ".part.done"
        )  # which content, then a line for each block: where it begins, its CRC-32
        self._done: dict[int, int] = {}  # where a block begins that is there, and its CRC-32

    def go(self, digest: str) -> None:
        """All that is missing, the check, and the name."""
        fd = self._opened()
        try:
            notes = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                together(self._jobs(fd, notes), workers=WORKERS if self._found.size > STRETCH else 1)
            finally:
                os.close(notes)
            right = self._is_right(fd, digest)
        finally:
            os.close(fd)
        os.unlink(self._notes)
        if not right:
            os.unlink(self._part)
            detail = "its content is not the one that was recorded"
            raise KnownFailure("store-corrupt", url=self._s3.url, key=self._found.key, detail=detail)
        os.replace(self._part, self._path)

    def _opened(self) -> int:
        """The half-written file, from an earlier try if that was of the same content."""
        mark = "%s %d %d" % (self._found.etag, self._found.size, BLOCK)
        try:
            with open(self._notes) as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            lines = [""]
        if lines[0] == mark and os.path.exists(self._part):
            self._done = dict(_noted(lines[1:-1]))
        else:
            with open(self._notes, "w") as file:
                file.write(mark + "\n")
            self._done = {}
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if self._done else os.O_TRUNC)
        return os.open(self._part, flags, 0o600)

    def _jobs(self, fd: int, notes: int) -> Iterator[Callable[[], None]]:
        """The blocks that are missing, those side by side in one request."""
        start = 0
        while start < self._found.size:
            end = start
            while end < self._found.size and end - start < STRETCH and end not in self._done:
                end += BLOCK
            if end > start:
                yield self._job(fd, notes, start, end - start)
            start = max(end, start + BLOCK)

    def _job(self, fd: int, notes: int, start: int, length: int) -> Callable[[], None]:
        def fetch() -> None:
            at, crc32 = start, Crc32()

            def end_block(begin: int) -> None:
                nonlocal crc32
                self._done[begin] = crc32.sum
                os.write(notes, b"%d %d\n" % (begin, crc32.sum))
                crc32 = Crc32()

            def take(data: bytes) -> None:
                nonlocal at
                view = memoryview(data)
                while view:
                    wrote = os.pwrite(fd, view[: BLOCK - at % BLOCK], at)
                    crc32.update(view[:wrote])
                    at += wrote
                    view = view[wrote:]
                    if at % BLOCK == 0:
                        end_block(at - BLOCK)
                self._told(len(data))

            self._s3.pour(self._found.key, take, start=start, length=length, etag=self._found.etag)
            if at % BLOCK:
                end_block(at - at % BLOCK)

        return fetch

    def _is_right(self, fd: int, digest: str) -> bool:
        """Whether it is what it should be: by its digest, where that is known, else by the CRC-32 that S3 has of it."""
        if digest or not self._found.crc32:
            return not digest or self._hashed(fd) == digest
        from runctl.s3.joining import joined  # noqa: PLC0415 - only for what was stored with one

        size = self._found.size
        parts = [(crc32, min(BLOCK, size - start)) for start, crc32 in sorted(self._done.items())]
        return joined(parts) == self._found.crc32

    def _hashed(self, fd: int) -> str:
        state = sha256()
        at = 0
        while True:
            self._s3.patience.check()
            data = os.pread(fd, CHUNK, at)
            if not data:
                return state.hexdigest()
            state.update(data)
            at += len(data)
