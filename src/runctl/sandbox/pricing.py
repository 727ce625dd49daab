"""The Price List API, from a small dated file of our own: the shape of the real one, its prices as of that date."""

from __future__ import annotations

import functools
import hashlib
import json
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError
from runctl.sandbox.http import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request
    from runctl.sandbox.state import State

PAGE = 100  # as documented: the most a page holds, and the default
ATTRIBUTES = (
    "capacitystatus",
    "instanceType",
    "location",
    "marketoption",
    "operatingSystem",
    "preInstalledSw",
    "regionCode",
    "tenancy",
    "volumeApiName",
)


# How a filter's type compares an attribute with its value.
_MATCH: dict[str, Callable[[str, str], bool]] = {
    "TERM_MATCH": lambda has, value: has == value,
    "EQUALS": lambda has, value: has == value,
    "CONTAINS": lambda has, value: value in has,
    "ANY_OF": lambda has, value: has in value.split(","),
    "NONE_OF": lambda has, value: has not in value.split(","),
}


@functools.cache
def table() -> dict[str, Any]:
    """The file of prices."""
    loaded: dict[str, Any] = json.loads((files("runctl.sandbox") / "data" / "prices.json").read_text("utf-8"))
    return loaded


def on_demand(instance_type: str, region: str) -> Decimal:
    """Dollars an hour for Linux. A type that the file lacks is priced by its size, a region it lacks as us-east-1."""
    prices = table()
    base = prices["on_demand"].get(instance_type)
    factor = Decimal(prices["regions"].get(region, ["", "1"])[1])
    return (Decimal(base) if base else _by_size(instance_type)) * factor


def _by_size(instance_type: str) -> Decimal:
    """So that every type has some price: 4 vCPU for an xlarge, times its number; families with GPUs cost them too."""
    family, _, size = instance_type.partition(".")
    number = size.removesuffix("xlarge")
    vcpus = 4 * int(number or 1) if size.endswith("xlarge") and number.isdigit() | (number == "") else 2
    price = Decimal(table()["per_vcpu_hour"]) * vcpus
    return price + Decimal(table()["per_gpu_hour"]) * max(1, vcpus // 12) if family[0] in "gp" else price


class Pricing:
    """``GetProducts``, ``DescribeServices`` and ``GetAttributeValues`` for AmazonEC2."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def handle(self, request: Request, call: Call) -> Response:
        """Answer one call of the Price List API."""
        del request
        asked = json.loads(call.body or b"{}")
        if call.action == "DescribeServices":
            return _json(
                {
                    "FormatVersion": "aws_v1",
                    "Services": [{"ServiceCode": "AmazonEC2", "AttributeNames": list(ATTRIBUTES)}],
                }
            )
        if asked.get("ServiceCode") != "AmazonEC2":
            raise ApiError("NotFoundException", f"no prices for {asked.get('ServiceCode')!r}")
        if call.action == "GetAttributeValues":
            name = asked.get("AttributeName", "")
            if name not in ATTRIBUTES:
                raise ApiError("InvalidParameterException", f"AmazonEC2 has no attribute {name!r}")
            values = sorted({_attribute(product, name) for product in products()} - {""})
            return _json({"AttributeValues": [{"Value": value} for value in values]})
        if call.action == "GetProducts":
            return self._products(asked)
        raise ApiError("NotImplemented", f"the sandbox has no pricing:{call.action}", status=501)

    @staticmethod
    def _products(asked: dict[str, Any]) -> Response:
        filters = [
            (each.get("Type", "TERM_MATCH"), each["Field"], each["Value"])
            for each in asked.get("Filters", ())
        ]
        for kind, _, _ in filters:
            if kind not in _MATCH:
                raise ApiError("InvalidParameterException", f"a filter's Type is one of {', '.join(_MATCH)}")
        found = [
            product
            for product in products()
            if all(
                _MATCH[kind](_attribute(product, name).lower(), value.lower())
                for kind, name, value in filters
            )
        ]
        try:
            at = int(asked.get("NextToken") or 0)
        except ValueError:
            raise ApiError("InvalidNextTokenException", "the token is not one of ours") from None
        size = min(int(asked.get("MaxResults") or PAGE), PAGE)
        answer: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(each) for each in found[at : at + size]],
        }
        if at + size < len(found):
            answer["NextToken"] = str(at + size)
        return _json(answer)


def _attribute(product: dict[str, Any], name: str) -> str:
    if name in ("ServiceCode", "servicecode"):
        return "AmazonEC2"
    attributes = product["product"]["attributes"]
    return str(attributes.get(name, product["product"].get(name, "")))


@functools.cache
def products() -> list[dict[str, Any]]:
    """Every product of the file, as the documents that ``GetProducts`` gives: machines, and gp3 volumes."""
    prices = table()
    machines = [
        _product(
            prices["as_of"],
            "Compute Instance",
            {
                "instanceType": instance_type,
                "location": prices["regions"][region][0],
                "regionCode": region,
                "operatingSystem": "Linux",
                "preInstalledSw": "NA",
                "tenancy": "Shared",
                "capacitystatus": "Used",
                "marketoption": "OnDemand",
            },
            ("Hrs", f"On Demand Linux {instance_type} Instance Hour", on_demand(instance_type, region)),
        )
        for region in prices["regions"]
        for instance_type in prices["on_demand"]
    ]
    volumes = [
        _product(
            prices["as_of"],
            "Storage",
            {"location": location, "regionCode": region, "volumeApiName": "gp3"},
            ("GB-Mo", "GB-month of General Purpose (gp3) provisioned storage", _gp3(factor)),
        )
        for region, (location, factor) in prices["regions"].items()
    ]
    return machines + volumes


def _gp3(factor: str) -> Decimal:
    return Decimal(table()["gp3_gb_month"]) * Decimal(factor)


def _product(
    as_of: str, family: str, attributes: dict[str, str], priced: tuple[str, str, Decimal]
) -> dict[str, Any]:
    unit, what, amount = priced
    named = json.dumps([family, sorted(attributes.items())])
    sku = hashlib.sha256(named.encode()).hexdigest()[:16].upper()
    # the real list's codes of on-demand, by unit
    term, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    price = str(amount.quantize(Decimal("0.0000000001")))
    dimension = {
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "rateCode": rate,
        "appliesTo": [],
        "description": f"${price} per {what}",
        "pricePerUnit": {"USD": price},
    }
    return {
        "product": {
            "productFamily": family,
            "sku": sku,
            "attributes": {"servicecode": "AmazonEC2", **attributes},
        },
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                term: {
                    "sku": sku,
                    "effectiveDate": f"{as_of}T00:00:00Z",
                    "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                    "priceDimensions": {rate: dimension},
                }
            }
        },
        "version": as_of.replace("-", ""),
        "publicationDate": f"{as_of}T00:00:00Z",
    }


def _json(value: dict[str, Any]) -> Response:
    return Response(200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(value).encode())
