"""From what is for sale to the offers of a need, in the order to try them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from runctl.core.model import Offer
from runctl.providers.aws.prices import CENT_OF_CENT, Price, disk_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.core.model import Resources
    from runctl.providers.aws.images import Image
    from runctl.providers.aws.types import InstanceType

TYPES = 8  # cheapest types of each market that are offered: enough to find one free, few enough to read
DISK_GB, GPU_DISK_GB = 30, 100  # without a wish; frameworks for GPUs take tens of gigabytes


@dataclass(frozen=True)
class ForSale:
    """Everything an offer is made from; the keys are region, type and zone as far as they matter."""

    types: Mapping[str, Sequence[InstanceType]]
    zones: Mapping[tuple[str, str], Sequence[str]]
    on_demand: Mapping[tuple[str, str], Price]
    spot: Mapping[tuple[str, str, str], Price]
    disk: Mapping[str, Price]
    images: Mapping[tuple[str, str], Image]  # by region and type


def disk_gb(wanted: float | None, *, gpus: int, least_gb: int = 0) -> int:
    """The size of the root volume: what is wanted, else what is usual; never less than the image needs."""
    usual = GPU_DISK_GB if gpus else DISK_GB
    return max(int(-(-(wanted or usual) // 1)), least_gb)


def compose(need: Resources, sale: ForSale, *, only_zone: str = "") -> list[Offer]:
    """The offers for ``need``, in the order to try them.

    On demand: by price. With ``need.spot``: spot machines by price, then, with ``need.fallback``, those on demand;
    a spot machine that costs more than the cheapest one on demand is no bargain, and is left out.
    Equal prices go by the order of the regions, then by names, so that the same sale gives the same list.
    """
    places = [
        _Place(machine, region, zone)
        for region, machines in sale.types.items()
        for machine in machines
        for zone in sale.zones.get((region, machine.name), ())
        if (region, machine.name) in sale.images and only_zone in ("", zone)
    ]
    on_demand = [
        _offer(need, sale, place, price, spot=False)
        for place in places
        if (price := sale.on_demand.get((place.region, place.machine.name)))
    ]
    spot = [
        _offer(need, sale, place, price, spot=True)
        for place in places
        if place.machine.spot and (price := sale.spot.get((place.region, place.machine.name, place.zone)))
    ]
    order = list(sale.types)
    on_demand, spot = _ordered(on_demand, order), _ordered(spot, order)
    if not need.spot:
        return on_demand
    if not need.fallback:
        return spot
    ceiling = min((each.price_per_hour for each in on_demand), default=None)
    bargains = [each for each in spot if ceiling is None or each.price_per_hour <= ceiling]
    return [*bargains, *on_demand]


def _ordered(offers: Iterable[Offer], regions: Sequence[str]) -> list[Offer]:
    ordered = sorted(
        offers,
        key=lambda each: (each.price_per_hour, regions.index(each.region), each.machine_type, each.zone),
    )
    kept = list(dict.fromkeys(each.machine_type for each in ordered))[:TYPES]
    return [each for each in ordered if each.machine_type in kept]


class _Place(NamedTuple):
    machine: InstanceType
    region: str
    zone: str


def _offer(need: Resources, sale: ForSale, place: _Place, price: Price, *, spot: bool) -> Offer:
    machine, region, zone = place
    image = sale.images[region, machine.name]
    size = disk_gb(need.disk_gb, gpus=machine.gpus, least_gb=image.least_gb)
    total = price.amount + disk_share(sale.disk.get(region), size)
    return Offer(
        provider="aws",
        machine_type=machine.name,
        region=region,
        price_per_hour=total.quantize(CENT_OF_CENT),
        currency=price.currency,
        spot=spot,
        zone=zone,
        cpus=machine.cpus,
        memory_gb=machine.memory_gb,
        gpu=machine.gpu,
        gpus=machine.gpus,
        arch=machine.arch,
        price_source=f"{price.source}, with {size} GB of disk",
        image=image.id,
        baked=image.baked,
    )
