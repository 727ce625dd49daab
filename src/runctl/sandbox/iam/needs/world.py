"""EC2 of one region as the permissions look at it: ARNs, tags and attributes out of moto's records.

In moto's thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.iam.needs.need import Need, Values, known, request_tags, resource_tags

if TYPE_CHECKING:
    from collections.abc import Callable

OWNERLESS = ("image", "snapshot")  # their ARNs name no account


class World:
    """EC2 of one region as the needs look at it."""

    def __init__(self, backend: Any, region: str, account: str, iam: Any) -> None:
        self.backend = backend
        self.region = region
        self.account = account
        self.iam = iam

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a resource of EC2."""
        account = "" if kind in OWNERLESS else self.account
        return f"arn:aws:ec2:{self.region}:{account}:{kind}/{name}"

    def tags(self, name: str) -> dict[str, str]:
        """The tags of a resource by its id."""
        return dict(self.backend.tags.get(name, {}))

    def keys(self, kind: str, name: str) -> Values:
        """Tags and attributes of something that is there; nothing when it is not."""
        found = resource_tags(self.tags(name), "ec2:resourcetag")
        reader = _ATTRIBUTES.get(kind)
        return {**found, **known(**reader(self, name))} if reader else found

    def tagging(self, action: str, brought: dict[str, dict[str, str]]) -> list[Need]:
        """``ec2:CreateTags`` for tags that come with the call which makes what they are put on."""
        return [
            Need(
                "ec2:CreateTags",
                self.arn(kind, "*"),
                {**request_tags(tags), **known(ec2__CreateAction=action)},
            )
            for kind, tags in brought.items()
            if kind and tags
        ]

    def passing(self, profile: Any) -> list[Need]:
        """``iam:PassRole`` for the role of an instance profile."""
        _, role = self.profile(profile)
        return [Need("iam:PassRole", role, known(iam__PassedToService="ec2.amazonaws.com"))] if role else []

    def profile(self, given: Any) -> tuple[str, str]:
        """(ARN of an instance profile, ARN of its role) that a parameter names; empty where there is none."""
        wanted = given or {}
        for each in list(self.iam.instance_profiles.values()) if self.iam is not None else ():
            if each.name == wanted.get("Name") or each.arn == wanted.get("Arn"):
                return str(each.arn), str(each.roles[0].arn) if each.roles else ""
        return "", ""


def _instance(world: World, name: str) -> dict[str, Any]:
    record = world.backend.get_instance_by_id(name)
    if record is None:
        return {}
    held = world.backend.iam_instance_profile_associations.get(name)
    return {
        "ec2__InstanceID": name,
        "ec2__InstanceType": record.instance_type,
        "ec2__AvailabilityZone": record.placement.zone,
        "ec2__InstanceMarketType": "spot" if record.lifecycle == "spot" else "on-demand",
        "ec2__InstanceProfile": held.iam_instance_profile.arn if held is not None else "",
        "ec2__MetadataHttpTokens": record.metadata_options.http_tokens,
        "ec2__MetadataHttpEndpoint": record.metadata_options.http_endpoint,
        "ec2__MetadataHttpPutResponseHopLimit": record.metadata_options.http_put_response_hop_limit,
        "ec2__EbsOptimized": bool(record.ebs_optimized),
        "ec2__RootDeviceType": "ebs",
        "ec2__Tenancy": record.placement.tenancy,
    }


def _volume(world: World, name: str) -> dict[str, Any]:
    record = world.backend.volumes.get(name)
    if record is None:
        return {}
    return {
        "ec2__VolumeID": name,
        "ec2__AvailabilityZone": record.zone.name,
        "ec2__Encrypted": bool(record.encrypted),
        "ec2__VolumeSize": record.size,
        "ec2__VolumeType": record.volume_type,
        "ec2__ParentSnapshot": world.arn("snapshot", record.snapshot_id) if record.snapshot_id else "",
    }


def _subnet(world: World, name: str) -> dict[str, Any]:
    record = next((zone[name] for zone in world.backend.subnets.values() if name in zone), None)
    if record is None:
        return {}
    return {
        "ec2__SubnetID": name,
        "ec2__AvailabilityZone": record.availability_zone,
        "ec2__Vpc": world.arn("vpc", record.vpc_id),
    }


def _group(world: World, name: str) -> dict[str, Any]:
    record = world.backend.get_security_group_from_id(name)
    return {"ec2__SecurityGroupID": name, "ec2__Vpc": world.arn("vpc", record.vpc_id)} if record else {}


def _image(world: World, name: str) -> dict[str, Any]:
    record = world.backend.amis.get(name)
    if record is None:
        return {}
    return {
        "ec2__ImageID": name,
        "ec2__ImageType": "machine",
        "ec2__Owner": record.owner_alias if getattr(record, "owner_alias", None) else record.owner_id,
        "ec2__Public": bool(record.is_public),
        "ec2__RootDeviceType": record.root_device_type,
    }


_ATTRIBUTES: dict[str, Callable[[World, str], dict[str, Any]]] = {
    "instance": _instance,
    "volume": _volume,
    "subnet": _subnet,
    "security-group": _group,
    "image": _image,
    "key-pair": lambda _, name: {"ec2__KeyPairName": name},
}
