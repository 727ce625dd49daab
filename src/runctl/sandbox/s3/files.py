"""Where the content of a bucket lies: a large one in a file of its own, small ones together in packs.

No byte is ever written over. A file is content once the journal refers to it; one that nothing refers to is what a
death left behind, and is deleted when the bucket is next read.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACK_SIZE = 16 * 1024 * 1024  # bytes after which a pack is closed and a new one begun
SPARSE = 8  # a closed pack of which less than one part in so many is still content is to be emptied
_PACK = "pack-"


class Files:
    """The files of one bucket. Not for several threads at once. Raises OSError when the disk does."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._last = 0
        self._live: dict[str, int] = {}  # pack → bytes of it that are content
        self._pack = -1
        self._name = ""
        self._size = 0

    def path(self, file: str) -> str:
        """Where a file is."""
        return f"{self._folder}/{file}"

    @contextlib.contextmanager
    def making(self) -> Iterator[str]:
        """A fresh name for a large content; what is there when the block fails is deleted."""
        name = self._fresh()
        try:
            yield name
        except BaseException:
            self._delete(name)
            raise

    def keep(self, content: bytes) -> tuple[str, int]:
        """Appends a small content to a pack: (file, where in it)."""
        if self._pack < 0 or self._size >= PACK_SIZE:
            self.close()
            self._name = _PACK + self._fresh()
            self._pack = os.open(self.path(self._name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            self._size = 0
            self._live[self._name] = 0
        at = self._size
        view = memoryview(content)
        while view:
            view = view[os.pwrite(self._pack, view, at + len(content) - len(view)) :]
        self._size += len(content)
        self._live[self._name] += len(content)
        return self._name, at

    def read(self, file: str, at: int, size: int) -> bytes:
        """Content as bytes, for small ones."""
        descriptor = os.open(self.path(file), os.O_RDONLY)
        try:
            return os.pread(descriptor, size, at)
        finally:
            os.close(descriptor)

    def drop(self, file: str, size: int) -> str:
        """Forgets a content of `size` bytes; who reads it goes on reading. The pack to empty now, if there is one."""
        if not file.startswith(_PACK):
            self._delete(file)
            return ""
        self._live[file] -= size
        if file == self._name:
            return ""
        if not self._live[file]:
            self._delete(file)
            del self._live[file]
            return ""
        return file if self._live[file] < PACK_SIZE / SPARSE else ""

    def load(self, used: Iterable[tuple[str, int]]) -> None:
        """Takes stock: `used` are the file and size of every content there is. Deletes all other files."""
        self._live.clear()
        files = set()
        for file, size in used:
            files.add(file)
            if file.startswith(_PACK):
                self._live[file] = self._live.get(file, 0) + size
        for item in os.scandir(self._folder):
            if item.name not in files:
                os.unlink(item.path)

    def close(self) -> None:
        """Begins no more in the present pack. Safe to repeat."""
        if self._pack >= 0:
            os.close(self._pack)
            self._pack = -1
            if not self._live[self._name]:
                self._delete(self._name)
                del self._live[self._name]
            self._name = ""

    def _fresh(self) -> str:
        self._last = max(self._last + 1, time.time_ns())  # larger than any before, other lives' included
        return f"{self._last:x}"

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))
