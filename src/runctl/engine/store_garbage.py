"""What of a store nobody will miss: trees that no sync used for long, and packs that only such trees name.

A sending relies on nothing older than ``code_store.FRESH_SECONDS`` and writes anew what is; here nothing is taken that is
younger than twice that. So whatever a sending counts on stays there at least as long again, and no lock is needed. Trees go
before the packs they name, so that a tree whose packs are gone is never found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runctl.engine import tree_object
from runctl.engine.code_store import FRESH_SECONDS

if TYPE_CHECKING:
    from datetime import datetime

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Store, Stored

LEAST_DAYS: Final = 2 * FRESH_SECONDS / 86400
_TREES: Final = "trees/"
_PACKS: Final = "packs/"


@dataclass(frozen=True)
class Garbage:
    """Objects that may go, and how much stays. Sizes in bytes."""

    url: str
    trees: tuple[str, ...]
    packs: tuple[str, ...]
    bytes: int
    kept_objects: int
    kept_bytes: int


def find_garbage(store: Store, *, days: float, now: datetime, cancel: CancelToken) -> Garbage:
    """What nobody has used for ``days`` (at least ``LEAST_DAYS``). Reads only: lists the store and reads its live trees.

    Raises:
        ValueError: ``days`` is less than what a running sync may count on.
        RunctlError: what the store says. A live tree that cannot be understood keeps every pack.
    """
    if days < LEAST_DAYS:
        raise ValueError(f"at least {LEAST_DAYS:g} days")
    limit = now.timestamp() - days * 86400
    trees = {found.key: found for found in store.list(_TREES, cancel=cancel)}
    packs = {found.key: found for found in store.list(_PACKS, cancel=cancel)}
    live = {key for key, found in trees.items() if found.modified >= limit}
    used, bases = _named(store, sorted(live), cancel)
    missing = bases - live
    more, _ = _named(store, sorted(missing & trees.keys()), cancel)
    old_trees = [trees[key] for key in trees.keys() - live - bases]
    old_packs = [found for key, found in packs.items() if found.modified < limit and key not in used | more]
    gone = [*old_trees, *old_packs]
    every = [*trees.values(), *packs.values()]
    return Garbage(
        store.url,
        _keys(old_trees),
        _keys(old_packs),
        sum(found.size for found in gone),
        len(every) - len(gone),
        sum(found.size for found in every) - sum(found.size for found in gone),
    )


def _keys(found: list[Stored]) -> tuple[str, ...]:
    return tuple(sorted(each.key for each in found))


def _named(store: Store, trees: list[str], cancel: CancelToken) -> tuple[set[str], set[str]]:
    """The keys of the packs that trees name, and of the trees that they are based on."""
    packs: set[str] = set()
    bases: set[str] = set()
    for key in trees:
        said = tree_object.names(store.get(key, cancel=cancel))
        packs.update(f"{_PACKS}{pack}" for pack in said.packs if pack)
        if said.base:
            bases.add(f"{_TREES}{said.base}")
    return packs, bases


def remove_garbage(store: Store, garbage: Garbage, cancel: CancelToken) -> None:
    """Delete it, trees first. Safe to repeat; a cancel leaves the rest for the next time."""
    store.delete(garbage.trees, cancel)
    store.delete(garbage.packs, cancel)
