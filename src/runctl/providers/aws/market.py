"""What AWS sells where and at what price, asked in parallel and remembered for an hour. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import together
from runctl.core.errors import AccessError, RunctlError, UnreachableError, UsageError
from runctl.core.events import Notice
from runctl.core.retry import RetryPolicy
from runctl.providers.aws import images, prices
from runctl.providers.aws import types as instance_types
from runctl.providers.aws.images import Image
from runctl.providers.aws.prices import Price
from runctl.providers.aws.types import InstanceType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken
    from runctl.core.model import Resources
    from runctl.providers.aws.cache import AnswerCache

# The Price List answers in few regions only; the nearest by the first part of the region's name.
_PRICE_LISTS = {"eu": "eu-central-1", "ap": "ap-south-1", "cn": "cn-northwest-1"}
# A price list that does not answer soon is not waited for: the table stands in.
_PATIENCE = RetryPolicy(attempts=2, deadline_seconds=10)
_MANY = 100  # the most DescribeInstanceTypes gives at once
_AT_ONCE = 10  # the most names GetParameters takes


@dataclass(frozen=True)
class Market:
    """Questions about what is for sale; each answer is for the regions it was asked about."""

    calls: AwsCalls
    cache: AnswerCache
    cancel: CancelToken

    def types(self, need: Resources, regions: Sequence[str]) -> dict[str, list[InstanceType]]:
        """The types of each region that could meet ``need``. A region that cannot be asked is left out, and said.

        Raises:
            RunctlError: no region could be asked; the first one's failure.
        """
        found: dict[str, list[InstanceType]] = {}
        failed: list[RunctlError] = []

        def look(region: str, cancel: CancelToken) -> None:
            try:
                found[region] = self._types_of(need, region, cancel)
            except (AccessError, UsageError, UnreachableError) as error:
                failed.append(error)

        self._everywhere(regions, look)
        if failed and not found:
            raise failed[0]
        for error in failed:
            self.calls.emit(Notice("warning", f"left out {error.context.get('region')}: {error.what}"))
        return {region: found[region] for region in regions if region in found}

    def _types_of(self, need: Resources, region: str, cancel: CancelToken) -> list[InstanceType]:
        query = instance_types.query(need)

        def ask() -> list[dict[str, Any]]:
            limit = {} if "InstanceTypes" in query else {"MaxResults": _MANY}
            pages = self.calls.pages(
                "ec2", "describe_instance_types", cancel=cancel, region=region, **query, **limit
            )
            made = [instance_types.from_api(each) for page in pages for each in page["InstanceTypes"]]
            return [vars(each) for each in made if each is not None]

        answer, _ = self.cache.get(["types", region, query], ask)
        return [InstanceType(**each) for each in answer]

    def zones(self, wanted: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], list[str]]:
        """The zones where types are sold, by region and type. ``wanted`` has the types of each region."""
        found: dict[tuple[str, str], list[str]] = {}

        def look(region: str, cancel: CancelToken) -> None:
            for name, zone in self._offerings(region, wanted[region], cancel):
                # local zones have longer names, prices of their own and no spot
                if zone[:-1] == region:
                    found.setdefault((region, name), []).append(zone)

        self._everywhere(wanted, look)
        return {place: sorted(zones) for place, zones in found.items()}

    def _offerings(self, region: str, names: Sequence[str], cancel: CancelToken) -> list[list[str]]:
        def ask() -> list[list[str]]:
            pages = self.calls.pages(
                "ec2",
                "describe_instance_type_offerings",
                cancel=cancel,
                region=region,
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": list(names)}],
            )
            return [
                [each["InstanceType"], each["Location"]]
                for page in pages
                for each in page["InstanceTypeOfferings"]
            ]

        answer: list[list[str]] = self.cache.get(["offerings", region, sorted(names)], ask)[0]
        return answer

    def spot(self, wanted: Mapping[str, Sequence[str]]) -> dict[tuple[str, str, str], Price]:
        """The present spot prices by region, type and zone; a place without one sells no spot machines."""
        found: dict[tuple[str, str, str], Price] = {}

        def look(region: str, cancel: CancelToken) -> None:
            def ask() -> list[list[str]]:
                pages = self.calls.pages(
                    "ec2",
                    "describe_spot_price_history",
                    cancel=cancel,
                    region=region,
                    InstanceTypes=list(wanted[region]),
                    ProductDescriptions=[prices.SPOT_PRODUCT],
                    StartTime=self.calls.clock.now(),
                )
                return prices.latest_spot(entry for page in pages for entry in page["SpotPriceHistory"])

            rows, at = self.cache.get(["spot", region, sorted(wanted[region])], ask)
            source = prices.of_time("spot history", at.astimezone(UTC))
            for name, zone, amount in rows:
                found[region, name, zone] = Price(Decimal(amount), "USD", source)

        self._everywhere([region for region in wanted if wanted[region]], look)
        return found

    def on_demand(self, wanted: Mapping[str, Sequence[InstanceType]]) -> dict[tuple[str, str], Price]:
        """The prices on demand by region and type: the price list's, else the table's. What neither knows is left out."""
        names = sorted({each.name for types in wanted.values() for each in types})
        found = {
            (region, name): price
            for region, name, price in self._price_list(prices.machine_query(names, sorted(wanted)))
        }
        for region, types in wanted.items():
            for each in types:
                price = prices.remembered(each.name, region, gpu=bool(each.gpus))
                if price is not None:
                    found.setdefault((region, each.name), price)
        return found

    def disk(self, regions: Iterable[str]) -> dict[str, Price]:
        """The price of a gigabyte-month by region; a region of which nobody tells it is left out."""
        regions = sorted(regions)
        found = {region: price for region, _, price in self._price_list(prices.disk_query(regions))}
        for region in regions:
            price = prices.remembered_disk(region)
            if price is not None:
                found.setdefault(region, price)
        return found

    def _price_list(self, query: Mapping[str, Any]) -> list[tuple[str, str, Price]]:
        """Rows of the price list; none when it does not let itself be asked: the caller has another source."""
        calls = replace(self.calls, policy=_PATIENCE)
        home = _PRICE_LISTS.get(calls.session.region.partition("-")[0], "us-east-1")

        def ask() -> list[list[str]]:
            pages = calls.pages("pricing", "get_products", cancel=self.cancel, region=home, **query)
            return prices.listed(document for page in pages for document in page["PriceList"])

        try:
            rows, at = self.cache.get(["prices", query], ask)
        except (AccessError, UsageError, UnreachableError) as error:
            calls.emit(Notice("detail", f"no answer from the price list ({error.what}); its table stands in"))
            return []
        source = prices.of_time("Pricing API", at.astimezone(UTC))
        return [(region, name, Price(Decimal(amount), coin, source)) for region, name, amount, coin in rows]

    def images(self, wanted: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], Image]:
        """Images by region and by what they were asked for with: an id or a parameter's name. Missing ones are left out."""
        found: dict[tuple[str, str], Image] = {}

        def look(region: str, cancel: CancelToken) -> None:
            asked = sorted(set(wanted[region]))
            ids = {name: name for name in asked if images.is_id(name)}
            names = [name for name in asked if name not in ids]
            ids |= self._parameters(region, names, cancel) if names else {}
            made = self._images_of(region, sorted(set(ids.values())), cancel) if ids else {}
            found.update({(region, name): made[ami] for name, ami in ids.items() if ami in made})

        self._everywhere([region for region in wanted if any(wanted[region])], look)
        return found

    def _parameters(self, region: str, names: Sequence[str], cancel: CancelToken) -> dict[str, str]:
        def ask() -> dict[str, str]:
            got: dict[str, str] = {}
            for start in range(0, len(names), _AT_ONCE):
                answer = self.calls.call(
                    "ssm",
                    "get_parameters",
                    cancel=cancel,
                    region=region,
                    Names=list(names[start : start + _AT_ONCE]),
                )
                got |= {each["Name"]: each["Value"] for each in answer["Parameters"]}
            return got

        answer: dict[str, str] = self.cache.get(["parameters", region, names], ask)[0]
        return answer

    def _images_of(self, region: str, ids: Sequence[str], cancel: CancelToken) -> dict[str, Image]:
        def ask() -> list[list[Any]]:
            answer = self.calls.call(
                "ec2", "describe_images", cancel=cancel, region=region, ImageIds=list(ids)
            )
            return images.from_api(answer["Images"])

        rows, _ = self.cache.get(["images", region, ids], ask)
        return {row[0]: Image(*row) for row in rows}

    def _everywhere(self, regions: Iterable[str], look: Callable[[str, CancelToken], None]) -> None:
        """Ask every region at the same time. Raises what the first one that fails raises."""
        with together(self.cancel) as scope:
            for region in regions:
                scope.start(region, partial(look, region, scope.cancel))
