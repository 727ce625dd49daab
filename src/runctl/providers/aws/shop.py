"""Looks for the offers of a need: the types that fit, then zones, prices and images side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.providers.aws import images
from runctl.providers.aws.offers import ForSale, compose
from runctl.providers.aws.types import fitting, words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runctl.core.model import Offer, Resources
    from runctl.providers.aws.images import Image
    from runctl.providers.aws.market import Market
    from runctl.providers.aws.types import InstanceType


@dataclass(frozen=True)
class Shop:
    """A market, and what the settings ``aws.image`` and ``aws.subnet`` ask of it."""

    market: Market
    setting: Callable[[str], Any]

    def offers(self, need: Resources, regions: Sequence[str]) -> list[Offer]:
        """The offers for ``need`` in ``regions``, in the order to try; never empty. Raises as ``AwsProvider.offers`` does."""
        zone = self._zone_of_subnet()
        regions = (self.market.calls.session.region,) if zone else regions
        there = self.market.types(need, regions)
        chosen = {each.name for each in fitting(need, (one for types in there.values() for one in types))}
        types = {
            region: [one for one in there[region] if one.name in chosen]
            for region in regions
            if region in there
        }
        sale = self._for_sale(need, {region: found for region, found in types.items() if found})
        offers = compose(need, sale, only_zone=zone)
        if not offers:
            raise known(
                "aws-no-offer",
                need=words(need),
                market="spot" if need.spot else "on demand",
                regions=", ".join(regions),
            )
        return offers

    def _for_sale(self, need: Resources, types: Mapping[str, Sequence[InstanceType]]) -> ForSale:
        """Zones, prices and images of the chosen types, asked for side by side."""
        names = {region: [each.name for each in found] for region, found in types.items()}
        spot_names = {
            region: [each.name for each in found if each.spot and need.spot]
            for region, found in types.items()
        }
        given = need.image or str(self.setting("aws.image"))
        with together(self.market.cancel) as scope:
            asked = replace(self.market, cancel=scope.cancel)
            zones = scope.start("zones", lambda: asked.zones(names))
            on_demand = scope.start("prices", lambda: asked.on_demand(types))
            spot = scope.start("spot", lambda: asked.spot(spot_names))
            disk = scope.start("disk", lambda: asked.disk(types))
            pictures = scope.start("images", lambda: self._images(asked, types, given))
        return ForSale(
            types, zones.result(), on_demand.result(), spot.result(), disk.result(), pictures.result()
        )

    def _images(
        self, market: Market, types: Mapping[str, Sequence[InstanceType]], given: str
    ) -> dict[tuple[str, str], Image]:
        """The image of each region and type. Raises ``aws-image-unknown``, ``aws-no-image`` when there is none at all."""
        asked = {
            (region, each.name): given or images.parameter(each)
            for region, found in types.items()
            for each in found
        }
        wanted = {
            region: [name for (place, _), name in asked.items() if place == region and name]
            for region in types
        }
        found = market.images(wanted)
        made = {
            (region, name): found[region, image]
            for (region, name), image in asked.items()
            if image and (region, image) in found
        }
        if not made and any(asked.values()):
            named = ", ".join(sorted({image for image in asked.values() if image}))
            raise known("aws-image-unknown", region=", ".join(types), detail=f"there is no image {named}")
        if not made:
            raise images.missing(each for found in types.values() for each in found)
        return made

    def _zone_of_subnet(self) -> str:
        """The zone of the subnet that the settings ask for: machines can only be there. Empty without one."""
        subnet = str(self.setting("aws.subnet"))
        if not subnet:
            return ""

        def ask() -> str:
            answer = self.market.calls.call(
                "ec2", "describe_subnets", cancel=self.market.cancel, SubnetIds=[subnet]
            )
            return str(answer["Subnets"][0]["AvailabilityZone"])

        return str(self.market.cache.get(["subnet", subnet], ask)[0])
