"""The volume that keeps caches from machine to machine: what a plan says of it, and its part in launching and ending a run."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

from runctl.core.errors import Cancelled, RunctlError
from runctl.core.events import Notice
from runctl.core.ports import Caches
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.model import CacheVolume, Machine, Offer, Resources
    from runctl.core.ports import Provider, Store

COPIED_FROM = 64 << 20  # bytes a volume has to have grown by in one run to be copied again
SAME_MARKET = "price_per_hour", "currency", "spot"


def with_caches(
    provider: Provider, need: Resources, offers: Sequence[Offer], cancel: CancelToken
) -> tuple[tuple[Offer, ...], tuple[CacheVolume, ...]]:
    """The offers, of equal ones those first that find the volume in their zone, and what each zone has. Reads only."""
    if not need.cache_volume or not isinstance(provider, Caches):
        return tuple(offers), ()
    zones = list(dict.fromkeys(offer.zone for offer in offers if offer.zone))
    found = tuple(provider.cache_volumes(need, zones, cancel))
    ordered = prefer(offers, {each.zone for each in found if each.kept})
    place = {zone: number for number, zone in enumerate(dict.fromkeys(each.zone for each in ordered))}
    return ordered, tuple(sorted(found, key=lambda each: place[each.zone]))


def prefer(offers: Sequence[Offer], zones: set[str]) -> tuple[Offer, ...]:
    """The same offers; among neighbours of one price and market those in ``zones`` come first. Pure."""
    out: list[Offer] = []
    for _, some in groupby(offers, key=lambda each: tuple(getattr(each, name) for name in SAME_MARKET)):
        out += sorted(some, key=lambda each: each.zone not in zones)
    return tuple(out)


def attach(
    provider: Provider,
    store: Store,
    need: Resources,
    machine: Machine,
    *,
    prefix: str,
    emit: Emit,
    clock: Clock,
    cancel: CancelToken,
) -> CacheVolume | None:
    """Attach the volume and tell the machine which it is; what fails is said, and the run goes on without: None then.

    The machine waits two minutes for the word below ``prefix``, so that a client that dies here delays it and no more.
    """
    if not need.cache_volume or not isinstance(provider, Caches):
        return None
    try:
        with step("cache", "attach the cache volume", emit=emit, clock=clock) as doing:
            found = provider.attach_cache(need, machine, cancel)
            doing.summary = f"{found.volume} in {found.zone}, {found.gb} GB"
            tell = {"v": 1, "volume": found.volume, "device": found.device}
            store.put(f"{prefix}/cache.json", json.dumps(tell).encode(), cancel=cancel)
    except Cancelled:
        raise
    except RunctlError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        emit(Notice("warning", f"the run goes on without its cache volume: {why}"))
        _tell_none(store, prefix, why, emit=emit, cancel=cancel)
        return None
    return found


def _tell_none(store: Store, prefix: str, why: str, *, emit: Emit, cancel: CancelToken) -> None:
    try:
        store.put(
            f"{prefix}/cache.json", json.dumps({"v": 1, "volume": "", "why": why}).encode(), cancel=cancel
        )
    except Cancelled:
        raise
    except RunctlError as error:  # the machine goes on by itself in the end
        emit(Notice("detail", f"the machine waits two minutes for its cache volume: {error.what}"))


def copy(
    provider: Provider,
    store: Store,
    cache: CacheVolume,
    *,
    prefix: str,
    emit: Emit,
    cancel: CancelToken,
) -> None:
    """Begin a snapshot of a volume that its machine has left whole, if there is none or it grew. Never fails the run."""
    if not isinstance(provider, Caches):
        return
    try:
        status = json.loads(store.get(f"{prefix}/status.json", cancel=cancel))
        left: Mapping[str, int] | None = status.get("cache")
        if left is None:  # nobody knows what is on it, or it was not unmounted
            return
        begun = provider.copy_cache(cache, changed=left["grown"] >= COPIED_FROM, cancel=cancel)
    except Cancelled:
        raise
    except RunctlError as error:
        emit(Notice("warning", f"no snapshot of the cache volume: {error.what}"))
        return
    if begun:
        text = f"{begun}, a snapshot of {cache.volume}, becomes complete by itself; it is for other zones"
        emit(Notice("info", text))
