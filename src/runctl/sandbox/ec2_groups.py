"""Auto Scaling groups: instances where there is room, and another one for each that is lost. In moto's thread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from runctl.sandbox.ec2_launches import Wish
from runctl.sandbox.moto_bend import is_no_room, override

if TYPE_CHECKING:
    from runctl.sandbox.ec2_rules import Ec2

_NAME_TAG = "aws:autoscaling:groupName"


class Groups:
    """What Auto Scaling groups launch."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2

    def install(self) -> None:
        """Bend moto's classes. To be called once, when ``moto.autoscaling`` has been loaded."""
        from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup  # noqa: PLC0415 - heavy

        override(FakeAutoScalingGroup, "replace_autoscaling_group_instances", self._launch)
        override(
            AutoScalingBackend, "notify_terminate_instances", lambda _backend, _ids: self._ec2.refill.wake()
        )

    def _launch(self, group: Any, count: int, tags: dict[str, str]) -> None:
        """Launch so many; those for which there is no room are launched later."""
        tags = {**tags, _NAME_TAG: group.name, **group.instance_tags}
        for _ in range(count):
            if not any(
                self._try(group, kind, place, tags) for kind in _kinds(group) for place in _places(group)
            ):
                self._ec2.refill.wake()
                return

    def _try(self, group: Any, kind: str, place: dict[str, Any], tags: dict[str, str]) -> bool:
        """Launch one of a kind at a place; whether there was room."""
        from moto.autoscaling.models import InstanceState  # noqa: PLC0415 - heavy

        template, config = group.ec2_launch_template, group.launch_config
        version = {"Version": str(group.launch_template_version)} if template else {}
        try:
            made = group.ec2_backend.run_instances(
                image_id=group.image_id,
                count=1,
                user_data=group.user_data,
                security_group_names=group.security_groups,
                instance_type=kind,
                is_instance_type_default=False,
                tags={"instance": tags},
                launch_config=config,
                launch_template={"LaunchTemplateId": template.id, **version} if template else None,
                associate_public_ip=config.associate_public_ip_address if config else None,
                wish=Wish({}, {} if _next_is_spot(group) else None),
                **place,
            )
        except Exception as error:
            if not is_no_room(error):
                raise
            return False
        [record] = made.instances
        record.autoscaling_group = group
        protected = group.new_instances_protected_from_scale_in
        group.instance_states.append(InstanceState(record, protected_from_scale_in=protected))
        return True


def refill(backend: Any) -> bool:
    """Replace what the groups of a region have lost; whether anything is still missing."""
    missing = False
    for group in list(backend.autoscaling_groups.values()):
        lost = [each for each in group.instance_states if each.instance.state not in ("pending", "running")]
        stopped = [each.instance.id for each in lost if each.instance.state in ("stopping", "stopped")]
        if stopped:  # a stopped instance is an unhealthy one
            backend.ec2_backend.terminate_instances(stopped)
        group.instance_states = [each for each in group.instance_states if each not in lost]
        if "Launch" in group._suspended_processes:  # noqa: SLF001 - moto's record of them
            continue
        group.set_desired_capacity(group.desired_capacity)
        missing |= len(group.active_instances()) < _wanted(group)
    return missing


def _wanted(group: Any) -> int:
    """How many instances a group needs for its capacity."""
    overrides = _overrides(group)
    weight = int((overrides[0].get("WeightedCapacity") or 1) if overrides else 1)
    return math.ceil((group.desired_capacity or 0) / max(1, weight))


def _overrides(group: Any) -> list[dict[str, Any]]:
    policy = group.mixed_instances_policy or {}
    return list(policy.get("LaunchTemplate", {}).get("Overrides") or [])


def _kinds(group: Any) -> list[str]:
    """The instance types in the order they are tried."""
    return [each["InstanceType"] for each in _overrides(group) if "InstanceType" in each] or [
        group.instance_type
    ]


def _places(group: Any) -> list[dict[str, Any]]:
    """The zones or subnets of the group, the emptiest first."""
    held = [each.instance for each in group.instance_states]
    if group.vpc_zone_identifier:
        subnets = group.vpc_zone_identifier.split(",")
        return [
            {"subnet_id": subnet}
            for subnet in sorted(subnets, key=lambda subnet: sum(each.subnet_id == subnet for each in held))
        ]
    zones = sorted(
        group.availability_zones, key=lambda zone: sum(each.placement.zone == zone for each in held)
    )
    return [{"placement": zone} for zone in zones]


def _next_is_spot(group: Any) -> bool:
    """Whether the group's next instance comes from the spot market, by the distribution of a mixed group."""
    distribution = (group.mixed_instances_policy or {}).get("InstancesDistribution") or {}
    if not distribution:
        return False
    base = int(distribution.get("OnDemandBaseCapacity") or 0)
    share = distribution.get("OnDemandPercentageAboveBaseCapacity")
    bought = [each.instance.lifecycle != "spot" for each in group.instance_states]
    above = max(0, len(bought) + 1 - base)
    wanted = base + math.ceil(above * int(100 if share is None else share) / 100)
    return bought.count(True) >= wanted
