"""Volumes that keep caches from machine to machine: found by name in a zone, made where they are missing, copied at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runctl.core.cancel import limited, together
from runctl.core.catalogue import known
from runctl.core.model import CacheVolume
from runctl.providers.aws.fleet import ENDED
from runctl.providers.aws.prices import remembered_disk
from runctl.providers.aws.volumes import CENT, Volumes, Wanted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from decimal import Decimal

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Machine, Resources
    from runctl.providers.aws.fleet import Fleet
    from runctl.providers.aws.volumes import Snapshot, Volume

UNDO_SECONDS = 10.0  # for deleting a volume that could not be attached
ENDING_SECONDS = 60.0  # a machine that ends gives its volume back within about this time


@dataclass(frozen=True)
class Caches:
    """The cache volumes of an account."""

    fleet: Fleet

    def find(self, need: Resources, zones: Sequence[str], cancel: CancelToken) -> list[CacheVolume]:
        """What a run finds in each of ``zones``. Reads only."""
        volumes = self._in(zones)
        with together(cancel) as scope:
            disks = scope.start("volumes", lambda: volumes.all(scope.cancel))
            copies = scope.start("snapshots", lambda: volumes.snapshots(scope.cancel))
        mine = [each for each in disks.result() if each.name == need.cache_volume and each.zone in zones]
        ending = {each.machine for each in mine if each.machine and self._ends(each, cancel)}
        return [choose(need, zone, mine, copies.result(), ending=ending) for zone in zones]

    def _ends(self, volume: Volume, cancel: CancelToken) -> bool:
        machine = self.fleet.look(volume.machine, volume.region, cancel)
        return machine is None or machine["State"]["Name"] in ENDED

    def attach(self, need: Resources, machine: Machine, cancel: CancelToken) -> CacheVolume:
        """The volume of the machine's zone, attached to it. A volume made here goes again when that fails.

        Raises:
            CapacityError: ``cache-volume-busy``; ``volume-state`` when EC2 does not get so far.
        """
        zone = machine.offer.zone
        (found,) = self.find(need, [zone], cancel)
        volumes = self._in([zone])
        if found.busy:
            raise known("cache-volume-busy", volume=found.volume, machine=found.busy)
        if found.volume:
            volume = volumes.await_free(found.volume, zone[:-1], cancel, seconds=ENDING_SECONDS)
            attached = volumes.attach(volume, machine.id, cancel)
        else:
            wanted = Wanted(zone, found.gb, name=found.name, snapshot=found.snapshot)
            volume = volumes.create(wanted, cancel)
            try:
                attached = volumes.attach(volume, machine.id, cancel)
            except BaseException:
                with limited(cancel, UNDO_SECONDS) as soon:
                    volumes.delete(volumes.detach(volumes.named(volume.id, soon), soon), soon)
                raise
        return replace(found, volume=attached.id, device=attached.device)

    def copy(self, cache: CacheVolume, *, changed: bool, cancel: CancelToken) -> str:
        """Begin a snapshot where there is none or the volume ``changed``; the copies before the newest whole one go."""
        volumes = self._in([cache.zone])
        mine = [each for each in volumes.snapshots(cancel) if each.name == cache.name and each.automatic]
        whole = [each for each in mine if each.state == "completed"]
        if mine and not changed:
            return ""
        volume = volumes.named(cache.volume, cancel)
        begun = volumes.begin_snapshot(volume, cancel, automatic=True)
        for old in whole[1:]:
            volumes.delete_snapshot(old, cancel)
        return begun

    def _in(self, zones: Iterable[str]) -> Volumes:
        return Volumes(self.fleet.calls, list(dict.fromkeys(zone[:-1] for zone in zones)))


def choose(
    need: Resources,
    zone: str,
    volumes: Iterable[Volume],
    snapshots: Iterable[Snapshot],
    *,
    ending: Collection[str],
) -> CacheVolume:
    """What a run finds in ``zone``: a free volume, else one that is busy, else one to make, of the newest copy. Pure.

    ``ending`` are machines that give back what they have. ``snapshots``: the newest first.
    """
    name, region = need.cache_volume, zone[:-1]
    here = [each for each in volumes if each.zone == zone]
    free = [each for each in here if not each.machine or each.machine in ending]
    for each in free or here:
        busy = "" if each in free else each.machine
        return CacheVolume(name, zone, each.gb, each.id, busy=busy, price_per_month=_month(region, each.gb))
    whole = [
        each for each in snapshots if (each.name, each.region, each.state) == (name, region, "completed")
    ]
    gb = max(need.cache_gb, whole[0].gb) if whole else need.cache_gb
    return CacheVolume(
        name, zone, gb, snapshot=whole[0].id if whole else "", price_per_month=_month(region, gb)
    )


def _month(region: str, gb: int) -> Decimal | None:
    price = remembered_disk(region)
    return None if price is None else (price.amount * gb).quantize(CENT)
