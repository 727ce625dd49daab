"""Looks for the offers of a need: the types that fit, then zones, prices and images side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.providers.aws import images
from runctl.providers.aws.baked import ENVIRONMENT, NAME, Images
from runctl.providers.aws.images import Image
from runctl.providers.aws.offers import ForSale, compose
from runctl.providers.aws.types import fitting, words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runctl.core.model import Offer, Resources
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
            pictures = scope.start("images", lambda: self._images(asked, types, given, need.environment))
        return ForSale(
            types, zones.result(), on_demand.result(), spot.result(), disk.result(), pictures.result()
        )

    def _images(
        self, market: Market, types: Mapping[str, Sequence[InstanceType]], given: str, environment: str
    ) -> dict[tuple[str, str], Image]:
        """The image of each region and type: what is given, else one of ours with the environment, else the public one.

        Raises ``aws-image-unknown``, ``aws-no-image`` when there is none at all.
        """
        if images.is_name(given):
            return self._by_name(market, types, given, environment)
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
        if environment and not given:
            made |= self._own(market, types, {ENVIRONMENT: environment}, environment, base=asked)
        if not made and any(asked.values()):
            named = ", ".join(sorted({image for image in asked.values() if image}))
            raise known("aws-image-unknown", region=", ".join(types), detail=f"there is no image {named}")
        if not made:
            raise images.missing(each for found in types.values() for each in found)
        return made

    def _by_name(
        self, market: Market, types: Mapping[str, Sequence[InstanceType]], name: str, environment: str
    ) -> dict[tuple[str, str], Image]:
        """The newest image of ours with that name, for each region and type it fits."""
        made = self._own(market, types, {NAME: name}, environment)
        if not made:
            detail = f"no image of ours is called {name}; runctl aws ami list shows them"
            raise known("aws-image-unknown", region=", ".join(types), detail=detail)
        return made

    def _own(
        self,
        market: Market,
        types: Mapping[str, Sequence[InstanceType]],
        wish: Mapping[str, str],
        environment: str,
        *,
        base: Mapping[tuple[str, str], str | None] | None = None,
    ) -> dict[tuple[str, str], Image]:
        """Our newest image with these tags, for each region and type that it fits; ``base``: what it has to stand on."""
        found = Images(market.calls, list(types)).find(wish, market.cancel)
        made: dict[tuple[str, str], Image] = {}
        for region, machines in types.items():
            for machine in machines:
                for image in found:
                    fits = image.region == region and image.arch == machine.arch
                    stands = base is None or image.base == base[region, machine.name]
                    if fits and stands and image.state == "available":
                        key = image.key if image.environment == environment else ""
                        made[region, machine.name] = Image(image.id, image.root_device, image.gb, key)
                        break
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
