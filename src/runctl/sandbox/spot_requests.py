"""Spot requests as the service keeps them: open until there is room, cancelled but not forgotten. In moto's thread."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from runctl.sandbox import spot
from runctl.sandbox.ec2_launches import Wish, check_profile
from runctl.sandbox.moto_bend import is_no_room, override, refuse, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.ec2_rules import Ec2


# what DescribeSpotInstanceRequests shows of a request in another way than moto
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "create_time": lambda each: each.made_at,
    "instance_id": lambda each: each.instance and each.instance.id,
    "launched_availability_zone": lambda each: each.instance and each.instance.placement.zone,
    "status": lambda each: {
        "Code": each._status_code,  # noqa: SLF001 - moto's record of the status
        "Message": each.status_message,
        "UpdateTime": each.said_at,
    },
}


class SpotRequests:
    """RequestSpotInstances, its cancelling, and the price history."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._profile: dict[str, str] = {}  # of the RequestSpotInstances call in progress

    def install(self) -> None:
        """Bend moto's classes."""
        from moto.ec2.models.spot_requests import (  # noqa: PLC0415 - heavy
            SpotInstanceRequest,
            SpotRequestBackend,
        )
        from moto.ec2.responses.spot_instances import SpotInstances  # noqa: PLC0415

        call = self._call
        replace(SpotInstances, "request_spot_instances", lambda asked: lambda response: call(response, asked))
        override(SpotInstances, "describe_spot_price_history", self._history)
        replace(SpotRequestBackend, "request_spot_instances", self._request)
        replace(SpotRequestBackend, "describe_spot_instance_requests", _describe)
        override(SpotRequestBackend, "cancel_spot_instance_requests", _cancel)
        override(SpotInstanceRequest, "launch_instance", self._launch)
        for name, look in _FIELDS.items():
            setattr(SpotInstanceRequest, name, property(look))

    def _call(self, response: Any, original: Callable[[Any], Any]) -> Any:
        """The call: moto passes neither the profile on, nor what an interruption shall do."""
        params = response.params
        behavior = params.get("InstanceInterruptionBehavior", "terminate")
        if behavior == "hibernate":
            raise refuse("UnsupportedOperation", "the sandbox's instances do not hibernate")
        if behavior == "stop" and params.get("Type", "one-time") == "one-time":
            raise refuse(
                "InvalidParameterCombination",
                "an instance of a one-time Spot request cannot be stopped by an interruption",
            )
        self._profile = (params.get("LaunchSpecification") or {}).get("IamInstanceProfile") or {}
        check_profile(response.ec2_backend, self._profile)
        try:
            return original(response)
        finally:
            self._profile = {}

    def _request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def request_spot_instances(backend: Any, *args: Any, **named: Any) -> list[Any]:
            made: list[Any] = original(backend, *args, **named)
            for each in made:
                each.made_at = datetime.now(UTC)
                if each.instance is None:
                    spot.say(each, "open", each.held)
                    self._ec2.refill.wake()
            return made

        return request_spot_instances

    def _launch(self, request: Any) -> Any:
        """An instance for the request; None, and ``request.held`` says why, when there is none to be had.

        Raises:
            EC2ClientError: what was asked for cannot be had at all.
        """
        backend, asked, spec = request.ec2_backend, request.launch_specification, request.launch_spec
        request.__dict__.setdefault("profile", self._profile or profile_of(spec))
        zone = asked.availability_zone or f"{backend.region_name}a"
        price = spot.spot_price(asked.instance_type, zone, datetime.now(UTC))
        if request.price and Decimal(str(request.price)) < price:
            request.held, request.refusal = (
                "price-too-low",
                ("SpotMaxPriceTooLow", f"the market asks {price}"),
            )
            return None
        template = getattr(spec, "launch_template_spec", None)
        own_groups = spec is None or spec.group_set or not template  # else those of the template
        try:
            made = backend.run_instances(
                image_id=asked.image_id,
                count=1,
                user_data=request.user_data,
                security_group_names=[],
                security_group_ids=list(asked.groups) if own_groups else [],
                instance_type=asked.instance_type,
                is_instance_type_default=not asked.instance_type,
                placement=asked.availability_zone,
                subnet_id=asked.subnet_id,
                key_name=asked.key_name,
                spot_fleet_id=request.spot_fleet_id,
                tags=request.all_tags,
                launch_template=template,
                lifecycle="spot",
                wish=Wish(request.profile),
            )
        except Exception as error:
            if not is_no_room(error):
                raise
            request.held, request.refusal = "capacity-not-available", (error.code, error.message)  # type: ignore[attr-defined]
            return None
        [record] = made.instances
        spot.tie(record, request)
        return record

    def _history(self, response: Any) -> Any:
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


def profile_of(spec: Any) -> dict[str, str]:
    """The instance profile of a fleet's launch specification, as the API writes it; empty for none."""
    held = getattr(
        spec, "_iam_instance_profile_arn", None
    )  # moto's record: an ARN, or what the template says
    return dict(held) if isinstance(held, dict) else {"Arn": held} if held else {}


def _describe(original: Callable[..., Any]) -> Callable[..., Any]:
    def describe_spot_instance_requests(
        backend: Any, filters: Any = None, spot_instance_ids: list[str] | None = None
    ) -> Any:
        _known(backend, spot_instance_ids or [])
        return original(backend, filters=filters, spot_instance_ids=spot_instance_ids)

    return describe_spot_instance_requests


def _cancel(backend: Any, request_ids: list[str]) -> list[Any]:
    found = _known(backend, request_ids)
    for each in found:
        runs = each.instance is not None and each.instance.state in (
            "pending",
            "running",
            "stopping",
            "stopped",
        )
        if each.state in ("open", "active", "disabled"):
            code = "request-canceled-and-instance-running" if runs else "canceled-before-fulfillment"
            spot.say(each, "cancelled", code)
    return found


def _known(backend: Any, request_ids: list[str]) -> list[Any]:
    """The requests of these ids. Raises EC2ClientError for one that is none."""
    for each in request_ids:
        if each not in backend.spot_instance_requests:
            raise refuse(
                "InvalidSpotInstanceRequestID.NotFound",
                f"The spot instance request ID '{each}' does not exist",
            )
    return [backend.spot_instance_requests[each] for each in request_ids]


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return at if at.tzinfo else at.replace(tzinfo=UTC)
