"""The role of the machines and the instance profile that gives it to them: what they are, what they should be."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runctl.aws import data_access
from runctl.aws.changes import ApiCall, Change
from runctl.aws.errors import code_of
from runctl.aws.names import MANAGED, MANAGED_TAG, POLICY
from runctl.aws.policies import instance_policy, same, trust_policy
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runctl.aws.calls import AwsCalls
    from runctl.aws.names import Names
    from runctl.core.cancel import CancelToken

MISSING = "NoSuchEntity"
_THERE = ("EntityAlreadyExists",)
_EARLY = (MISSING,)  # IAM has several homes, and takes seconds to tell all of them


@dataclass(frozen=True)
class RoleFacts:
    """The role as it is. ``policy`` and ``data`` are our inline policies, None when it has none."""

    trust: Mapping[str, Any]
    tags: Mapping[str, str]
    policy: Mapping[str, Any] | None
    data: Mapping[str, Any] | None = None

    @property
    def ours(self) -> bool:
        """Whether runctl made it."""
        return self.tags.get(MANAGED_TAG) == MANAGED[MANAGED_TAG]


@dataclass(frozen=True)
class ProfileFacts:
    """The instance profile as it is; ``role`` is empty when it holds none."""

    role: str
    tags: Mapping[str, str]

    @property
    def ours(self) -> bool:
        """Whether runctl made it."""
        return self.tags.get(MANAGED_TAG) == MANAGED[MANAGED_TAG]


def read_profile(calls: AwsCalls, names: Names, cancel: CancelToken) -> ProfileFacts | None:
    """The instance profile; None when there is none. Read-only."""
    found = _read(calls, "get_instance_profile", cancel, InstanceProfileName=names.profile)
    if found is None:
        return None
    profile = found["InstanceProfile"]
    roles = [role["RoleName"] for role in profile["Roles"]]
    return ProfileFacts(roles[0] if roles else "", _tags(profile))


def read_role(calls: AwsCalls, names: Names, cancel: CancelToken) -> RoleFacts | None:
    """The role; None when there is none. Read-only."""
    found = _read(calls, "get_role", cancel, RoleName=names.role)
    if found is None:
        return None
    policy, data = (
        _read(calls, "get_role_policy", cancel, RoleName=names.role, PolicyName=each)
        for each in (POLICY, data_access.POLICY)
    )
    role = found["Role"]
    return RoleFacts(
        trust=role["AssumeRolePolicyDocument"],
        tags=_tags(role),
        policy=None if policy is None else policy["PolicyDocument"],
        data=None if data is None else data["PolicyDocument"],
    )


def _read(calls: AwsCalls, operation: str, cancel: CancelToken, **params: Any) -> dict[str, Any] | None:
    try:
        return calls.call("iam", operation, cancel=cancel, **params)
    except RunctlError as error:
        if code_of(error) == MISSING:
            return None
        raise


def as_found(names: Names, profile: ProfileFacts | None) -> Names:
    """The names, with the role that an instance profile already holds. Pure."""
    return replace(names, role=profile.role) if profile is not None and profile.role else names


def role_changes(facts: RoleFacts | None, names: Names) -> tuple[Change, ...]:
    """What makes the role what it should be; None: there is none yet. Pure."""
    of = f"role {names.role}"
    put = ApiCall(
        "iam",
        "put_role_policy",
        {
            "RoleName": names.role,
            "PolicyName": POLICY,
            "PolicyDocument": json.dumps(instance_policy(names)),
        },
        early=_EARLY,
    )
    what = "may use the bucket and SSM, nothing else"
    if facts is None:
        create = ApiCall(
            "iam",
            "create_role",
            {
                "RoleName": names.role,
                "AssumeRolePolicyDocument": json.dumps(trust_policy(names)),
                "Description": "Machines that runctl buys",
                "Tags": _tag_list(),
            },
            done_by=_THERE,
        )
        return (
            Change("create", of, (create,)),
            Change("create", of, (put,), what),
            *_data_changes(None, names, of),
        )
    return (*_role_mends(facts, names, of, put, what), *_data_changes(facts.data, names, of))


def _data_changes(present: Mapping[str, Any] | None, names: Names, of: str) -> tuple[Change, ...]:
    """What lets the role read the data that is asked for, too; what it reads already stays."""
    asked = [data_access.place(address) for address in names.data]
    wanted = sorted({*data_access.places_in(present), *asked})
    new = [each.address for each in wanted if each not in data_access.places_in(present)]
    if not new:
        return ()
    params = {
        "RoleName": names.role,
        "PolicyName": data_access.POLICY,
        "PolicyDocument": json.dumps(data_access.policy(wanted, names.partition)),
    }
    put = ApiCall("iam", "put_role_policy", params, early=_EARLY)
    return (Change("create" if present is None else "change", of, (put,), f"may read {', '.join(new)}"),)


def _role_mends(facts: RoleFacts, names: Names, of: str, put: ApiCall, what: str) -> Iterator[Change]:
    (ours,) = trust_policy(names)["Statement"]
    present = facts.trust.get("Statement", [])
    statements = [present] if isinstance(present, dict) else list(present)
    if not any(_lets_in(each, ours) for each in statements):
        trust = {**facts.trust, "Statement": [*statements, ours]}
        params = {"RoleName": names.role, "PolicyDocument": json.dumps(trust)}
        yield Change("change", of, (ApiCall("iam", "update_assume_role_policy", params),), "EC2 may use it")
    if not same(facts.policy, instance_policy(names)):
        yield Change("change", of, (put,), what)


def _lets_in(statement: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether a statement of a trust policy lets EC2 in."""
    principal = statement.get("Principal")
    services = principal.get("Service", []) if isinstance(principal, dict) else []
    return (
        statement.get("Effect") == "Allow"
        and ours["Action"] in _many(statement.get("Action"))
        and ours["Principal"]["Service"] in _many(services)
        and not statement.get("Condition")
    )


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def profile_changes(facts: ProfileFacts | None, names: Names) -> tuple[Change, ...]:
    """What makes the instance profile what it should be; None: there is none yet. Pure."""
    of = f"instance profile {names.profile}"
    add = ApiCall(
        "iam",
        "add_role_to_instance_profile",
        {"InstanceProfileName": names.profile, "RoleName": names.role},
        done_by=("LimitExceeded",),  # it holds one role at most; which one is read again afterwards
        early=_EARLY,
    )
    what = f"gives role {names.role} to machines"
    if facts is None:
        create = ApiCall(
            "iam",
            "create_instance_profile",
            {"InstanceProfileName": names.profile, "Tags": _tag_list()},
            done_by=_THERE,
        )
        return (Change("create", of, (create,)), Change("create", of, (add,), what))
    return () if facts.role else (Change("change", of, (add,), what),)


