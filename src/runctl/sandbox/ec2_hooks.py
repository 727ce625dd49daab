"""Where moto's EC2 is bent: what a real launch checks, and who is told that an instance should change its state.

moto's methods are replaced on their classes, once a process, because fleets, auto scaling and spot requests call the
same ones. Everything here runs in moto's thread.
"""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from runctl.sandbox import spot

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.ec2_rules import Ec2

_ROOTS = ("/dev/sda1", "/dev/xvda")


def install(ec2: Ec2) -> None:
    """Bend moto's classes. To be called once, in moto's thread, when ``moto.ec2`` has been loaded."""
    from moto.ec2.utils import filter_dict_attribute_mapping  # noqa: PLC0415 - heavy

    filter_dict_attribute_mapping["client-token"] = "client_token"  # moto keeps it and does not search by it
    _Launches(ec2).install()
    _States(ec2).install()
    _Storage(ec2).install()


def refuse(code: str, message: str) -> Exception:
    """An EC2 error as moto raises them."""
    from moto.ec2.exceptions import EC2ClientError  # noqa: PLC0415 - heavy

    error: Exception = EC2ClientError(code, message)
    return error


def _replace(owner: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


class _Launches:
    """RunInstances and RequestSpotInstances."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._tokens: dict[tuple[str, str], tuple[str, Any]] = {}
        self._spot_options: dict[str, Any] | None = None  # of the RunInstances call in progress
        ec2.cloud.resets.append(self._tokens.clear)

    def install(self) -> None:
        from moto.ec2.models.instances import InstanceBackend  # noqa: PLC0415 - heavy
        from moto.ec2.responses.instances import InstanceResponse  # noqa: PLC0415
        from moto.ec2.responses.spot_instances import SpotInstances  # noqa: PLC0415

        run = self._run
        _replace(InstanceResponse, "run_instances", lambda original: lambda response: run(response, original))
        _replace(InstanceBackend, "run_instances", self._launch)
        _replace(SpotInstances, "request_spot_instances", self._request_spot)
        _replace(SpotInstances, "describe_spot_price_history", self._history)

    def _run(self, response: Any, original: Callable[[Any], Any]) -> Any:
        """The call: counts, the client's token, then moto; every instance gets the profile, not only the first."""
        from moto.core.responses import ActionResult  # noqa: PLC0415 - heavy

        params = response.params
        least, most = int(params.get("MinCount", 1)), int(params.get("MaxCount", 1))
        if not 1 <= least <= most:
            raise refuse("InvalidParameterValue", f"MinCount {least} and MaxCount {most} do not go together")
        token = params.get("ClientToken", "")
        said = json.dumps(
            {k: v for k, v in params.items() if k != "ClientToken"}, sort_keys=True, default=str
        )
        known = self._tokens.get((response.region, token))
        if token and known:
            if known[0] != said:
                raise refuse(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                )
            return ActionResult(known[1])
        params["MinCount"] = most
        market = params.get("InstanceMarketOptions") or {}
        self._spot_options = (
            dict(market.get("SpotOptions") or {}) if market.get("MarketType") == "spot" else None
        )
        try:
            result = original(response)
        finally:
            self._spot_options = None
        self._give_profile(
            response.ec2_backend, result.result.instances, params.get("IamInstanceProfile") or {}
        )
        if token:
            self._tokens[response.region, token] = (said, result.result)
        return result

    @staticmethod
    def _give_profile(backend: Any, instances: list[Any], profile: dict[str, str]) -> None:
        for each in instances if profile else ():
            if each.id not in backend.iam_instance_profile_associations:
                backend.associate_iam_instance_profile(
                    each.id,
                    iam_instance_profile_name=profile.get("Name"),
                    iam_instance_profile_arn=profile.get("Arn"),
                )

    def _launch(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_instances(
            backend: Any, image_id: str, count: int, user_data: Any, groups: Any, **more: Any
        ) -> Any:
            options = self._spot_options
            is_spot = options is not None or more.get("lifecycle") == "spot"
            self._check_place(backend, more, is_spot=is_spot)
            if options is not None:
                _check_price(backend, more, options)
            made = original(backend, image_id, count, user_data, groups, **more)
            for record in made.instances:
                if options is not None:
                    spot.make_request(backend, record, options)
                self._ec2.on_launch(record, backend.region_name)
            return made

        def with_names(
            backend: Any,
            image_id: str,
            count: int,
            user_data: Any = None,
            security_group_names: Any = (),
            **more: Any,
        ) -> Any:
            return run_instances(backend, image_id, count, user_data, security_group_names, **more)

        return with_names

    def _check_place(self, backend: Any, more: dict[str, Any], *, is_spot: bool) -> None:
        """Ask the weather for room; without a zone asked for, the first zone that has room is taken.

        Raises:
            EC2ClientError: InsufficientInstanceCapacity, or what the rule says.
        """
        facts = {
            "service": "ec2",
            "action": "RunInstances",
            "region": backend.region_name,
            "instance_type": more.get("instance_type") or "m1.small",
            "market": "spot" if is_spot else "on-demand",
        }
        weather = self._ec2.cloud.weather
        given = more.get("placement") or ""
        subnet = more.get("subnet_id") or next(
            (nic["SubnetId"] for nic in more.get("nics") or () if "SubnetId" in nic), None
        )
        if subnet:
            given = backend.get_subnet(subnet).availability_zone
        fault = weather.fault({**facts, "zone": given} if given else facts, kinds=("capacity",))
        if fault is None and not given:
            for zone in (each.name for each in backend.describe_availability_zones()):
                fault = weather.fault({**facts, "zone": zone}, kinds=("capacity",), naming="zone")
                if fault is None:
                    given = zone
                    break
        if fault is not None:
            raise refuse(fault.code, fault.message)
        if not subnet and not more.get("nics"):
            more["subnet_id"] = _default_subnet(backend, given)

    def _request_spot(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def request_spot_instances(response: Any) -> Any:
            result = original(response)
            profile = (response.params.get("LaunchSpecification") or {}).get("IamInstanceProfile") or {}
            for request in result.result["SpotInstanceRequests"]:
                spot.tie(request.instance, request)
                self._give_profile(response.ec2_backend, [request.instance], profile)
            return result

        return request_spot_instances

    def _history(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def describe_spot_price_history(response: Any) -> Any:
            from moto.core.responses import ActionResult  # noqa: PLC0415 - heavy

            params = response.params
            offerings = response.ec2_backend.describe_spot_price_history(
                params.get("InstanceTypes") or [],
                response._filters_from_querystring(),  # noqa: SLF001 - moto's parser
            )
            zone = params.get("AvailabilityZone")
            products = params.get("ProductDescriptions") or [spot.PRODUCT]
            found = spot.history(
                [each for each in offerings if zone in (None, each["Location"])],
                start=_time(params.get("StartTime")),
                end=_time(params.get("EndTime")),
                now=datetime.fromtimestamp(self._ec2.cloud.state.now(), UTC),
            )
            found = found if any(each.startswith(spot.PRODUCT) for each in products) else []
            at, size = int(params.get("NextToken") or 0), min(int(params.get("MaxResults") or 1000), 1000)
            token = str(at + size) if at + size < len(found) else ""
            return ActionResult({"SpotPriceHistory": found[at : at + size], "NextToken": token})

        del original
        return describe_spot_price_history


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _check_price(backend: Any, more: dict[str, Any], options: dict[str, Any]) -> None:
    """Raises EC2ClientError SpotMaxPriceTooLow when the market asks more than the user gives."""
    if not options.get("MaxPrice"):
        return
    zone = more.get("placement") or backend.region_name + "a"
    price = spot.spot_price(more.get("instance_type") or "m1.small", zone, datetime.now(UTC))
    try:
        given = Decimal(str(options["MaxPrice"]))
    except InvalidOperation:
        raise refuse("InvalidParameterValue", f"MaxPrice {options['MaxPrice']!r} is no price") from None
    if given < price:
        raise refuse(
            "SpotMaxPriceTooLow",
            f"Your Spot request price of {given} is lower than the minimum required Spot request fulfillment price of {price}.",
        )


def _default_subnet(backend: Any, zone: str) -> str | None:
    """The subnet that EC2 takes when none is asked for: the default VPC's in that zone; None when there is none."""
    found = [
        each for each in backend.describe_subnets() if each.default_for_az and each.availability_zone == zone
    ]
    return str(found[0].id) if found else None


def _unbound(method: Callable[[Any, list[str]], Any]) -> Callable[[Any, list[str]], Any]:
    """A function, which a class binds to its instances; a bound method it would not."""
    return lambda backend, instance_ids: method(backend, instance_ids)  # noqa: PLW0108 - that is the point


class _States:
    """Start, stop, reboot, terminate: refused where EC2 refuses them, and told to whoever moves the machines."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2

    def install(self) -> None:
        from moto.ec2.models.instances import InstanceBackend  # noqa: PLC0415 - heavy
        from moto.ec2.models.tags import TagBackend  # noqa: PLC0415

        _replace(InstanceBackend, "start_instances", lambda _: _unbound(self._start))
        _replace(InstanceBackend, "stop_instances", lambda _: _unbound(self._stop))
        _replace(InstanceBackend, "reboot_instances", lambda _: _unbound(self._reboot))
        _replace(InstanceBackend, "terminate_instances", self._terminate)
        _replace(TagBackend, "create_tags", self._retag)
        _replace(TagBackend, "delete_tags", self._retag)

    def _start(self, backend: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
        found = _in_states(backend, instance_ids, "started", ("stopped", "pending", "running"))
        return [_moved(each, self._ec2.on_start) for each in found]

    def _stop(self, backend: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
        from moto.ec2.exceptions import OperationDisableApiStopNotPermitted  # noqa: PLC0415 - heavy

        found = _in_states(backend, instance_ids, "stopped", ("pending", "running", "stopping", "stopped"))
        for each in found:
            if each.disable_api_stop is True:
                raise OperationDisableApiStopNotPermitted(each.id)
            if spot.one_time(each):
                raise refuse(
                    "UnsupportedOperation",
                    f"You can't stop the Spot Instance '{each.id}' because it is associated with a one-time Spot "
                    "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
                )
        return [_moved(each, self._ec2.on_stop) for each in found]

    def _reboot(self, backend: Any, instance_ids: list[str]) -> list[Any]:
        found = _in_states(backend, instance_ids, "rebooted", ("running",))
        for each in found:
            self._ec2.on_reboot(each)
        return found

    def _terminate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def terminate_instances(backend: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
            found = backend.get_multi_instances_by_id(instance_ids)
            gone = {each.id: _copy(each) for each in found if each.state in ("shutting-down", "terminated")}
            alive = [each.id for each in found if each.id not in gone]
            moved = original(backend, alive) if alive or not instance_ids else []
            for each, _ in moved:
                self._ec2.on_terminate(each)
            before = {each.id: previous for each, previous in moved} | gone
            return [(each, before[each.id]) for each in found]

        return terminate_instances

    def _retag(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def changed(backend: Any, resource_ids: list[str], tags: dict[str, str]) -> Any:
            result = original(backend, resource_ids, tags)
            for each in resource_ids:
                facts = self._ec2.describe(each)
                if facts is not None and facts.state == "running":
                    self._ec2.go(self._tell(each, dict(facts.tags)))
            return result

        return changed

    async def _tell(self, instance: str, tags: dict[str, str]) -> None:
        self._ec2.machines.retag(instance, tags)


def _in_states(backend: Any, instance_ids: list[str], verb: str, states: tuple[str, ...]) -> list[Any]:
    found: list[Any] = backend.get_multi_instances_by_id(instance_ids)
    for each in found:
        if each.state not in states:
            raise refuse(
                "IncorrectInstanceState",
                f"The instance '{each.id}' is not in a state from which it can be {verb}.",
            )
    return found


def _copy(record: Any) -> Any:
    import copy  # noqa: PLC0415 - next to its only use

    return copy.copy(record._state)  # noqa: SLF001 - moto's own record of the state


def _moved(record: Any, move: Callable[[Any], None]) -> tuple[Any, Any]:
    """The instance with the state it had before."""
    before = _copy(record)
    move(record)
    return record, before


class _Storage:
    """Volumes, snapshots and images hold bytes."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2

    def install(self) -> None:
        from moto.ec2.models.amis import AmiBackend  # noqa: PLC0415 - heavy
        from moto.ec2.models.elastic_block_store import EBSBackend  # noqa: PLC0415

        _replace(EBSBackend, "create_volume", self._create_volume)
        _replace(EBSBackend, "attach_volume", self._attach)
        _replace(EBSBackend, "detach_volume", self._detach)
        _replace(EBSBackend, "delete_volume", self._delete_volume)
        _replace(EBSBackend, "create_snapshot", self._snapshot)
        _replace(AmiBackend, "create_image", self._image)
        _replace(AmiBackend, "copy_image", self._copy_image)

    def _create_volume(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_volume(backend: Any, *args: Any, **named: Any) -> Any:
            volume = original(backend, *args, **named)
            if volume.snapshot_id:
                self._ec2.go(self._copy_bytes(volume.snapshot_id, volume.id))
            return volume

        return create_volume

    async def _copy_bytes(self, source: str, target: str) -> None:
        await self._ec2.machines.copy_volume(source, target)

    def _attach(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def attach_volume(
            backend: Any, volume_id: str, instance_id: str, device_path: str, *more: Any, **named: Any
        ) -> Any:
            result = original(backend, volume_id, instance_id, device_path, *more, **named)
            facts = self._ec2.describe(instance_id)
            if facts is not None and facts.state in ("running", "stopped") and device_path not in _ROOTS:
                size = int(backend.get_volume(volume_id).size or 8)
                self._ec2.go(self._do_attach(instance_id, volume_id, device_path, size))
            return result

        return attach_volume

    async def _do_attach(self, instance: str, volume: str, device: str, size: int) -> None:
        await self._ec2.machines.attach_volume(instance, volume, device, gib=size)

    def _detach(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def detach_volume(backend: Any, volume_id: str, instance_id: str, device_path: str) -> Any:
            result = original(backend, volume_id, instance_id, device_path)
            self._ec2.go(self._ec2.machines.detach_volume(instance_id, volume_id))
            return result

        return detach_volume

    def _delete_volume(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def delete_volume(backend: Any, volume_id: str) -> Any:
            result = original(backend, volume_id)
            self._ec2.go(self._ec2.machines.delete_volume(volume_id))
            return result

        return delete_volume

    def _snapshot(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_snapshot(backend: Any, volume_id: str, *args: Any, **named: Any) -> Any:
            snapshot = original(backend, volume_id, *args, **named)
            self._ec2.go(self._copy_bytes(volume_id, snapshot.id))
            return snapshot

        return create_snapshot

    def _image(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_image(backend: Any, instance_id: str, *args: Any, **named: Any) -> Any:
            ami = original(backend, instance_id, *args, **named)
            ami.state = "pending"
            self._ec2.go(self._copy_disk(instance_id, ami))
            return ami

        return create_image

    async def _copy_disk(self, instance: str, ami: Any) -> None:
        try:
            self._ec2.images[ami.id] = await self._ec2.machines.snapshot_disk(instance)
        except OSError:
            ami.state = "failed"
            raise
        ami.state = "available"

    def _copy_image(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def copy_image(backend: Any, source_image_id: str, *args: Any, **named: Any) -> Any:
            ami = original(backend, source_image_id, *args, **named)
            if source_image_id in self._ec2.images:
                self._ec2.images[ami.id] = self._ec2.images[source_image_id]
            return ami

        return copy_image
