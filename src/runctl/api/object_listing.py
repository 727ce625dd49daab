"""What lies in a store, as its user sees it: listings a level at a time, and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from runctl.api.addresses import one, there

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.api.runtime import Runtime

_LAST: Final = "\U0010ffff"  # behind every character a key may have next


class Entry(NamedTuple):
    """A line of a listing: an object, or a folder (its name ends with a slash, the rest is None)."""

    name: str
    size: int | None = None
    modified: float | None = None


def list_objects(rt: Runtime, url: str, *, recursive: bool = False) -> Iterator[Entry]:
    """What begins with ``url``, by key: whole keys with ``recursive``, else one level, folders once each.

    Names are relative to the last slash of ``url``. A folder costs one request, however much is in it.
    """
    of = there(rt, url, read_only=True)
    base, _, _ = of.key.rpartition("/")
    base += "/" if base else ""
    after = ""
    while True:
        for found in of.store.list(of.key, after=after, cancel=rt.cancel):
            name = found.key[len(base) :]
            folder, slash, _ = name.partition("/")
            if slash and not recursive:
                yield Entry(f"{folder}/")
                after = f"{base}{folder}/{_LAST}"
                break
            if name:
                yield Entry(name, found.size, found.modified)
        else:
            return


class Usage(NamedTuple):
    """How much lies under a name: the next level's folders end with a slash; size in bytes."""

    name: str
    objects: int
    bytes: int


def disk_usage(rt: Runtime, url: str) -> list[Usage]:
    """How much lies below ``url``, by its next level, the largest first."""
    of = there(rt, url, read_only=True)
    sums: dict[str, list[int]] = {}
    for each in of.store.list(of.prefix, cancel=rt.cancel):
        first, slash, _ = each.key[len(of.prefix) :].partition("/")
        row = sums.setdefault(first + slash, [0, 0])
        row[0] += 1
        row[1] += each.size
    if not sums and (found := one(rt, of.store, of.key)):
        return [Usage(of.key.rpartition("/")[2], 1, found.size)]
    rows = [Usage(name, objects, size) for name, (objects, size) in sums.items()]
    return sorted(rows, key=lambda row: (-row.bytes, row.name))
