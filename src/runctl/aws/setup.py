"""What prepares an account for runctl, and what undoes it: a plan as a value, made by reading, applied as it stands.

Applying makes exactly the calls that the plan lists. A plan for an account that is as it should be has none, so that
setting up is safe to repeat, and whatever was interrupted is finished by doing it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runctl.aws.bucket import bucket_changes, bucket_removal, find_bucket, is_empty, read_bucket
from runctl.aws.changes import Change, Line
from runctl.aws.names import names as names_of
from runctl.aws.needs import Need
from runctl.aws.role import (
    as_found,
    other_policies,
    profile_changes,
    profile_removal,
    read_profile,
    read_role,
    role_changes,
    role_removal,
)
from runctl.core.cancel import SLICE, together
from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.aws.calls import AwsCalls
    from runctl.aws.names import Names
    from runctl.aws.session import Identity
    from runctl.core.cancel import CancelToken

ATTEMPTS = 10  # of a call at least: IAM may take ten seconds to know what it was told
SETTLE_SECONDS = 30.0  # for AWS to show everything that was changed
# what making a thing with tags takes besides (IAM user guide, "Tagging IAM resources")
_IMPLIED = {
    "iam:CreateRole": ("iam:TagRole",),
    "iam:CreateInstanceProfile": ("iam:TagInstanceProfile",),
}
_ALIVE = ("pending", "running", "stopping", "stopped")


@dataclass(frozen=True)
class SetupPlan:
    """What is changed in which account, as whom. ``kept`` is what stays, and why; ``warnings`` are worth a look."""

    names: Names
    identity: Identity
    changes: tuple[Change, ...]
    kept: tuple[Line, ...] = ()
    warnings: tuple[Line, ...] = ()

    @property
    def name(self) -> str:
        """The heading: where, and as whom."""
        return f"AWS account {self.names.account} in {self.names.region}, as {self.identity.name}"

    def lines(self) -> tuple[Line, ...]:
        """Everything that is changed and kept."""
        return (
            *self.kept,
            *(change.line() for change in self.changes),
            *self.warnings,
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {
            "account": self.names.account,
            "region": self.names.region,
            "identity": self.identity.arn,
            "bucket": self.names.bucket,
            "prefix": self.names.prefix,
            "role": self.names.role,
            "instance_profile": self.names.profile,
            "changes": [change.to_json() for change in self.changes],
            "kept": [line.what for line in self.kept],
            "warnings": [f"{line.what}, {line.detail}" for line in self.warnings],
        }


def needs_of(plan: SetupPlan) -> tuple[Need, ...]:
    """The permissions that applying a plan takes. Pure."""
    names = plan.names
    arns = {"bucket": names.bucket_arn, "role": names.role_arn, "instance": names.profile_arn}
    found = []
    for change in plan.changes:
        resource = arns[change.of.partition(" ")[0]]
        found += [
            Need((call.action, *_IMPLIED.get(call.action, ())), f"prepare the {change.of}", (resource,))
            for call in change.calls
        ]
    if any("iam:AddRoleToInstanceProfile" in need.actions for need in found):
        passed = (("iam:PassedToService", f"ec2.{names.domain}"),)
        found.append(Need(("iam:PassRole",), "put it into the instance profile", (names.role_arn,), passed))
    return tuple(found)


def names_in(
    calls: AwsCalls,
    setting: Callable[[str], Any],
    cancel: CancelToken,
    *,
    bucket: str = "",
    role: str = "",
    data: tuple[str, ...] = (),
) -> Names:
    """The names in the account whose credentials are used. One call to STS, the first time. Raises as it does."""
    identity = calls.identity(cancel)
    return names_of(
        setting,
        account=identity.account,
        region=calls.session.region,
        partition=identity.arn.split(":")[1],
        bucket=bucket,
        role=role,
        data=data,
    )


def plan_setup(calls: AwsCalls, names: Names, cancel: CancelToken) -> SetupPlan:
    """What has to be made and changed for runctl to work. Read-only.

    Raises:
        AccessError: ``aws-bucket-closed``, ``aws-denied``, no or bad credentials.
        UsageError: ``aws-bucket-elsewhere``, ``store-url`` for data that is no address.
    """
    identity = calls.identity(cancel)
    with together(cancel) as scope:
        there = scope.start(
            "read the bucket",
            lambda: (
                read_bucket(calls, names, scope.cancel) if find_bucket(calls, names, scope.cancel) else None
            ),
        )
        profile = read_profile(calls, names, scope.cancel)
        names = as_found(names, profile)
        role = read_role(calls, names, scope.cancel)
    parts = (
        (f"bucket {names.bucket}", bucket_changes(there.result(), names)),
        (f"role {names.role}", role_changes(role, names)),
        (f"instance profile {names.profile}", profile_changes(profile, names)),
    )
    return SetupPlan(
        names=names,
        identity=identity,
        changes=tuple(change for _, changes in parts for change in changes),
        kept=tuple(Line("=", of, "as it should be") for of, changes in parts if not changes),
        warnings=_warnings(identity),
    )


def plan_removal(calls: AwsCalls, names: Names, cancel: CancelToken) -> SetupPlan:
    """What undoes a set-up: everything runctl made that nobody needs any more. A bucket with objects stays. Read-only.

    Raises:
        UsageError: ``aws-setup-in-use``: machines still have the role.
        AccessError: ``aws-bucket-closed``, ``aws-denied``.
    """
    identity = calls.identity(cancel)
    profile = read_profile(calls, names, cancel)
    names = as_found(names, profile)
    using = _machines_with(calls, names, cancel)
    if using:
        raise known("aws-setup-in-use", profile=names.profile, machines=", ".join(using), first=using[0])
    role = read_role(calls, names, cancel)
    others = () if role is None or not role.ours else other_policies(calls, names, cancel)
    changes = [*profile_removal(profile, names), *role_removal(role, names, others=others)]
    kept = []
    if role is not None and not role.ours:
        kept.append(Line("=", f"role {names.role}", "not made by runctl"))
    elif others:
        kept.append(Line("=", f"role {names.role}", f"has policies of others: {', '.join(others)}"))
    if profile is not None and not profile.ours:
        kept.append(Line("=", f"instance profile {names.profile}", "not made by runctl"))
    if find_bucket(calls, names, cancel):
        if not read_bucket(calls, names, cancel).ours:
            kept.append(Line("=", f"bucket {names.bucket}", "not made by runctl"))
        elif not is_empty(calls, names, cancel):
            kept.append(Line("=", f"bucket {names.bucket}", "holds objects: runs, checkpoints, code"))
        else:
            changes.append(bucket_removal(names))
    return SetupPlan(names, identity, tuple(changes), tuple(kept), _warnings(identity))


def _machines_with(calls: AwsCalls, names: Names, cancel: CancelToken) -> list[str]:
    states = [{"Name": "instance-state-name", "Values": list(_ALIVE)}]
    return [
        each["InstanceId"]
        for page in calls.pages("ec2", "describe_instances", cancel=cancel, Filters=states)
        for reservation in page["Reservations"]
        for each in reservation["Instances"]
        if each.get("IamInstanceProfile", {}).get("Arn") == names.profile_arn
    ]


def _warnings(identity: Identity) -> tuple[Line, ...]:
    if not identity.root:
        return ()
    return (Line("!", "these are the root user's keys", "which nothing limits: make a user or a role"),)


def patient(calls: AwsCalls) -> AwsCalls:
    """The same calls, tried often enough for what was made a moment ago to be known everywhere."""
    return replace(calls, policy=replace(calls.policy, attempts=max(ATTEMPTS, calls.policy.attempts)))


def settle(plan: SetupPlan, calls: AwsCalls, cancel: CancelToken) -> None:
    """Wait until AWS shows everything that was changed. Read-only.

    Raises:
        UnreachableError: ``aws-setup-unsettled`` when it does not within ``SETTLE_SECONDS``.
    """
    deadline = calls.clock.monotonic() + SETTLE_SECONDS
    while left := plan_setup(calls, plan.names, cancel).changes:
        if calls.clock.monotonic() > deadline:
            raise known(
                "aws-setup-unsettled",
                seconds=f"{SETTLE_SECONDS:g}",
                changes="; ".join(change.said for change in left),
            )
        calls.clock.sleep(5 * SLICE, cancel)
