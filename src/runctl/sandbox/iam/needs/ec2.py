"""EC2: nearly every id says what it is of, so that the resources of a call are read off its parameters.

In moto's thread: it looks at moto's records for tags and attributes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from runctl.sandbox.iam.needs.launch import launch_needs
from runctl.sandbox.iam.needs.need import Need, Values, known, request_tags, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.sandbox.iam.needs.world import World

# prefix of an id -> resource type in ARNs
TYPES = {
    "acl": "network-acl",
    "ami": "image",
    "cgw": "customer-gateway",
    "dopt": "dhcp-options",
    "eigw": "egress-only-internet-gateway",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "fl": "vpc-flow-log",
    "fleet": "fleet",
    "h": "dedicated-host",
    "i": "instance",
    "igw": "internet-gateway",
    "key": "key-pair",
    "lt": "launch-template",
    "nat": "natgateway",
    "pcx": "vpc-peering-connection",
    "pg": "placement-group",
    "pl": "prefix-list",
    "rtb": "route-table",
    "sfr": "spot-fleet-request",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "sir": "spot-instances-request",
    "snap": "snapshot",
    "subnet": "subnet",
    "tgw": "transit-gateway",
    "tgw-attach": "transit-gateway-attachment",
    "tgw-rtb": "transit-gateway-route-table",
    "vgw": "vpn-gateway",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
    "vpce-svc": "vpc-endpoint-service",
    "vpn": "vpn-connection",
}
_ID = re.compile(r"([a-z]+(?:-[a-z]+)?)-[0-9a-f][0-9a-f-]{7,}")
# what a call makes, and so needs a permission for, as `type/*`
MAKES = {
    "AllocateAddress": ("elastic-ip",),
    "AllocateHosts": ("dedicated-host",),
    "CopyImage": ("image", "snapshot"),
    "CopySnapshot": ("snapshot",),
    "CreateCustomerGateway": ("customer-gateway",),
    "CreateDhcpOptions": ("dhcp-options",),
    "CreateEgressOnlyInternetGateway": ("egress-only-internet-gateway",),
    "CreateFleet": ("fleet", "instance"),
    "CreateFlowLogs": ("vpc-flow-log",),
    "CreateImage": ("image", "snapshot"),
    "CreateInternetGateway": ("internet-gateway",),
    "CreateLaunchTemplate": ("launch-template",),
    "CreateManagedPrefixList": ("prefix-list",),
    "CreateNatGateway": ("natgateway",),
    "CreateNetworkAcl": ("network-acl",),
    "CreateNetworkInterface": ("network-interface",),
    "CreateRouteTable": ("route-table",),
    "CreateSecurityGroup": ("security-group",),
    "CreateSnapshot": ("snapshot",),
    "CreateSnapshots": ("snapshot",),
    "CreateSubnet": ("subnet",),
    "CreateTransitGateway": ("transit-gateway",),
    "CreateVolume": ("volume",),
    "CreateVpc": ("vpc",),
    "CreateVpcEndpoint": ("vpc-endpoint",),
    "CreateVpcPeeringConnection": ("vpc-peering-connection",),
    "CreateVpnConnection": ("vpn-connection",),
    "CreateVpnGateway": ("vpn-gateway",),
    "RegisterImage": ("image",),
    "RequestSpotFleet": ("spot-fleet-request",),
}
# calls that name more than they are checked against
ONLY = {
    "CopyImage": (),
    "CopySnapshot": (),
    "CreateRoute": ("route-table",),
    "ReplaceRoute": ("route-table",),
}
# of the calls that only read, those that have resource-level permissions; all other need `*`
READS = frozenset({
    "DescribeImageAttribute", "DescribeInstanceAttribute", "DescribeSnapshotAttribute", "DescribeVolumeAttribute",
    "DescribeVpcAttribute", "DescribeFleetHistory", "DescribeFleetInstances", "DescribeSpotFleetInstances",
    "DescribeSpotFleetRequestHistory", "DescribeSecurityGroupReferences", "GetConsoleOutput", "GetConsoleScreenshot",
    "GetLaunchTemplateData", "GetPasswordData",
})  # fmt: skip


def needs(world: World, action: str, given: dict[str, Any]) -> list[Need]:
    """The permissions that a call of EC2 needs, in the order they are asked."""
    if action in ("RunInstances", "RequestSpotInstances"):
        return launch_needs(world, action, given)
    name = f"ec2:{action}"
    reads = action.startswith(("Describe", "Get", "List", "Search"))
    if reads and action not in READS:
        return [Need(name)]
    brought = _tags_brought(action, given)
    found = [
        Need(
            name,
            world.arn(kind, each),
            {**world.keys(kind, each), **request_tags(brought.get("") or _of_key(kind, brought))},
        )
        for kind, each in _resources(world, action, given)
    ]
    specifics = _specifics(action, given)
    for kind in MAKES.get(action, ()):
        keys = {**request_tags(brought.get(kind, {})), **(specifics if kind == MAKES[action][0] else {})}
        found.append(Need(name, world.arn(kind, "*"), keys))
    found += world.tagging(action, brought)
    if action in ("AssociateIamInstanceProfile", "ReplaceIamInstanceProfileAssociation"):
        found += world.passing(given.get("IamInstanceProfile"))
    if action == "RequestSpotFleet":
        role = str((given.get("SpotFleetRequestConfig") or {}).get("IamFleetRole") or "")
        found.append(Need("iam:PassRole", role, known(iam__PassedToService="spotfleet.amazonaws.com")))
    return found or [Need(name)]


def _tags_brought(action: str, given: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Tags of the request by resource type; those for what exists already under the empty name."""
    if action in ("CreateTags", "DeleteTags"):
        return {"": tags_of(given.get("Tags"))}
    return {each["ResourceType"]: tags_of(each.get("Tags")) for each in given.get("TagSpecifications") or ()}


