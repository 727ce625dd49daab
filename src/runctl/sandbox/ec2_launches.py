"""Launches: what a real one checks, what moto's leaves out, and the launch template behind it.

Everybody who launches, RunInstances, spot requests, fleets and auto scaling, goes through moto's one method
for it, and so through ``_launch`` here. Everything runs in moto's thread.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.sandbox import spot
from runctl.sandbox.moto_bend import refuse, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.ec2_rules import Ec2

ROOT_GIB = 8  # of a root volume whose size nobody said
# of a launch template, what moto's backend takes under another name and does not look for there
_FROM_TEMPLATE = {
    "BlockDeviceMappings": "block_device_mappings",
    "DisableApiStop": "disable_api_stop",
    "EbsOptimized": "ebs_optimized",
    "InstanceInitiatedShutdownBehavior": "instance_initiated_shutdown_behavior",
    "MetadataOptions": "metadata_options",
    "NetworkInterfaces": "nics",
}


class Wish(NamedTuple):
    """What a launch wants beside what moto's backend takes."""

    profile: dict[str, str]
    spot: dict[str, Any] | None = None  # SpotOptions; None: on demand, unless the template says otherwise
    protected: bool = False  # DisableApiTermination


class Launches:
    """RunInstances, and every other launch behind it."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._tokens: dict[tuple[str, str], tuple[str, Any]] = {}
        self._wish: Wish | None = None  # of the RunInstances call in progress
        ec2.cloud.resets.append(self._tokens.clear)

    def install(self) -> None:
        """Bend moto's classes."""
        from moto.ec2.models.instances import Instance, InstanceBackend  # noqa: PLC0415 - heavy
        from moto.ec2.responses.instances import InstanceResponse  # noqa: PLC0415

        run = self._run
        replace(InstanceResponse, "run_instances", lambda original: lambda response: run(response, original))
        replace(InstanceBackend, "run_instances", self._launch)
        replace(Instance, "setup_defaults", lambda _: _add_root)

    def _run(self, response: Any, original: Callable[[Any], Any]) -> Any:
        """The call: counts, the client's token, then moto."""
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
        profile = params.pop("IamInstanceProfile", None) or {}  # moto would give it to the first one only
        self._wish = Wish(
            profile,
            dict(market.get("SpotOptions") or {}) if market.get("MarketType") == "spot" else None,
            bool(params.get("DisableApiTermination")),
        )
        check_profile(response.ec2_backend, profile)
        if (params.get("HibernationOptions") or {}).get("Configured"):
            raise refuse("UnsupportedHibernationConfiguration", "the sandbox's instances do not hibernate")
        try:
            result = original(response)
        finally:
            self._wish = None
        if token:
            self._tokens[response.region, token] = (said, result.result)
        return result

    def _launch(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_instances(
            backend: Any,
            image_id: str,
            count: int,
            user_data: Any = None,
            security_group_names: Any = (),
            **more: Any,
        ) -> Any:
            wish, plain = more.pop("wish", None) or self._wish or Wish({}), dict(more)
            wish = _from_template(backend, more, wish)
            check_profile(backend, wish.profile)
            _check_key(backend, more.get("key_name"))
            is_spot = wish.spot is not None or more.get("lifecycle") == "spot"
            self._check_place(backend, more, is_spot=is_spot)
            if wish.spot is not None:
                _check_options(backend, more, wish.spot)

            def again() -> Any:
                renewed = {**plain, "lifecycle": "spot", "private_ip": None, "wish": wish._replace(spot=None)}
                made = run_instances(backend, image_id, 1, user_data, security_group_names, **renewed)
                return made.instances[0]

            made = original(backend, image_id, count, user_data, security_group_names, **more)
            for record in made.instances:
                record.disable_api_termination = wish.protected
                if record.root_device_name not in record.block_device_mapping:
                    _add_root(record)
                give_profile(backend, record, wish.profile)
                if wish.spot is not None:
                    spot.make_request(backend, record, wish.spot, again)
                self._ec2.on_launch(record, backend.region_name)
            if is_spot:
                spot.make_role(self._ec2.moto.backend("iam", "aws"))
            return made

        return run_instances

    def _check_place(self, backend: Any, more: dict[str, Any], *, is_spot: bool) -> None:
        """Ask the weather for room; without a zone asked for, the first zone that has room is taken.

        Raises:
            EC2ClientError: InsufficientInstanceCapacity, or what the rule says.
        """
        kind = more.get("instance_type") or "m1.small"
        given = more.get("placement") or ""
        subnet = more.get("subnet_id") or next(
            (nic["SubnetId"] for nic in more.get("nics") or () if "SubnetId" in nic), None
        )
        if subnet:
            given = backend.get_subnet(subnet).availability_zone
        zones = [] if given else [str(each.name) for each in backend.describe_availability_zones()]
        zone = self._ec2.take_place(backend.region_name, kind, given, zones, is_spot=is_spot)
        if not subnet and not more.get("nics"):
            more["subnet_id"] = _default_subnet(backend, zone)


def check_profile(backend: Any, profile: dict[str, str]) -> None:
    """Raises EC2ClientError when there is no such instance profile."""
    from moto.core.exceptions import ServiceException  # noqa: PLC0415 - heavy
    from moto.ec2.utils import filter_iam_instance_profiles  # noqa: PLC0415

    if not profile:
        return
    field, value = ("arn", profile["Arn"]) if profile.get("Arn") else ("name", profile.get("Name", ""))
    try:
        filter_iam_instance_profiles(
            backend.account_id,
            partition=backend.partition,
            iam_instance_profile_arn=profile.get("Arn"),
            iam_instance_profile_name=profile.get("Name"),
        )
    except ServiceException:
        raise refuse(
            "InvalidParameterValue",
            f"Value ({value}) for parameter iamInstanceProfile.{field} is invalid. Invalid IAM Instance Profile {field}",
        ) from None


def _check_key(backend: Any, name: str | None) -> None:
    """Raises EC2ClientError when there is no such key pair."""
    if name and name not in backend.key_pairs:
        raise refuse("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def give_profile(backend: Any, record: Any, profile: dict[str, str]) -> None:
    """Let an instance have a profile, which it keeps in mind."""
    if profile:
        backend.associate_iam_instance_profile(
            record.id,
            iam_instance_profile_name=profile.get("Name"),
            iam_instance_profile_arn=profile.get("Arn"),
        )


def _from_template(backend: Any, more: dict[str, Any], wish: Wish) -> Wish:
    """Fill in what the launch template or launch configuration says and the caller did not; the wish with theirs."""
    more.setdefault("region_name", backend.region_name)
    config = more.get("launch_config")
    if config is not None:
        name = config.iam_instance_profile or ""
        bid = {"MaxPrice": config.spot_price} if config.spot_price else None
        profile = wish.profile or ({"Arn" if name.startswith("arn:") else "Name": name} if name else {})
        return wish._replace(profile=profile, spot=wish.spot if wish.spot is not None else bid)
    if not more.get("launch_template"):
        return wish
    data = backend._get_template_from_args(more["launch_template"]).data  # noqa: SLF001 - moto's own look-up
    for name, ours in _FROM_TEMPLATE.items():
        if data.get(name) and not more.get(ours):
            more[ours] = data[name]
    more["key_name"] = more.get("key_name") or data.get("KeyName")
    if data.get("InstanceType") and more.get("is_instance_type_default"):
        more["instance_type"], more["is_instance_type_default"] = data["InstanceType"], False
    if (data.get("Monitoring") or {}).get("Enabled"):
        more["monitoring_state"] = "enabled"
    more["placement"] = more.get("placement") or (data.get("Placement") or {}).get("AvailabilityZone")
    market, is_spot = data.get("InstanceMarketOptions") or {}, more.get("lifecycle") == "spot"
    options = wish.spot
    if options is None and market.get("MarketType") == "spot" and not is_spot:
        options = dict(market.get("SpotOptions") or {})
    return Wish(
        wish.profile or data.get("IamInstanceProfile") or {},
        options,
        wish.protected or bool(data.get("DisableApiTermination")),
    )


def _add_root(record: Any) -> None:
    """The root volume, under the name that the image gives it."""
    record.add_block_device(
        ROOT_GIB,
        record.root_device_name,
        None,
        encrypted=False,
        delete_on_termination=True,
        kms_key_id=None,
        volume_type=None,
    )


def _check_options(backend: Any, more: dict[str, Any], options: dict[str, Any]) -> None:
    """Raises EC2ClientError for what the spot market does not do, SpotMaxPriceTooLow when it asks more than is given."""
    behavior = options.get("InstanceInterruptionBehavior", "terminate")
    if behavior == "hibernate":
        raise refuse("UnsupportedOperation", "the sandbox's instances do not hibernate")
    if behavior == "stop" and options.get("SpotInstanceType", "one-time") == "one-time":
        raise refuse(
            "InvalidParameterCombination",
            "an instance of a one-time Spot request cannot be stopped by an interruption",
        )
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
