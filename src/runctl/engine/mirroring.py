"""What a copy between a folder and a store, or two stores, has to do. Decides, and changes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runctl.engine.etag import is_content
from runctl.engine.mirror_items import MOST_KEY_BYTES, Left

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runctl.core.cancel import CancelToken
    from runctl.engine.mirror_items import Item, Side

    Same = Callable[[Item, Item], bool]

# seconds by which the clocks of S3 and of this computer may differ: S3 refuses signatures that are further off
_SKEW: Final = 15 * 60


@dataclass(frozen=True)
class Mirror:
    """What is to be copied, what is the same on both sides, what is to be deleted, and what is left out."""

    send: tuple[Item, ...]
    same: tuple[Item, ...]
    delete: tuple[Item, ...]
    left: tuple[Left, ...]

    @property
    def bytes(self) -> int:
        """How much is to be copied."""
        return sum(item.size for item in self.send)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values. Sizes in bytes."""
        return {
            "send": [{"name": item.name, "bytes": item.size} for item in self.send],
            "same": len(self.same),
            "delete": [{"name": item.name, "bytes": item.size} for item in self.delete],
            "left_out": [{"name": name, "why": why} for name, why in self.left],
        }


def compare(source: Side, target: Side, same: Same, *, delete: bool, cancel: CancelToken) -> Mirror:
    """What makes ``target`` have what ``source`` has.

    With ``delete`` what only the target has goes, but for what lies where the source could not be read.
    """
    send, unchanged = [], []
    for name, item in source.items.items():
        cancel.check()
        there = target.items.get(name)
        if there is not None and there.size == item.size and same(item, there):
            unchanged.append(item)
        else:
            send.append(item)
    gone = (
        each for name, each in target.items.items() if name not in source.items and not source.covers(name)
    )
    return Mirror(tuple(send), tuple(unchanged), tuple(gone) if delete else (), tuple(source.left))


def never(_source: Item, _target: Item) -> bool:
    """Nothing is the same: for those who want it all."""
    return False


def up_to_date(paths: Callable[[str], Path], cancel: CancelToken) -> Same:
    """Whether the object of a file of the same size is the file: surely stored after the file was written, or by its
    content.
    """  # noqa: D205 - one sentence

    def same(item: Item, there: Item) -> bool:
        return there.modified - item.modified > _SKEW or _by_content(paths(item.name), there, cancel)

    return same


def fetched(paths: Callable[[str], Path], cancel: CancelToken) -> Same:
    """Whether a file of the same size as its object is the object: by the time it got when it was fetched, or by its
    content.
    """  # noqa: D205 - one sentence

    def same(item: Item, there: Item) -> bool:
        return there.modified == item.modified or _by_content(paths(item.name), item, cancel)

    return same


def by_etag(item: Item, there: Item) -> bool:
    """Whether two objects of the same size are the same, as far as their ETags tell."""
    return item.etag == there.etag and bool(item.etag)


def _by_content(path: Path, stored: Item, cancel: CancelToken) -> bool:
    try:
        return is_content(path, stored.size, stored.etag, cancel)
    except OSError:
        return False


def storable(source: Side, prefix: str) -> None:
    """Leave out the files whose keys S3 would not take."""
    for name in list(source.items):
        if len((prefix + name).encode()) > MOST_KEY_BYTES:
            source.left.append(Left(name, f"its key would be longer than {MOST_KEY_BYTES:,} bytes"))
            del source.items[name]


def placeable(source: Side, folder: Path) -> None:
    """Leave out the objects that would be written through a link out of ``folder``, or over a folder."""
    root = os.path.realpath(folder)
    known: dict[str, str] = {"": ""}
    for name in list(source.items):
        above, _, _ = name.rpartition("/")
        if above not in known:
            known[above] = _way(root, above)
        why = known[above]
        path = os.path.join(root, name)
        if not why and os.path.isdir(path) and not os.path.islink(path):
            why = "a folder has its name here"
        if why:
            source.left.append(Left(name, why))
            del source.items[name]


def _way(root: str, folder: str) -> str:
    """Why nothing can be written into ``folder`` below ``root``; empty when it can."""
    at = root
    for part in folder.split("/"):
        at = os.path.join(at, part)
        real = os.path.realpath(at)
        if real != root and not real.startswith(root.rstrip("/") + "/"):
            return "a link here leads out of the folder"
        if os.path.lexists(at) and not os.path.isdir(at):
            return "a file is here where its folder has to be"
    return ""
