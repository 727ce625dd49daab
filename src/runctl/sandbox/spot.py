"""The spot market: prices, and the requests behind spot instances.

Prices are a share of the dated on-demand price that moves with type, zone and hour by a hash: plausible, repeatable,
and nobody's real price.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from runctl.sandbox.pricing import on_demand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOWEST, HIGHEST = 28, 62  # per cent of the on-demand price
CHANGE_HOURS = 6  # how often a price moves
PRODUCT = "Linux/UNIX"
ROLE = "AWSServiceRoleForEC2Spot"
_TERMINATED = {
    "Server.SpotInstanceTermination": "instance-terminated-no-capacity",
    "Client.UserInitiatedShutdown": "instance-terminated-by-user",
    "Client.InstanceInitiatedShutdown": "instance-terminated-by-user",
}
WORDS = {
    "canceled-before-fulfillment": "The request was cancelled before it had an instance.",
    "capacity-not-available": "There is no room for such an instance just now.",
    "fulfilled": "The request has its instance.",
    "instance-stopped-by-user": "You have stopped the instance.",
    "instance-stopped-no-capacity": "The room is needed: the instance was stopped.",
    "instance-terminated-by-service": "The instance was lost.",
    "instance-terminated-by-user": "You have terminated the instance.",
    "instance-terminated-no-capacity": "The room is needed: the instance was terminated.",
    "marked-for-stop": "The instance will be stopped soon.",
    "marked-for-termination": "The instance will be terminated soon.",
    "price-too-low": "The market asks more than the request gives.",
    "request-canceled-and-instance-running": "The request was cancelled, its instance runs on.",
}


def spot_price(instance_type: str, zone: str, at: datetime) -> Decimal:
    """Dollars an hour in a zone at a time: the same whenever it is asked."""
    slot = int(at.timestamp()) // (CHANGE_HOURS * 3600)
    drawn = hashlib.sha256(f"{instance_type}/{zone}".encode()).digest()[0]
    moved = hashlib.sha256(f"{instance_type}/{zone}/{slot}".encode()).digest()[0]
    share = LOWEST + (HIGHEST - LOWEST) * drawn // 255 + moved % 5 - 2
    return (on_demand(instance_type, zone[:-1]) * share / 100).quantize(Decimal("0.000001"))


def history(
    offerings: Iterable[dict[str, Any]], *, start: datetime | None, end: datetime | None, now: datetime
) -> list[dict[str, str]]:
    """The prices of some offerings (``InstanceType``, ``Location``), newest first.

    As the real one: between ``start`` and ``end`` every change, and the price that held at ``start``; without either,
    the current price alone.
    """
    end = min(end or now, now)
    start = min(start or end, end)
    step = timedelta(hours=CHANGE_HOURS)
    first = datetime.fromtimestamp(
        int(start.timestamp()) // int(step.total_seconds()) * step.total_seconds(), UTC
    )
    times = [first + step * count for count in range(int((end - first) / step) + 1)]
    return [
        {
            "InstanceType": each["InstanceType"],
            "ProductDescription": PRODUCT,
            "SpotPrice": str(spot_price(each["InstanceType"], each["Location"], at)),
            "AvailabilityZone": each["Location"],
            "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }
        for at in reversed(times)
        for each in offerings
    ]


def make_request(backend: Any, record: Any, options: dict[str, Any], again: Callable[[], Any]) -> Any:
    """The spot request behind an instance that RunInstances launched; ``again`` launches the next one.

    In moto's thread only.
    """
    from moto.ec2.models.spot_requests import SpotInstanceRequest  # noqa: PLC0415 - heavy
    from moto.ec2.utils import random_spot_request_id  # noqa: PLC0415

    class Fulfilled(SpotInstanceRequest):
        def launch_instance(self) -> Any:
            return record

    request = Fulfilled(
        backend,
        random_spot_request_id(),
        price=str(options.get("MaxPrice") or on_demand(record.instance_type, record.region_name)),
        image_id=record.image_id,
        spot_instance_type=options.get("SpotInstanceType", "one-time"),
        valid_from=None,
        valid_until=None,
        launch_group=None,
        availability_zone_group=None,
        key_name=record.key_name,
        security_groups=[],
        user_data=None,
        instance_type=record.instance_type,
        placement=record.placement.zone,
        kernel_id=None,
        ramdisk_id=None,
        monitoring_enabled=False,
        subnet_id=record.subnet_id,
        tags={},
        spot_fleet_id=None,
        instance_interruption_behaviour=options.get("InstanceInterruptionBehavior"),
    )
    backend.spot_instance_requests[request.id] = request
    vars(request).update(launch_instance=again, made_at=datetime.now(UTC))
    tie(record, request)
    return request


def has_role(iam: Any) -> bool:
    """Whether the account has the spot market's own role."""
    return any("/aws-service-role/spot.amazonaws.com/" in str(role.arn) for role in list(iam.roles.values()))


def make_role(iam: Any) -> None:
    """The service-linked role that the first use of the spot market leaves in an account. In moto's thread only."""
    if not has_role(iam):
        made = iam.create_service_linked_role(
            "spot.amazonaws.com", "Default EC2 Spot Service Linked Role", ""
        )
        made.name = ROLE


def tie(record: Any, request: Any) -> None:
    """An instance fulfils a request. In moto's thread only."""
    record.lifecycle = "spot"
    record.instance_lifecycle = "spot"
    record.spot_instance_request_id = request.id
    record.spot_request = request
    request.instance = record
    say(request, "active", "fulfilled")


def say(request: Any, state: str, code: str) -> None:
    """Write a request's state and status. In moto's thread only."""
    request.state = state
    request._status_code = code  # noqa: SLF001 - moto's record of the status
    request.status_message = WORDS.get(code, "")
    request.said_at = datetime.now(UTC)


def request_of(record: Any) -> Any:
    """The spot request behind an instance; None for one on demand."""
    return getattr(record, "spot_request", None)


def mark(record: Any, code: str) -> None:
    """Say on an instance's spot request what is about to happen. In moto's thread only."""
    if (request := request_of(record)) is not None:
        say(request, request.state, code)


def gone(record: Any, reason: str) -> None:
    """The instance was terminated: a one-time request is closed, a persistent one open again. In moto's thread only."""
    request = request_of(record)
    if request is not None:
        after = {"cancelled": "cancelled"}.get(request.state) or ("closed" if one_time(record) else "open")
        say(request, after, _TERMINATED.get(reason, "instance-terminated-by-service"))


def stopped(record: Any, reason: str) -> None:
    """The instance was stopped: its persistent request waits, until it is started again. In moto's thread only."""
    request = request_of(record)
    if request is not None and request.state == "active":
        by = (
            "instance-stopped-no-capacity"
            if reason == "Server.SpotInstanceShutdown"
            else "instance-stopped-by-user"
        )
        say(request, "disabled", by)


def started(record: Any) -> None:
    """The instance starts again. In moto's thread only."""
    request = request_of(record)
    if request is not None and request.state == "disabled":
        say(request, "active", "fulfilled")


def one_time(record: Any) -> bool:
    """Whether the instance belongs to a one-time spot request: it can be terminated, not stopped."""
    request = request_of(record)
    return record.lifecycle == "spot" and (request is None or request.type == "one-time")
