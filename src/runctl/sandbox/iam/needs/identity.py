"""IAM and STS: who is named by a call decides what it is asked on. In moto's thread: paths and tags are looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.iam.needs.need import Need, Values, known, request_tags, resource_tags, tags_of
from runctl.sandbox.spot import ROLE

if TYPE_CHECKING:
    from runctl.sandbox.iam.identities import Identities
    from runctl.sandbox.iam.principal import Principal

# anybody may ask who they are; a user needs no permission for a session of their own
FREE = frozenset({"sts:GetCallerIdentity", "sts:GetSessionToken"})
_LISTS = {
    "ListGroups": "group",
    "ListInstanceProfiles": "instance-profile",
    "ListPolicies": "policy",
    "ListRoles": "role",
    "ListUsers": "user",
}
_OF_GROUPS = ("AddUserToGroup", "RemoveUserFromGroup")
_SELF = frozenset({
    "ChangePassword", "CreateAccessKey", "DeleteAccessKey", "GetAccessKeyLastUsed", "GetUser", "ListAccessKeys",
    "ListMFADevices", "ListSSHPublicKeys", "ListSigningCertificates", "UpdateAccessKey", "UpdateUser",
})  # fmt: skip
# service -> the name of its service-linked role
LINKED = {"spot": ROLE, "spotfleet": "AWSServiceRoleForEC2SpotFleet"}


def iam_needs(who: Identities, principal: Principal, action: str, given: dict[str, Any]) -> list[Need]:
    """The permissions that a call of IAM needs."""
    name = f"iam:{action}"
    account = who.account
    if action in _LISTS:
        path = str(given.get("PathPrefix") or "/")
        return [Need(name, f"arn:aws:iam::{account}:{_LISTS[action]}{path}")]
    if action == "CreateServiceLinkedRole":
        return [linked_role(account, str(given.get("AWSServiceName", "")))]
    kind, subject = _subject(principal, action, given)
    if not kind:
        return [Need(name)]
    keys: Values = {
        **request_tags(tags_of(given.get("Tags"))),
        **({"aws:tagkeys": tuple(given["TagKeys"])} if given.get("TagKeys") else {}),
        **_of_record(who, kind, subject),
        **known(
            iam__PolicyARN=given.get("PolicyArn"), iam__PermissionsBoundary=given.get("PermissionsBoundary")
        ),
    }
    found = [Need(name, _arn(who, kind, subject, given), keys)]
    if action == "AddRoleToInstanceProfile":
        role = _arn(who, "role", str(given.get("RoleName", "")), {})
        found.append(Need("iam:PassRole", role, known(iam__PassedToService="ec2.amazonaws.com")))
    return found


def linked_role(account: str, service: str) -> Need:
    """What makes a service's own role, such as the one that the spot market needs."""
    name = LINKED.get(service.partition(".")[0], "*")
    return Need(
        "iam:CreateServiceLinkedRole",
        f"arn:aws:iam::{account}:role/aws-service-role/{service}/{name}",
        known(iam__AWSServiceName=service),
    )


def _subject(principal: Principal, action: str, given: dict[str, Any]) -> tuple[str, str]:
    """(kind, name or ARN) of what a call is about; empty for calls without resource-level permissions."""
    if given.get("InstanceProfileName"):
        return "instance-profile", str(given["InstanceProfileName"])
    if action in _OF_GROUPS:
        return "group", str(given.get("GroupName", ""))
    for kind, parameter in (("role", "RoleName"), ("group", "GroupName"), ("user", "UserName")):
        if given.get(parameter):
            return kind, str(given[parameter])
    if given.get("PolicyName") or given.get("PolicyArn"):
        return "policy", str(given.get("PolicyArn") or given["PolicyName"])
    if given.get("PolicySourceArn"):
        return "arn", str(given["PolicySourceArn"])
    return ("user", principal.name) if action in _SELF and principal.kind == "User" else ("", "")


def _record(who: Identities, kind: str, name: str) -> Any:
    iam = who.iam()
    if kind == "role":
        return who.role_record(name)
    if kind == "instance-profile":
        return next((each for each in iam.instance_profiles.values() if each.name == name), None)
    if kind == "policy":
        return iam.managed_policies.get(name)
    return {"user": iam.users, "group": iam.groups}.get(kind, {}).get(name)


def _of_record(who: Identities, kind: str, name: str) -> Values:
    """The tags and the boundary of what is there already."""
    record = _record(who, kind, name)
    tags = getattr(record, "tags", None) or ()
    tags = tags_of(tags.values() if isinstance(tags, dict) else tags)
    boundary = getattr(record, "permissions_boundary_arn", None)
    return {**resource_tags(tags, "iam:resourcetag"), **known(iam__PermissionsBoundary=boundary)}


def _arn(who: Identities, kind: str, name: str, given: dict[str, Any]) -> str:
    """The ARN of what is there, or of what is about to be made."""
    if name.startswith("arn:"):
        return name
    record = _record(who, kind, name)
    if record is not None:
        return str(record.arn)
    path = "/" + f"{given.get('Path') or '/'}".strip("/") + "/"
    return f"arn:aws:iam::{who.account}:{kind}{path.replace('//', '/')}{name}"


def sts_needs(who: Identities, action: str, given: dict[str, Any]) -> list[Need]:
    """The permissions that a call of STS needs; to assume a role, its trust policy has to agree."""
    name = f"sts:{action}"
    if name in FREE:
        return []
    if action == "GetFederationToken":
        return [Need(name, f"arn:aws:sts::{who.account}:federated-user/{given.get('Name', '')}")]
    if action != "AssumeRole":
        return [Need(name)]
    arn = str(given.get("RoleArn", ""))
    record = who.role_record(arn.rpartition("/")[2])
    if record is not None and record.arn != arn:
        record = None
    tags = tags_of(given.get("Tags"))
    keys = {
        **request_tags(tags),
        **(
            {"sts:transitivetagkeys": tuple(given["TransitiveTagKeys"])}
            if given.get("TransitiveTagKeys")
            else {}
        ),
        **resource_tags(tags_of(record.tags) if record is not None else {}, "iam:resourcetag"),
        **known(
            sts__RoleSessionName=given.get("RoleSessionName"),
            sts__ExternalId=given.get("ExternalId"),
            sts__SourceIdentity=given.get("SourceIdentity"),
        ),
    }
    trust = who.trust(record) if record is not None else None
    actions = (
        [name]
        + ["sts:TagSession"] * bool(tags)
        + ["sts:SetSourceIdentity"] * bool(given.get("SourceIdentity"))
    )
    return [Need(each, arn, keys, trust, must=True) for each in actions]