def _of_key(kind: str, brought: dict[str, dict[str, str]]) -> dict[str, str]:
    """A key pair is made under the name it has in the call; everything else new is `type/*`."""
    return brought.get(kind, {}) if kind == "key-pair" else {}


def _resources(world: World, action: str, given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What exists already and is named by the call, each once."""
    seen = set()
    for name, value in given.items():
        if (action, name) == ("CreateSecurityGroup", "GroupName"):
            continue
        for text in value if isinstance(value, list) else [value]:
            for kind, each in _meant(world, name, text):
                if (kind, each) not in seen and kind in ONLY.get(action, (kind,)):
                    seen.add((kind, each))
                    yield kind, each


def _meant(world: World, name: str, text: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(text, str):
        return
    if (found := _ID.fullmatch(text)) and found.group(1) in TYPES:
        yield TYPES[found.group(1)], text
    elif name in ("AssociationId", "AssociationIds"):  # of an instance profile: the instance is what counts
        for held in world.backend.iam_instance_profile_associations.values():
            if held.association_id == text:
                yield "instance", str(held.instance_id)
    elif name == "LaunchTemplateName" and text in world.backend.launch_template_name_to_ids:
        yield "launch-template", str(world.backend.launch_template_name_to_ids[text])
    elif name == "GroupName" and (group := world.backend.get_security_group_from_name(text)):
        yield "security-group", str(group.id)
    elif name == "KeyName":
        yield "key-pair", text


def _specifics(action: str, given: dict[str, Any]) -> Values:
    """Attributes of what is about to be made."""
    if action != "CreateVolume":
        return {}
    return known(
        ec2__AvailabilityZone=given.get("AvailabilityZone"),
        ec2__Encrypted=bool(given.get("Encrypted")),
        ec2__VolumeSize=given.get("Size"),
        ec2__VolumeType=given.get("VolumeType", "gp2"),
    )
