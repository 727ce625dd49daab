"""Service Quotas for what runs instances: the quotas of a young account, and requests to raise them."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError
from runctl.sandbox.http import Response

if TYPE_CHECKING:
    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request

# code -> (name, value in vCPUs); the codes are those of the real service
QUOTAS = {
    "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 256.0),
    "L-DB2E81BA": ("Running On-Demand G and VT instances", 64.0),
    "L-417A185B": ("Running On-Demand P instances", 192.0),
    "L-34B43A08": ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 256.0),
    "L-3819A6DF": ("All G and VT Spot Instance Requests", 64.0),
    "L-7212CCBC": ("All P4, P3 and P2 Spot Instance Requests", 192.0),
    "L-C4BD4855": ("All P5 Spot Instance Requests", 192.0),
}


class Quotas:
    """``ListServiceQuotas``, ``ListAWSDefaultServiceQuotas``, ``GetServiceQuota``, ``GetAWSDefaultServiceQuota``,
    ``RequestServiceQuotaIncrease`` and the listing of those requests, for ``ec2``. Quotas are told, not enforced:
    capacity errors are weather.
    """  # noqa: D205 - a list of names

    def __init__(self) -> None:
        self._requests: dict[str, dict[str, Any]] = {}

    async def handle(self, request: Request, call: Call) -> Response:
        """Answer one call."""
        del request
        asked = json.loads(call.body or b"{}")
        if "ServiceCode" in asked and asked["ServiceCode"] != "ec2":
            raise ApiError("NoSuchResourceException", f"no quotas of {asked['ServiceCode']!r} here")
        if call.action in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas"):
            return _json({"Quotas": [_quota(code, call) for code in QUOTAS]})
        if call.action in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
            return _json({"Quota": _quota(asked.get("QuotaCode", ""), call)})
        if call.action == "RequestServiceQuotaIncrease":
            return _json({"RequestedQuota": self._increase(asked, call)})
        if call.action.startswith("ListRequestedServiceQuotaChangeHistory"):
            wanted = asked.get("QuotaCode")
            found = [each for each in self._requests.values() if wanted in (None, each["QuotaCode"])]
            return _json({"RequestedQuotas": found})
        raise ApiError("NotImplemented", f"the sandbox has no servicequotas:{call.action}", status=501)

    def _increase(self, asked: dict[str, Any], call: Call) -> dict[str, Any]:
        quota = _quota(asked.get("QuotaCode", ""), call)
        wanted = float(asked.get("DesiredValue", 0))
        if wanted <= quota["Value"]:
            raise ApiError("IllegalArgumentException", "the desired value must be above the present one")
        made = {
            "Id": uuid.uuid4().hex,
            "ServiceCode": "ec2",
            "QuotaCode": quota["QuotaCode"],
            "QuotaName": quota["QuotaName"],
            "DesiredValue": wanted,
            "Status": "PENDING",
        }
        self._requests[made["Id"]] = made
        return made

    def reset(self) -> None:
        """Forget the requests."""
        self._requests.clear()


def _quota(code: str, call: Call) -> dict[str, Any]:
    if code not in QUOTAS:
        raise ApiError("NoSuchResourceException", f"ec2 has no quota {code!r}")
    name, value = QUOTAS[code]
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{call.region}:{call.account}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


def _json(value: dict[str, Any]) -> Response:
    return Response(200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(value).encode())
