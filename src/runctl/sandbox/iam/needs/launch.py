"""RunInstances and RequestSpotInstances: everything that a launch touches is asked for by itself.

An instance, its volumes and network interfaces (as `type/*`), the image, the subnet, the security groups, the key
pair, the launch template; a spot request only when it is tagged, as the EC2 user guide says; then the tags, and the
role that is passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.iam.needs.need import Need, Values, known, request_tags, tags_of

if TYPE_CHECKING:
    from runctl.sandbox.iam.needs.world import World


def launch_needs(world: World, action: str, asked: dict[str, Any]) -> list[Need]:
    """The permissions that a launch needs, in the order they are asked."""
    given, template = _with_template(world, asked)
    if action == "RequestSpotInstances":
        given = {
            **(given.get("LaunchSpecification") or {}),
            "TagSpecifications": given.get("TagSpecifications"),
        }
    tags = {each["ResourceType"]: tags_of(each.get("Tags")) for each in given.get("TagSpecifications") or ()}
    common = _common(world, given, template)
    name = f"ec2:{action}"
    found = [
        Need(name, world.arn(kind, each), {**world.keys(kind, each), **common})
        for kind, each in _existing(world, given, template)
    ]
    if action == "RequestSpotInstances":
        found.append(
            Need(name, world.arn("spot-instances-request", "*"), _brought(tags, "spot-instances-request"))
        )
        return [*found, *world.tagging(action, tags), *world.passing(given.get("IamInstanceProfile"))]
    made = [("instance", _instance(world, given)), ("network-interface", _interface(world, given))]
    made += [("volume", keys) for keys in _volumes(world, given)]
    if tags.get("spot-instances-request"):
        made.append(("spot-instances-request", {}))
    new = [
        Need(name, world.arn(kind, "*"), {**keys, **_brought(tags, kind), **common}) for kind, keys in made
    ]
    return [*new, *found, *world.tagging(action, tags), *world.passing(given.get("IamInstanceProfile"))]


def indirect(action: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The launches behind a fleet or a group, as RunInstances would have them: whoever makes one needs their rights."""
    if action == "CreateFleet":
        tags = [each for each in given.get("TagSpecifications") or () if each.get("ResourceType") != "fleet"]
        return [
            {
                "LaunchTemplate": config.get("LaunchTemplateSpecification") or {},
                **{name: each[name] for name in ("InstanceType", "SubnetId", "ImageId") if each.get(name)},
                **({"TagSpecifications": tags} if tags else {}),
            }
            for config in given.get("LaunchTemplateConfigs") or ()
            for each in config.get("Overrides") or [dict[str, Any]()]
        ]
    if action not in ("CreateAutoScalingGroup", "UpdateAutoScalingGroup"):
        return []
    mixed = (given.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    template = given.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification")
    subnets = str(given.get("VPCZoneIdentifier") or "").split(",")
    return [
        {"LaunchTemplate": template, **({"SubnetId": each} if each else {})} for each in subnets if template
    ]


def is_spot(given: dict[str, Any], action: str) -> bool:
    """Whether a launch asks for the spot market."""
    market = given.get("InstanceMarketOptions") or {}
    return action == "RequestSpotInstances" or market.get("MarketType") == "spot"


def _brought(tags: dict[str, dict[str, str]], kind: str) -> Values:
    return request_tags(tags.get(kind, {}))


def _with_template(world: World, asked: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The parameters, a launch template's where the call has none, and the template's id."""
    named = asked.get("LaunchTemplate") or {}
    found = named.get("LaunchTemplateId") or world.backend.launch_template_name_to_ids.get(
        named.get("LaunchTemplateName", "")
    )
    record = world.backend.launch_templates.get(found)
    if record is None:
        return asked, ""
    version = named.get("Version") or "$Default"
    data = record.get_version(version).data
    return {**data, **asked}, str(record.id)


def _common(world: World, given: dict[str, Any], template: str) -> Values:
    """What a launch template adds to every resource of a launch."""
    if not template:
        return {}
    own = bool({"ImageId", "InstanceType", "SubnetId", "SecurityGroupIds"} & set(given))
    return known(
        ec2__LaunchTemplate=world.arn("launch-template", template), ec2__IsLaunchTemplateResource=not own
    )


def _existing(world: World, given: dict[str, Any], template: str) -> list[tuple[str, str]]:
    """What must be there already: image, subnet, security groups, key pair, template, snapshots."""
    found = [("image", given.get("ImageId") or "*")]
    if subnet := _subnet(world, given):
        found.append(("subnet", subnet))
    found += [("security-group", each) for each in _groups(world, given, subnet)]
    if given.get("KeyName"):
        found.append(("key-pair", given["KeyName"]))
    if template:
        found.append(("launch-template", template))
    for block in given.get("BlockDeviceMappings") or ():
        if snapshot := (block.get("Ebs") or {}).get("SnapshotId"):
            found.append(("snapshot", snapshot))
    return list(dict.fromkeys(found))


def _subnet(world: World, given: dict[str, Any]) -> str:
    """The subnet asked for, else the default one of the zone (of the first zone)."""
    nics = given.get("NetworkInterfaces") or ()
    asked = given.get("SubnetId") or next((nic["SubnetId"] for nic in nics if nic.get("SubnetId")), "")
    if asked:
        return str(asked)
    zone = (given.get("Placement") or {}).get("AvailabilityZone")
    defaults = [
        each for zones in world.backend.subnets.values() for each in zones.values() if each.default_for_az
    ]
    wanted = sorted((each for each in defaults if zone in (None, each.availability_zone)), key=_zone)
    return str(wanted[0].id) if wanted else ""


def _zone(subnet: Any) -> str:
    return str(subnet.availability_zone)


def _groups(world: World, given: dict[str, Any], subnet: str) -> list[str]:
    nics = given.get("NetworkInterfaces") or ()
    asked = [*(given.get("SecurityGroupIds") or ()), *(g for nic in nics for g in nic.get("Groups") or ())]
    for name in given.get("SecurityGroups") or ():
        group = world.backend.get_security_group_from_name(name)
        asked += [group.id] if group is not None else []
    if asked or not subnet:
        return [str(each) for each in asked]
    record = next((zones[subnet] for zones in world.backend.subnets.values() if subnet in zones), None)
    default = world.backend.get_default_security_group(record.vpc_id) if record is not None else None
    return [str(default.id)] if default is not None else []


def _instance(world: World, given: dict[str, Any]) -> Values:
    options = given.get("MetadataOptions") or {}
    placement = given.get("Placement") or {}
    subnet = world.keys("subnet", _subnet(world, given))
    profile, _ = world.profile(given.get("IamInstanceProfile"))
    return {
        **{name: values for name, values in subnet.items() if name == "ec2:availabilityzone"},
        **known(
            ec2__InstanceType=given.get("InstanceType", "m1.small"),
            ec2__InstanceMarketType="spot" if is_spot(given, "") else "on-demand",
            ec2__InstanceProfile=profile,
            ec2__EbsOptimized=bool(given.get("EbsOptimized")),
            ec2__Tenancy=placement.get("Tenancy", "default"),
            ec2__PlacementGroup=placement.get("GroupName"),
            ec2__RootDeviceType="ebs",
            ec2__MetadataHttpTokens=options.get("HttpTokens"),
            ec2__MetadataHttpEndpoint=options.get("HttpEndpoint"),
            ec2__MetadataHttpPutResponseHopLimit=options.get("HttpPutResponseHopLimit"),
            ec2__InstanceMetadataTags=options.get("InstanceMetadataTags"),
        ),
    }


def _interface(world: World, given: dict[str, Any]) -> Values:
    subnet = _subnet(world, given)
    public = [nic.get("AssociatePublicIpAddress") for nic in given.get("NetworkInterfaces") or ()]
    where = world.keys("subnet", subnet)
    return {
        **{name: where[name] for name in ("ec2:availabilityzone", "ec2:vpc") if name in where},
        **known(
            ec2__Subnet=world.arn("subnet", subnet) if subnet else "",
            ec2__AssociatePublicIpAddress=public[0] if public else None,
        ),
    }


def _volumes(world: World, given: dict[str, Any]) -> list[Values]:
    """A set of keys for each volume that is made; one at least, the root's."""
    asked = {each.get("DeviceName"): each.get("Ebs") for each in given.get("BlockDeviceMappings") or ()}
    image = world.backend.amis.get(given.get("ImageId"))
    root = image.root_device_name if image is not None else None
    blocks = [ebs for ebs in ({root: {}} | asked).values() if ebs is not None]
    zone = world.keys("subnet", _subnet(world, given)).get("ec2:availabilityzone")
    return [
        {
            **({"ec2:availabilityzone": zone} if zone else {}),
            **known(
                ec2__Encrypted=bool(ebs.get("Encrypted")),
                ec2__VolumeSize=ebs.get("VolumeSize"),
                ec2__VolumeType=ebs.get("VolumeType"),
                ec2__VolumeIops=ebs.get("Iops"),
                ec2__VolumeThroughput=ebs.get("Throughput"),
                ec2__ParentSnapshot=world.arn("snapshot", ebs["SnapshotId"]) if ebs.get("SnapshotId") else "",
            ),
        }
        for ebs in blocks
    ]
