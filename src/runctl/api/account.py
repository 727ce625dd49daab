"""Prepare an AWS account, and undo it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from runctl.aws import data_access, setup
from runctl.aws.calls import AwsCalls
from runctl.aws.changes import make
from runctl.aws.permissions import permissions
from runctl.aws.policies import bucket_policy, client_policy, instance_policy, push_policy, trust_policy
from runctl.aws.terraform import terraform
from runctl.engine.steps import step

if TYPE_CHECKING:
    from runctl.api.runtime import Runtime
    from runctl.aws.setup import SetupPlan


def plan_aws_setup(
    rt: Runtime,
    *,
    bucket: str = "",
    role: str = "",
    data: tuple[str, ...] = (),
    remove: bool = False,
) -> SetupPlan:
    """What ``apply_aws_setup`` would do; reads only.

    Args:
        rt: the runtime; its settings name the region, the bucket and the instance profile.
        bucket: another bucket than the settings name.
        role: another role and instance profile than the settings name.
        data: addresses that the machines are to read besides what they read already.
        remove: undo a set-up rather than make one.

    Raises:
        AccessError: ``aws-bucket-closed``, ``aws-denied``, no or bad credentials.
        UsageError: ``aws-bucket-elsewhere``, ``aws-setup-in-use``, ``aws-no-region``, ``store-url``.
    """
    calls = AwsCalls.of(rt.surroundings())
    with step("account", "read the account", emit=rt.emit, clock=rt.clock) as doing:
        names = setup.names_in(calls, rt.config.get, rt.cancel, bucket=bucket, role=role, data=data)
        plan = (setup.plan_removal if remove else setup.plan_setup)(calls, names, rt.cancel)
        doing.summary = f"{names.account}, {names.region}"
    return plan


def apply_aws_setup(rt: Runtime, plan: SetupPlan) -> None:
    """Make exactly the calls that ``plan`` lists, and wait until AWS shows what they did. Safe to repeat.

    First IAM is asked whether the caller may make them all: half a set-up helps nobody. A cancel ends it between two calls; what is missing then is what the next plan lists.

    Raises:
        AccessError: ``aws-permissions-missing``: nothing was done.
        RunctlError: the first call that failed; everything before it is done.
        UnreachableError: ``aws-setup-unsettled``.
    """
    calls = setup.patient(AwsCalls.of(rt.surroundings()))
    with step("permissions", "ask what is allowed", emit=rt.emit, clock=rt.clock) as doing:
        doing.summary = permissions(calls, plan.names, setup.needs_of(plan), rt.cancel).what
    for of, group in groupby(plan.changes, key=lambda change: change.of):
        changes = list(group)
        with step(of, of, emit=rt.emit, clock=rt.clock) as doing:
            for done, change in enumerate(changes):
                doing.progress(done, len(changes), unit="changes", item=change.what)
                make(change, calls, rt.cancel)
            doing.summary = "removed" if changes[-1].kind == "remove" else changes[-1].kind + "d"
    if any(change.kind != "remove" for change in plan.changes):
        with step("settle", "see it done", emit=rt.emit, clock=rt.clock):
            setup.settle(plan, calls, rt.cancel)


def aws_policies(
    rt: Runtime, *, bucket: str = "", role: str = "", data: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The policies with the names of this account, for a client, one that pushes images, machines, bucket. Asks STS once.

    With ``data`` also the one that lets machines read it. Raises ``store-url`` for what is no address.
    """
    names = setup.names_in(AwsCalls.of(rt.surroundings()), rt.config.get, rt.cancel, bucket=bucket, role=role)
    places = [data_access.place(address) for address in data]
    more = {"instance_data": data_access.policy(places, names.partition)} if places else {}
    return {
        "client": client_policy(names),
        "client_pushes": push_policy(names),
        "instance": instance_policy(names),
        "instance_trust": trust_policy(names),
        "bucket": bucket_policy(names),
        **more,
    }


def aws_terraform(rt: Runtime, *, bucket: str = "", role: str = "", data: tuple[str, ...] = ()) -> str:
    """The set-up as Terraform configuration. Asks nobody. Raises ``store-url`` for ``data`` that is no address."""
    return terraform(rt.config.get, bucket=bucket, role=role, data=data)
