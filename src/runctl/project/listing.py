"""The values that a look at the user's directory gives: what travels, what stays and by which rule, what is wrong."""

from __future__ import annotations

from typing import NamedTuple


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


class Listing(NamedTuple):
    """What travels (sorted by the bytes of the path), what is left out, what looks like a secret, what is wrong."""

    files: tuple[FileEntry, ...]
    left_out: tuple[LeftOut, ...] = ()
    secrets: tuple[LeftOut, ...] = ()
    problems: tuple[Problem, ...] = ()

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
