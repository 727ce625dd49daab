"""What an earlier look at a project saw: for each folder its state, what travels of it, and the digest of each file.

A folder whose own state is the same holds the same names, so the rules need not be asked again while they are the same
too; of its files only the state is looked at. A file whose state is the same is not read.

"Racily clean", as git calls it: what changed within one tick of the file system's clock of the moment it was looked at
may have the same state and be different. So what was younger than ``_YOUNG`` then is not remembered. The change time
(ctime) is part of a state because a program can set the modification time, but not that one.

One file for each project, ``$XDG_CACHE_HOME/runctl/stat/<hash of the root>``; one that cannot be read is an empty memory.
"""

from __future__ import annotations

import os
from array import array
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from runctl.project import sealed
from runctl.project.places import cache_dir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_YOUNG: Final = 2_000_000_000  # ns; the coarsest clock of a file system in use (FAT) ticks every 2 s
_KIND: Final = "stat 2"
_FIELDS: Final = 5
_MASK: Final = (1 << 64) - 1

UNKNOWN: Final = b"\0" * 32  # the digest of a file that was too young to be remembered
State = tuple[int, int, int, int, int]  # size, modification time and change time in ns, inode, mode
Stamp = tuple[int, int, int]  # of a folder: modification time and change time in ns, inode


class States:
    """The states of the files of a folder, in the order of their names, packed: comparing them is comparing bytes."""

    @staticmethod
    def packed(numbers: Sequence[int]) -> bytes:
        """The bytes of states laid end to end."""
        try:
            return array("Q", numbers).tobytes()
        except OverflowError:  # a time before 1970
            return array("Q", [number & _MASK for number in numbers]).tobytes()

    @staticmethod
    def unpacked(data: bytes) -> list[State]:
        """The inverse, but for times before 1970."""
        numbers = array("Q", data).tolist()
        return list(zip(*(numbers[n::_FIELDS] for n in range(_FIELDS)), strict=True))


def state_of(status: os.stat_result) -> State:
    """The state of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode


def stamp_of(status: os.stat_result) -> Stamp:
    """The state of a folder."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class Remembered(NamedTuple):
    """One folder, as plain values that ``marshal`` knows. Names are those of entries, without their folder's."""

    stamp: Stamp
    rules: str  # the mark of the rules that were in force; empty: ask them again
    names: tuple[str, ...]  # of files that travel
    states: bytes
    digests: bytes  # 32 for each name
    links: tuple[str, ...]
    folders: tuple[str, ...]  # that were entered
    special: tuple[str, ...]  # names that say something about the folder
    left_out: tuple[tuple[str, str, str, bool, str], ...]
    secrets: tuple[tuple[str, str, str, bool, str], ...]

    def by_name(self) -> dict[str, tuple[State, bytes]]:
        """State and digest of each file."""
        digests = (self.digests[n : n + 32] for n in range(0, len(self.digests), 32))
        return dict(zip(self.names, zip(States.unpacked(self.states), digests, strict=True), strict=True))


_NOTHING: Final[Mapping[str, Remembered]] = {}


class ScanMemory:
    """The memory of one project. ``file`` is where ``save`` puts it; None: nowhere.

    ``others`` is the mark of everything that is not a file in a folder, and ``tree`` the digest of it all: while every
    folder is as it was and ``others`` too, so is the tree.
    """

    def __init__(
        self,
        file: Path | None,
        folders: Mapping[str, Remembered] = _NOTHING,
        *,
        others: str = "",
        tree: str = "",
    ) -> None:
        self.file = file
        self.folders = folders
        self.others = others
        self.tree = tree
        self.looked_at = 0  # ns since the epoch; what was younger than _YOUNG then is not remembered
        self._saved: ScanMemory | None = None  # what the file holds

    @classmethod
    def load(cls, root: Path, *, env: Mapping[str, str]) -> ScanMemory:
        """The memory of the project at ``root``; empty when there is none or it cannot be understood. Writes nothing."""
        name = sha256(os.fsencode(root)).hexdigest()[:32]
        file = cache_dir(env) / "stat" / name
        found = sealed.read(file, _KIND)
        if found is None:
            return cls(file)
        folders, others, tree = found
        memory = cls(
            file, {path: Remembered(*row) for path, row in folders.items()}, others=others, tree=tree
        )
        memory._saved = memory
        return memory

    def updated(
        self, folders: Mapping[str, Remembered], *, others: str, tree: str, looked_at: int
    ) -> ScanMemory:
        """The memory after another look, which began at ``looked_at``."""
        update = ScanMemory(self.file, folders, others=others, tree=tree)
        update.looked_at = looked_at
        update._saved = self._saved
        return update

    def save(self) -> str:
        """Write the memory if it changed, all or nothing. Safe to repeat and to run side by side.

        Returns why it could not be written, or an empty text: a memory that cannot be kept costs time, not a run.
        """
        saved = self._saved
        if self.file is None or (
            saved is not None
            and (saved.others, saved.tree) == (self.others, self.tree)
            and len(saved.folders) == len(self.folders)
            and all(saved.folders.get(path) is folder for path, folder in self.folders.items())
        ):
            return ""
        limit = self.looked_at - _YOUNG
        kept = {path: _old(folder, limit) for path, folder in self.folders.items()}
        whole = all(old is folder for old, folder in zip(kept.values(), self.folders.values(), strict=True))
        rows = {path: tuple(folder) for path, folder in kept.items()}
        try:
            sealed.write(self.file, _KIND, (rows, self.others, self.tree if whole else ""))
        except OSError as error:
            return f"{self.file}: {error.strerror}"
        self._saved = self
        return ""


def _old(folder: Remembered, limit: int) -> Remembered:
    """The folder without what was too young to be trusted the next time; the very same when nothing was."""
    if folder.rules and max(folder.stamp[:2]) >= limit:
        folder = folder._replace(rules="")
    changed = array("Q", folder.states)[2::_FIELDS]
    if changed and max(changed) >= limit:
        digests = bytearray(folder.digests)
        for number, ctime in enumerate(changed):
            if ctime >= limit:
                digests[number * 32 : number * 32 + 32] = UNKNOWN
        folder = folder._replace(digests=bytes(digests))
    return folder