def other_policies(calls: AwsCalls, names: Names, cancel: CancelToken) -> tuple[str, ...]:
    """The policies of the role that are not ours: with them it cannot be deleted. Read-only."""
    role = {"RoleName": names.role}
    inline = [
        name
        for page in calls.pages("iam", "list_role_policies", cancel=cancel, **role)
        for name in page["PolicyNames"]
        if name not in (POLICY, data_access.POLICY)
    ]
    attached = [
        each["PolicyName"]
        for page in calls.pages("iam", "list_attached_role_policies", cancel=cancel, **role)
        for each in page["AttachedPolicies"]
    ]
    return (*inline, *attached)


def role_removal(
    facts: RoleFacts | None, names: Names, *, others: tuple[str, ...] = ()
) -> tuple[Change, ...]:
    """What takes our part of the role away, and the role itself where it is runctl's alone. Pure."""
    if facts is None:
        return ()
    of = f"role {names.role}"
    name = {"RoleName": names.role}
    ours = ((POLICY, facts.policy), (data_access.POLICY, facts.data))
    dropped = tuple(
        ApiCall("iam", "delete_role_policy", {**name, "PolicyName": policy}, done_by=(MISSING,))
        for policy, present in ours
        if present is not None
    )
    if facts.ours and not others:
        return (Change("remove", of, (*dropped, ApiCall("iam", "delete_role", name, done_by=(MISSING,)))),)
    return (Change("remove", of, dropped, "may no longer use the bucket and SSM"),) if dropped else ()


def profile_removal(facts: ProfileFacts | None, names: Names) -> tuple[Change, ...]:
    """What removes the instance profile, where runctl made it. Pure."""
    if facts is None or not facts.ours:
        return ()
    name = {"InstanceProfileName": names.profile}
    calls = [ApiCall("iam", "delete_instance_profile", name, done_by=(MISSING,))]
    if facts.role:
        taken = ApiCall(
            "iam",
            "remove_role_from_instance_profile",
            {**name, "RoleName": facts.role},
            done_by=(MISSING,),
        )
        calls.insert(0, taken)
    return (Change("remove", f"instance profile {names.profile}", tuple(calls)),)


def _tags(thing: Mapping[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in thing.get("Tags") or ()}


def _tag_list() -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in MANAGED.items()]
