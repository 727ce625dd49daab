"""The values that a look at the user's directory gives: what travels, what stays and by which rule, what is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from runctl.project.memory import States

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.project.memory import Remembered, Stamp


class FileEntry(NamedTuple):
    """Something that travels. Times in nanoseconds, size in bytes, all as the listing saw them."""

    path: str  # project path, surrogateescape
    kind: str  # file, link, dir (an empty one)
    size: int = 0
    exec: bool = False
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    target: str = ""  # of a link, as it will be made on the machine
    followed: bool = False  # a link in the project whose content travels as a file


class LeftOut(NamedTuple):
    """Something that stays. ``rule`` as it is written, ``origin`` where it stands, ``why`` for a built-in one."""

    path: str
    rule: str
    origin: str
    is_dir: bool = False
    why: str = ""


class Problem(NamedTuple):
    """Something to know about a path. A ``fatal`` one means that the project cannot be read completely."""

    path: str
    what: str
    fatal: bool = False


@dataclass(slots=True)
class Folder:
    """What travels of one folder, its files with their states, packed as ``memory.States`` packs them."""

    path: str  # project path with a "/" at the end, "" for the root
    stamp: Stamp
    rules: str
    names: tuple[str, ...]
    states: bytes
    links: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    secrets: tuple[LeftOut, ...] = ()
    same: Remembered | None = None  # what is remembered of it, when all of it still is so

    def entries(self) -> list[FileEntry]:
        """Its files, one by one."""
        path = self.path
        return [
            FileEntry(path + name, "file", size, mode & 0o100 != 0, mtime, ctime, inode)
            for name, (size, mtime, ctime, inode, mode) in zip(
                self.names, States.unpacked(self.states), strict=True
            )
        ]


@dataclass(frozen=True)
class Listing:
    """What travels, what is left out, what looks like a secret, what is wrong.

    ``folders`` hold the files; ``others`` are links, empty folders, and what travels in the place of a link.
    """

    folders: Mapping[str, Folder]
    others: tuple[FileEntry, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    secrets: tuple[LeftOut, ...] = ()
    problems: tuple[Problem, ...] = ()

    @cached_property
    def files(self) -> tuple[FileEntry, ...]:
        """All that travels, sorted by the bytes of the path."""
        found = list(self.others)
        for folder in self.folders.values():
            found += folder.entries()
        found.sort(key=itemgetter(0) if all(e.path.isascii() for e in found) else path_bytes)
        return tuple(found)

    @property
    def bytes(self) -> int:
        """The bytes of all files, each path counted."""
        return sum(entry.size for entry in self.files)


class Explanation(NamedTuple):
    """Whether a path travels and what decided: the path itself, or a folder above it (``decided_at``)."""

    path: str
    travels: bool
    rule: str  # empty: no rule speaks of it
    origin: str
    why: str
    decided_at: str
    exists: bool


def path_bytes(entry: FileEntry | LeftOut) -> bytes:
    """The order of paths: by their bytes, whatever the locale."""
    return os.fsencode(entry.path)
