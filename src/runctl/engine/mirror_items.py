"""What lies on a side of a copy: the files of a folder here, or the objects of a store below a prefix."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from runctl.project.ignore import bytewise, from_patterns
from runctl.project.wildmatch import BadPatternError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from pathlib import Path

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Store

MOST_KEY_BYTES: Final = 1024  # of an object's key; a limit of S3
_PARTS: Final = (".part", ".part.done", ".part.lock")  # what an interrupted download leaves beside its file


class Item(NamedTuple):
    """One file or object: its name relative to its side, bytes, seconds since the epoch; an object's ETag."""

    name: str
    size: int
    modified: float
    etag: str = ""


class Left(NamedTuple):
    """What is not copied, and why."""

    name: str
    why: str


@dataclass
class Side:
    """The items by name, and what was found but cannot be copied."""

    items: dict[str, Item] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)

    def covers(self, name: str) -> bool:
        """Whether ``name``, or a folder it lies in, is among what cannot be copied: nobody knows what is there."""
        return any(each.name in (name, ".") or name.startswith(f"{each.name}/") for each in self.left)


class Wanted:
    """``--include`` and ``--exclude`` in the order in which they were typed; the last one that matches decides.

    Patterns are those of a ``.gitignore``: ``*.pt`` at any depth, ``logs/`` a folder with all below, ``/data/*.csv``
    from the top. What none matches is wanted, unless the first one is an ``--include``.
    """

    def __init__(self, rules: Sequence[tuple[bool, str]] = ()) -> None:
        self._default = not rules or not rules[0][0]
        self._rules = [(wanted, from_patterns([pattern], origin="")) for wanted, pattern in rules]
        for (_, pattern), (_, compiled) in zip(rules, self._rules, strict=True):
            if not compiled or compiled.rules[0].negated:
                raise BadPatternError(pattern)

    def __call__(self, name: str) -> bool:
        """Whether it counts."""
        if not self._rules:
            return True
        path = bytewise(name)
        ends = [at for at, letter in enumerate(path) if letter == "/"]
        ways = [(path[:end], True) for end in ends] + [(path, False)]
        for wanted, rule in reversed(self._rules):
            if any(rule.match(way.rpartition("/")[2], way, is_dir) is not None for way, is_dir in ways):
                return wanted
        return self._default


def files_below(folder: Path, wanted: Wanted, cancel: CancelToken, *, target: bool = False) -> Side:
    """The files below ``folder``, by name. Links are followed; what cannot be read is left with its reason.

    A ``target`` is what may be deleted from: there a link to a folder is not entered, what it leads to is somebody else's.
    """
    walk = _Walk(wanted, cancel, target=target)
    walk.enter(os.fspath(folder), "", above=())
    return Side(dict(sorted(walk.side.items.items())), walk.side.left)


class _Walk:
    def __init__(self, wanted: Wanted, cancel: CancelToken, *, target: bool) -> None:
        self.side = Side()
        self._wanted, self._cancel, self._target = wanted, cancel, target

    def enter(self, folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> None:
        """Look at one folder and all below; ``above`` are the folders it was reached through."""
        self._cancel.check()
        here = prefix.rstrip("/") or "."
        try:
            state = os.stat(folder)
            identity = (state.st_dev, state.st_ino)
            if identity in above:
                self._leave(here, "a link that leads back into itself")
                return
            with os.scandir(folder) as found:
                entries = {entry.name: entry for entry in found}
        except OSError as error:
            self._leave(here, _reason(error))
            return
        for name in sorted(entries):
            if _is_half(name, entries):
                self._leave(prefix + name, "half of a download that was cut off")
            else:
                self._take(entries[name], prefix + name, (*above, identity))

    def _leave(self, name: str, why: str) -> None:
        self.side.left.append(Left(name, why))

    def _take(self, entry: os.DirEntry[str], name: str, above: tuple[tuple[int, int], ...]) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            self._leave(name, "its name is no UTF-8 text, and an object's has to be")
            return
        try:
            state = entry.stat()
        except OSError as error:
            if self._wanted(name):
                self._leave(name, "a link to nothing" if entry.is_symlink() else _reason(error))
            return
        if stat.S_ISDIR(state.st_mode):
            if not (self._target and entry.is_symlink()):
                self.enter(entry.path, f"{name}/", above)
        elif not self._wanted(name):
            return
        elif not stat.S_ISREG(state.st_mode):
            self._leave(name, "neither a file nor a folder")
        elif not os.access(entry.path, os.R_OK):
            self._leave(name, "Permission denied")
        else:
            self.side.items[name] = Item(name, state.st_size, state.st_mtime)


def _is_half(name: str, beside: Container[str]) -> bool:
    """Whether it belongs to a download that was cut off: what came and the notes about it are both there."""
    stems = (name.removesuffix(end) for end in _PARTS if name.endswith(end))
    return any(f"{stem}.part" in beside and f"{stem}.part.done" in beside for stem in stems)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def objects_below(store: Store, prefix: str, wanted: Wanted, cancel: CancelToken) -> Side:
    """The objects whose keys begin with ``prefix``, which ends with a slash or is empty; names without it."""
    side = Side()
    for found in store.list(prefix, cancel=cancel):
        name = found.key[len(prefix) :]
        if not name or (name.endswith("/") and not found.size):
            continue  # what a console leaves to show a folder
        if wanted(name):
            side.items[name] = Item(name, found.size, found.modified, found.etag)
    return side


def without_unsafe(side: Side) -> None:
    """Leave out the objects whose names are no file's below a folder: ``../x``, ``/x``, ``a//b``, a NUL, or both
    ``a`` and ``a/b``.
    """  # noqa: D205 - one sentence
    for name in list(side.items):
        why = _unsafe(name) or next(
            (
                f"{above} is an object, so it cannot be a folder"
                for above in _above(name)
                if above in side.items
            ),
            "",
        )
        if why:
            side.left.append(Left(name, why))
            del side.items[name]


def _above(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _unsafe(name: str) -> str:
    parts = name.split("/")
    if ".." in parts:
        return "its key leads out of the folder"
    if any(part in ("", ".") for part in parts) or "\0" in name:
        return "its key is no file's name"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its key is no UTF-8 text"
    return ""
