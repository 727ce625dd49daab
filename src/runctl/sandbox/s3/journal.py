"""A bucket's journal: lines of JSON, each written with one call, so that it happened whole or not at all.

A line survives the death of the process once `append` has returned. Nothing is fsynced: a machine that loses power
may lose the last lines.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

from runctl.sandbox.s3.entry import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GROWTH = 10_000  # lines; a journal is written anew when it has become twice as long, and this much
_encode = json.JSONEncoder(separators=(",", ":"), default=plain).encode


class Journal:
    """One file, appended to. Not for several threads at once. Raises OSError when the disk does."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = -1
        self._size = 0
        self._lines = 0
        self._kept = 0  # lines when it was last written anew

    @property
    def overgrown(self) -> bool:
        """Whether most of it may well be about what is no more."""
        return self._lines > 2 * self._kept + GROWTH

    def append(self, record: dict[str, Any]) -> None:
        """Writes one line; nothing of it is there when this raises."""
        if self._file < 0:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            self._size = os.fstat(self._file).st_size
        line = _line(record)
        if (written := os.write(self._file, line)) != len(line):
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written", self.path)
        self._size += len(line)
        self._lines += 1

    def replay(self) -> Iterator[dict[str, Any]]:
        """Its lines in order. A last line that a death cut short is taken away."""
        whole = 0
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    record = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    record = None
                if record is None:
                    break
                whole += len(line)
                self._lines += 1
                yield record
        self._kept = self._lines
        if whole != os.stat(self.path).st_size:
            os.truncate(self.path, whole)

    def rewrite(self, records: Iterable[dict[str, Any]]) -> None:
        """Replaces all of it in one step."""
        self.close()
        lines = [_line(record) for record in records]
        with open(f"{self.path}.new", "wb") as file:
            file.writelines(lines)
        os.replace(f"{self.path}.new", self.path)
        self._lines = self._kept = len(lines)

    def close(self) -> None:
        """Closes the file; the next append opens it again. Safe to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _line(record: dict[str, Any]) -> bytes:
    return _encode(record).encode() + b"\n"
