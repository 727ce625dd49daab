"""Fleets: instances bought at the cheapest places that have room, and bought again when they are lost.

EC2 Fleet and Spot Fleet are moto's records; what they launch, where, and what they do about a loss, is decided here.
Everything runs in moto's thread.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from runctl.sandbox import spot
from runctl.sandbox.ec2_launches import Wish
from runctl.sandbox.moto_bend import override, refuse, replace
from runctl.sandbox.pricing import on_demand
from runctl.sandbox.spot_requests import profile_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.ec2_rules import Ec2

_ALIVE = ("pending", "running", "stopping", "stopped")


class Fleets:
    """What fleets buy."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2

    def install(self) -> None:
        """Bend moto's classes."""
        from moto.ec2.models.fleets import Fleet  # noqa: PLC0415 - heavy
        from moto.ec2.models.spot_requests import SpotFleetRequest  # noqa: PLC0415
        from moto.ec2.responses.fleets import Fleets as FleetCalls  # noqa: PLC0415
        from moto.ec2.responses.spot_fleets import SpotFleets  # noqa: PLC0415

        override(Fleet, "create_spot_requests", self._buy_spot)
        override(Fleet, "create_on_demand_requests", self._buy_on_demand)
        override(SpotFleetRequest, "create_spot_requests", self._buy_spot)
        for owner in (Fleet, SpotFleetRequest):
            override(owner, "terminate_instances", _shrink)
        replace(FleetCalls, "create_fleet", _tell_shortage)
        replace(FleetCalls, "delete_fleets", _known_fleets)
        replace(SpotFleets, "request_spot_fleet", _complete_request)
        for name in ("modify_spot_fleet_request", "cancel_spot_fleet_requests"):
            replace(SpotFleets, name, _known_spot_fleets)

    def _buy_spot(self, fleet: Any, weight: float) -> list[Any]:
        self._buy(fleet, weight, self._one_spot, is_spot=True)
        requests: list[Any] = fleet.spot_requests
        return requests

    def _buy_on_demand(self, fleet: Any, weight: float) -> None:
        self._buy(fleet, weight, self._one_on_demand, is_spot=False)

    def _buy(self, fleet: Any, weight: float, one: Callable[[Any, Any], Any], *, is_spot: bool) -> None:
        """Launch one after the other until the weight is there or nobody has room; ``fleet.shortage`` says who had none."""
        from moto.ec2.exceptions import EC2ClientError  # noqa: PLC0415 - heavy

        places, left, turn = _ordered(fleet, is_spot=is_spot), weight, 0
        shortage: list[tuple[Any, bool, str, str]] = []
        while left > 0 and places:
            spec = places[turn % len(places)]
            try:
                one(fleet, spec)
            except EC2ClientError as error:
                shortage.append((spec, is_spot, error.code, error.message))
                places.remove(spec)
                continue
            left -= spec.weighted_capacity
            turn += _strategy(fleet, is_spot=is_spot) == "diversified"
        fleet.shortage = getattr(fleet, "shortage", []) + shortage
        count(fleet)
        if left > 0:
            self._ec2.refill.wake()

    def _one_spot(self, fleet: Any, spec: Any) -> None:
        backend, more = fleet.ec2_backend, spec.overrides or {}
        [request] = backend.request_spot_instances(
            price=more.get("MaxPrice") or spec.spot_price,
            image_id=spec.image_id,
            count=1,
            spot_instance_type="one-time",  # the fleet buys again, not the request
            valid_from=None,
            valid_until=None,
            launch_group=None,
            availability_zone_group=None,
            key_name=spec.key_name,
            security_groups=spec.group_set,
            user_data=spec.user_data,
            instance_type=spec.instance_type,
            placement=_zone(spec),
            kernel_id=None,
            ramdisk_id=None,
            monitoring_enabled=False,
            subnet_id=spec.subnet_id,
            spot_fleet_id=fleet.id,
            tags=spec.tag_specifications,
            launch_spec=spec,
        )
        if request.instance is None:
            del backend.spot_instance_requests[request.id]
            raise refuse(*request.refusal)
        _tag(fleet, request.instance)
        fleet.spot_requests.append(request)

    def _one_on_demand(self, fleet: Any, spec: Any) -> None:
        made = fleet.ec2_backend.run_instances(
            image_id=spec.image_id,
            count=1,
            user_data=spec.user_data,
            security_group_names=spec.group_set,
            instance_type=spec.instance_type,
            is_instance_type_default=False,
            key_name=spec.key_name,
            placement=_zone(spec),
            subnet_id=spec.subnet_id,
            fleet_id=fleet.id,
            tags=spec.tag_specifications,
            launch_template=spec.launch_template_spec,
            wish=Wish(profile_of(spec)),
        )
        [record] = made.instances
        _tag(fleet, record)
        fleet.on_demand_instances.append({"id": None, "instance": record, "launch_spec": spec})


