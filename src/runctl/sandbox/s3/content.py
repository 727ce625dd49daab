"""The bytes of a stored version: as an answer's body, or copied into a new file."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runctl.sandbox.http import FileSlice, ResponseBody
from runctl.sandbox.s3.receive import Received, Sink, Wanted

if TYPE_CHECKING:
    from runctl.sandbox.s3.entry import Entry
    from runctl.sandbox.s3.store import Bucket

IN_MEMORY = 64 * 1024  # up to here one read and one write cost less than a sendfile
COPY_STEP = 4 * 1024 * 1024


@dataclass
class Source:
    """Open files that together are a range of a version; it may be replaced or deleted meanwhile."""

    slices: list[FileSlice] = field(default_factory=list)

    def close(self) -> None:
        """Closes the files; safe to repeat."""
        for piece in self.slices:
            piece.close()


def opened(bucket: Bucket, entry: Entry, first: int, last: int) -> Source:
    """Opens the bytes `first` to `last` (included) of a version. Raises OSError."""
    if first > last:
        return Source()
    if not entry.parts:
        return Source([FileSlice(bucket.files.path(entry.file), entry.at + first, last - first + 1)])
    source = Source()
    start = 0
    try:
        for part in entry.parts:
            begin, end = max(first, start), min(last, start + part.size - 1)
            if begin <= end:
                source.slices.append(FileSlice(bucket.files.path(part.file), begin - start, end - begin + 1))
            start += part.size
    except OSError:
        source.close()
        raise
    return source


def answer_body(bucket: Bucket, entry: Entry, first: int, last: int) -> ResponseBody:
    """The bytes `first` to `last` (included) as a response sends them best."""
    if first > last:
        return b""
    if last - first < IN_MEMORY and not entry.parts:
        return bucket.files.read(entry.file, entry.at + first, last - first + 1)
    return tuple(opened(bucket, entry, first, last).slices)


async def copied(source: Source, path: str, *, algorithm: str = "") -> Received:
    """Copies to a new file in a thread and says what it sums to; closes the source. Raises OSError.

    On cancel the copying goes on to its end, into a file that nothing refers to (see files.py).
    """
    return await asyncio.to_thread(_copy, source, path, algorithm)


def _copy(source: Source, path: str, algorithm: str) -> Received:
    sink = Sink(Wanted(algorithm=algorithm), path)
    try:
        for piece in source.slices:
            at, end = piece.offset, piece.offset + piece.length
            while at < end:
                data = os.pread(piece.file.fileno(), min(COPY_STEP, end - at), at)
                if not data:
                    raise OSError(f"{path}: the source ended early")
                sink.write([data])
                at += len(data)
    finally:
        sink.close()
        source.close()
    return sink.result({})
