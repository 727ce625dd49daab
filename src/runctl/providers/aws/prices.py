"""What a machine and its disk cost an hour: the Price List, the spot history, and a dated table for when neither answers.

Every price carries where it is from and of when. Formats: the documents of ``pricing:GetProducts`` (offer file format
``aws_v1``) and the entries of ``ec2:DescribeSpotPriceHistory``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

HOURS_A_MONTH = 730  # what AWS divides a monthly price by
SPOT_PRODUCT = "Linux/UNIX"
CENT_OF_CENT = Decimal("0.0001")  # prices are rounded to it


@dataclass(frozen=True)
class Price:
    """An amount, its currency, and where it is from."""

    amount: Decimal
    currency: str
    source: str


def of_time(what: str, at: datetime) -> str:
    """A source with its time: ``Pricing API 14:05 UTC``."""
    return f"{what} {at:%H:%M} UTC"


def machine_query(names: Sequence[str], regions: Sequence[str]) -> dict[str, Any]:
    """The parameters of ``GetProducts`` for plain Linux on demand, on shared hardware."""
    return _query(
        {
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "tenancy": "Shared",
            "capacitystatus": "Used",
            "marketoption": "OnDemand",
        },
        {"instanceType": names, "regionCode": regions},
    )


def disk_query(regions: Sequence[str]) -> dict[str, Any]:
    """The parameters of ``GetProducts`` for a gigabyte-month of a gp3 volume."""
    return _query({"productFamily": "Storage", "volumeApiName": "gp3"}, {"regionCode": regions})


def _query(exact: Mapping[str, str], one_of: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    wanted = [("TERM_MATCH", name, value) for name, value in exact.items()]
    wanted += [("ANY_OF", name, ",".join(values)) for name, values in one_of.items()]
    return {
        "ServiceCode": "AmazonEC2",
        "FormatVersion": "aws_v1",
        "Filters": [{"Type": kind, "Field": name, "Value": value} for kind, name, value in wanted],
    }


def listed(documents: Iterable[str]) -> list[list[str]]:
    """The documents of ``GetProducts`` as rows ``[region, instance type or "", amount, currency]``; odd ones are left out."""
    rows = []
    for document in documents:
        product = json.loads(document)
        attributes = product["product"]["attributes"]
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term["priceDimensions"].values():
                for currency, amount in dimension["pricePerUnit"].items():
                    if Decimal(amount) > 0 and dimension.get("unit") in ("Hrs", "GB-Mo"):
                        rows.append(
                            [attributes["regionCode"], attributes.get("instanceType", ""), amount, currency]
                        )
    return rows


def latest_spot(entries: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """The newest price of each type and zone of a spot history, as rows ``[instance type, zone, amount]``."""
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    for entry in entries:
        place = (entry["InstanceType"], entry["AvailabilityZone"])
        told = (str(entry["Timestamp"]), entry["SpotPrice"])
        newest[place] = max(newest.get(place, told), told)
    return [[*place, amount] for place, (_, amount) in sorted(newest.items())]


@functools.cache
def table() -> dict[str, Any]:
    """The dated prices that come with runctl."""
    loaded: dict[str, Any] = json.loads(
        (files("runctl.providers.aws") / "data" / "prices.json").read_text("utf-8")
    )
    return loaded


def remembered(name: str, region: str, *, gpu: bool) -> Price | None:
    """The price of a type from the table; None when it has neither the type nor the region."""
    prices = table()
    amount, factors = prices["on_demand"].get(name), prices["regions"].get(region)
    if amount is None or factors is None:
        return None
    factor = factors["gpu" if gpu else "cpu"]
    return Price(Decimal(amount) * Decimal(factor), prices["currency"], _of_table(exact=factor == "1"))


def remembered_disk(region: str) -> Price | None:
    """The price of a gigabyte-month of gp3 from the table; None when it lacks the region."""
    prices = table()
    factors = prices["regions"].get(region)
    if factors is None:
        return None
    return Price(Decimal(factors["gp3_gb_month"]), prices["currency"], _of_table(exact=True))


def _of_table(*, exact: bool) -> str:
    return f"table of {table()['as_of']}" + ("" if exact else ", estimated for the region")


def disk_share(month: Price | None, size_gb: int) -> Decimal:
    """What a volume of ``size_gb`` costs an hour; nothing where nobody tells its price."""
    return Decimal(0) if month is None else month.amount * size_gb / HOURS_A_MONTH