def _shrink(fleet: Any) -> None:
    """Terminate what is more than the target."""
    count(fleet)
    bought = [(each.instance, each.launch_spec) for each in fleet.spot_requests]
    bought += [(each["instance"], each["launch_spec"]) for each in getattr(fleet, "on_demand_instances", [])]
    surplus, ending = fleet.fulfilled_capacity - fleet.target_capacity, []
    for record, spec in bought:
        if surplus >= spec.weighted_capacity:
            surplus -= spec.weighted_capacity
            ending.append(record.id)
    if ending:
        fleet.ec2_backend.terminate_instances(ending)
    count(fleet)


def count(fleet: Any) -> None:
    """What a fleet has now: its instances that are not gone, by weight."""
    fleet.spot_requests = [each for each in fleet.spot_requests if each.instance.state in _ALIVE]
    fleet.fulfilled_capacity = sum(each.launch_spec.weighted_capacity for each in fleet.spot_requests)
    if hasattr(fleet, "on_demand_instances"):
        fleet.on_demand_instances = [
            each for each in fleet.on_demand_instances if each["instance"].state in _ALIVE
        ]
        fleet.fulfilled_on_demand_capacity = sum(
            each["launch_spec"].weighted_capacity for each in fleet.on_demand_instances
        )
        fleet.fulfilled_spot_capacity = fleet.fulfilled_capacity
        fleet.fulfilled_capacity += fleet.fulfilled_on_demand_capacity


def refill(backend: Any) -> bool:
    """Buy again what the fleets of a region have lost, those that are kept up; whether anything is still missing."""
    missing = False
    for fleet in list(backend.fleets.values()):
        count(fleet)
        if fleet.state != "active" or fleet.fleet_type != "maintain":
            continue
        spot_wanted, other_wanted = _targets(fleet)
        if (lack := spot_wanted - fleet.fulfilled_spot_capacity) > 0:
            fleet.create_spot_requests(lack)
        if (lack := other_wanted - fleet.fulfilled_on_demand_capacity) > 0:
            fleet.create_on_demand_requests(lack)
        missing |= fleet.fulfilled_capacity < spot_wanted + other_wanted
    for request in list(backend.spot_fleet_requests.values()):
        count(request)
        lack = request.target_capacity - request.fulfilled_capacity
        if request.state == "active" and request.fleet_type == "maintain" and lack > 0:
            request.create_spot_requests(lack)
            missing |= request.fulfilled_capacity < request.target_capacity
    return missing


def _targets(fleet: Any) -> tuple[float, float]:
    """How much of a fleet is to be spot, and how much on demand."""
    rest = max(0, fleet.target_capacity - fleet.spot_target_capacity - fleet.on_demand_target_capacity)
    is_spot = fleet.target_capacity_specification.get("DefaultTargetCapacityType") == "spot"
    return (
        fleet.spot_target_capacity + (rest if is_spot else 0),
        fleet.on_demand_target_capacity + (0 if is_spot else rest),
    )


def _strategy(fleet: Any, *, is_spot: bool) -> str:
    """The allocation strategy, in the words of EC2 Fleet."""
    if hasattr(fleet, "allocation_strategy"):  # a Spot Fleet
        given = str(fleet.allocation_strategy)
        return {"lowestPrice": "lowest-price"}.get(given, given)
    options = fleet.spot_options if is_spot else fleet.on_demand_options
    return str((options or {}).get("AllocationStrategy") or "lowest-price")


