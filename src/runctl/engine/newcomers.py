"""What is worth a word before a tree travels: large files that a machine has never had, names that may collide. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runctl.core.quantities import size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_LARGE: Final = 50_000_000  # bytes; ten seconds at 40 Mbit/s
_MOST: Final = 5  # are named


def newcomers(entries: Iterable[Mapping[str, Any]], missing: Collection[str]) -> tuple[str, ...]:
    """What to say of the largest contents among ``entries`` that are ``missing`` there, the largest first."""
    found = {
        entry["digest"]: entry
        for entry in entries
        if entry["type"] == "file" and entry["size"] >= _LARGE and entry["digest"] in missing
    }
    largest = sorted(found.values(), key=lambda entry: (-entry["size"], entry["path"]))[:_MOST]
    return tuple(f"{entry['path']}, {size(entry['size'])}, is new and not ignored" for entry in largest)


def collisions(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """What to say of paths that are one on a disk that ignores case, as a Mac's does: the first few pairs."""
    paths = [str(entry["path"]) for entry in entries]
    first = {path.casefold(): path for path in reversed(paths)}
    if len(first) == len(paths):
        return ()
    pairs = [(first[path.casefold()], path) for path in paths if first[path.casefold()] != path]
    return tuple(
        f"{one} and {other} are one file where the disk ignores case; here they are two"
        for one, other in pairs[:_MOST]
    )
