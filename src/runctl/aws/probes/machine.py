"""One machine: whether the quota allows it, and once it exists, how EC2 and Systems Manager see it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from runctl.aws import quotas
from runctl.aws.probes.account import may_look
from runctl.aws.probes.prepared import SETUP
from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.checks import Check, ok, skipped, warn

if TYPE_CHECKING:
    from runctl.aws.probes.account import Account
    from runctl.aws.quotas import Quota
    from runctl.core.cancel import CancelToken
    from runctl.core.model import Offer

_COUNTED = ("pending", "running")  # the states whose vCPUs count against a quota


@may_look
def quota(account: Account, offer: Offer, cancel: CancelToken) -> Check:
    """Whether the account may run the machine of ``offer``: the family's vCPU quota, less what runs.

    Raises:
        CapacityError: ``aws-quota-short``.
    """
    where = offer.region or account.calls.session.region
    bound = quotas.quota_of(offer.machine_type, spot=offer.spot)
    if bound is None:
        return skipped(f"nobody knows which quota bounds {offer.machine_type}")
    value = _value(account, bound, where, cancel)
    used = _used(account, bound, where, cancel)
    facts: dict[str, Any] = {"quota": bound.code, "limit": value, "used": used, "region": where}
    market = "spot" if offer.spot else "on demand"
    if value - used < offer.cpus:
        raise known(
            "aws-quota-short",
            type=offer.machine_type,
            market=market,
            vcpus=offer.cpus,
            name=bound.name,
            needed=used + offer.cpus,
            link=quotas.console(where, bound),
            **facts,
        )
    free = value - used
    return ok(f"{offer.machine_type} {market} takes {offer.cpus} of {free} free vCPUs", **facts)


@may_look
def quotas_of_families(account: Account, cancel: CancelToken) -> Check:
    """How many vCPUs of the usual families the account may run at once, on demand and spot."""
    where = account.calls.session.region
    bounds = {
        (label, spot): quotas.quota_of(sample, spot=spot)
        for label, sample in quotas.SAMPLES.items()
        for spot in (False, True)
    }
    with together(cancel) as scope:
        asked = {
            key: scope.start(f"quota {bound.code}", partial(_value, account, bound, where, scope.cancel))
            for key, bound in bounds.items()
            if bound is not None
        }
    limits = {key: child.result() for key, child in asked.items()}
    words = [
        f"{label} {limits[label, False]}, spot {limits.get((label, True), 0)}" for label in quotas.SAMPLES
    ]
    facts = {f"{label} {'spot' if spot else 'on demand'}": value for (label, spot), value in limits.items()}
    return ok(f"vCPUs: {'; '.join(words)}", **facts)


def _value(account: Account, bound: Quota, where: str, cancel: CancelToken) -> int:
    answer = account.calls.call(
        "service-quotas",
        "get_service_quota",
        ServiceCode=quotas.SERVICE,
        QuotaCode=bound.code,
        region=where,
        cancel=cancel,
    )
    return int(answer["Quota"]["Value"])


def _used(account: Account, bound: Quota, where: str, cancel: CancelToken) -> int:
    """vCPUs of what runs now and counts against the same quota; what a type has by default counts, as EC2 counts."""
    states = [{"Name": "instance-state-name", "Values": list(_COUNTED)}]
    running: Counter[str] = Counter()
    for page in account.calls.pages("ec2", "describe_instances", cancel=cancel, region=where, Filters=states):
        for each in (one for reservation in page["Reservations"] for one in reservation["Instances"]):
            spot = each.get("InstanceLifecycle") == "spot"
            if quotas.quota_of(each["InstanceType"], spot=spot) == bound:
                running[each["InstanceType"]] += 1
    if not running:
        return 0
    types = account.calls.pages(
        "ec2", "describe_instance_types", cancel=cancel, region=where, InstanceTypes=sorted(running)
    )
    return sum(
        running[each["InstanceType"]] * int(each["VCpuInfo"]["DefaultVCpus"])
        for page in types
        for each in page["InstanceTypes"]
    )


def instance(account: Account, cancel: CancelToken, *, machine_id: str) -> Check:
    """What EC2 says of an instance: its state and why, its profile. Raises ``aws-instance-unknown``."""
    name, place = _split(machine_id)
    answer = account.calls.call(
        "ec2", "describe_instances", cancel=cancel, region=place or None, InstanceIds=[name]
    )
    found = [one for reservation in answer["Reservations"] for one in reservation["Instances"]]
    if not found:
        raise known("aws-instance-unknown", region=place, detail=f"{name} is not listed")
    (one,) = found
    state = one["State"]["Name"]
    why = str(one.get("StateReason", {}).get("Message", ""))
    arn = str(one.get("IamInstanceProfile", {}).get("Arn", ""))
    held = arn.rpartition("/")[2]
    facts = {"state": state, "reason": why, "profile": held, "type": one["InstanceType"]}
    if state != "running":
        return warn(f"{name} is {state}" + (f": {why}" if why else ""), **facts)
    if not held:
        return warn(
            f"{name} is running, without an instance profile: Systems Manager cannot reach it", SETUP, **facts
        )
    return ok(f"{name} is running, with the profile {held}", **facts)


def ping(account: Account, cancel: CancelToken, *, machine_id: str) -> Check:
    """Whether the agent of Systems Manager on an instance has registered, and was heard of lately."""
    name, place = _split(machine_id)
    answer = account.calls.call(
        "ssm",
        "describe_instance_information",
        cancel=cancel,
        region=place or None,
        Filters=[{"Key": "InstanceIds", "Values": [name]}],
    )
    listed = answer["InstanceInformationList"]
    if not listed:
        return warn(
            f"the SSM agent of {name} has never registered",
            ("it needs the role, a way to the internet or endpoints of SSM, and a minute after boot",),
            ping="none",
        )
    status, heard = listed[0]["PingStatus"], listed[0].get("LastPingDateTime")
    facts = {"ping": status, "agent": listed[0].get("AgentVersion", "")}
    if status == "Online":
        return ok(f"the SSM agent of {name} is online", **facts)
    ago = (
        ""
        if heard is None
        else f", last heard of {_ago((account.calls.clock.now() - heard).total_seconds())} ago"
    )
    return warn(f"the SSM agent of {name} has lost its connection{ago}", **facts)


def _split(machine_id: str) -> tuple[str, str]:
    """``i-0abc@us-east-1`` as an id and a region; without ``@`` the region is the home region."""
    name, _, place = machine_id.partition("@")
    return name, place


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