def _ordered(fleet: Any, *, is_spot: bool) -> list[Any]:
    """The launch specifications in the order they are tried: by priority where the strategy says so, else by price."""
    by_priority = "rioritized" in _strategy(fleet, is_spot=is_spot)
    region, now = fleet.ec2_backend.region_name, datetime.now(UTC)

    def rank(spec: Any) -> Decimal:
        if by_priority:
            return Decimal(str((spec.overrides or {}).get("Priority", "Infinity")))
        zone = _zone(spec) or f"{region}a"
        price = (
            spot.spot_price(spec.instance_type, zone, now)
            if is_spot
            else on_demand(spec.instance_type, region)
        )
        return price / Decimal(str(spec.weighted_capacity))

    return sorted(fleet.launch_specs, key=rank)


def _zone(spec: Any) -> str | None:
    zone = (spec.overrides or {}).get("AvailabilityZone")
    return None if zone is None else str(zone)


def _tag(fleet: Any, record: Any) -> None:
    """The tag by which EC2 says whose an instance is."""
    key = "aws:ec2spot:fleet-request-id" if hasattr(fleet, "allocation_strategy") else "aws:ec2:fleet-id"
    record.add_tags({key: fleet.id})


def _tell_shortage(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """CreateFleet of an instant fleet says what it could not buy."""

    def create_fleet(response: Any) -> Any:
        answer = original(response)
        fleet = response.ec2_backend.fleets[answer.result["FleetId"]]
        if fleet.fleet_type == "instant":
            answer.result["Errors"] = [
                {
                    "LaunchTemplateAndOverrides": {
                        "LaunchTemplateSpecification": spec.launch_template_spec,
                        "Overrides": spec.overrides or {},
                    },
                    "Lifecycle": "spot" if is_spot else "on-demand",
                    "ErrorCode": code,
                    "ErrorMessage": message,
                }
                for spec, is_spot, code, message in fleet.shortage
            ]
        return answer

    return create_fleet


def _known_fleets(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """DeleteFleets says of each id that is none."""

    def delete_fleets(response: Any) -> Any:
        asked = response.params.get("FleetIds") or []
        there = [each for each in asked if each in response.ec2_backend.fleets]
        response.params["FleetIds"] = there
        answer = original(response)
        answer.result["UnsuccessfulFleetDeletions"] = [
            {
                "FleetId": each,
                "Error": {"Code": "fleetIdDoesNotExist", "Message": f"there is no fleet {each}"},
            }
            for each in asked
            if each not in there
        ]
        return answer

    return delete_fleets


def _known_spot_fleets(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """ModifySpotFleetRequest and CancelSpotFleetRequests refuse an id that is none."""

    def checked(response: Any) -> Any:
        params = response.params
        for each in params.get("SpotFleetRequestIds") or [params.get("SpotFleetRequestId", "")]:
            if each not in response.ec2_backend.spot_fleet_requests:
                raise refuse("InvalidSpotFleetRequestId.NotFound", f"there is no Spot Fleet request {each}")
        return original(response)

    return checked


def _complete_request(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """RequestSpotFleet with the defaults that moto wants to be given, and profiles by name too."""

    def request_spot_fleet(response: Any) -> Any:
        config = response.params["SpotFleetRequestConfig"]
        config.setdefault("AllocationStrategy", "lowestPrice")
        for spec in config.get("LaunchSpecifications") or []:
            profile = spec.get("IamInstanceProfile") or {}
            if profile.get("Name") and not profile.get("Arn"):
                spec["IamInstanceProfile"] = {"Arn": _arn(response.ec2_backend, profile["Name"])}
        answer = original(response)
        made = response.ec2_backend.spot_fleet_requests[answer.result["SpotFleetRequestId"]]
        made.fleet_type = config.get("Type", "maintain")
        return answer

    return request_spot_fleet


def _arn(backend: Any, name: str) -> str:
    return f"arn:{backend.partition}:iam::{backend.account_id}:instance-profile/{name}"
