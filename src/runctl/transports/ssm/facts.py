"""What EC2 and Systems Manager say of an instance that cannot be reached, and the error that this makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl.aws.errors import code_of
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, MachineGone, RunctlError

if TYPE_CHECKING:
    from datetime import datetime

    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken

GONE = ("shutting-down", "terminated")
HALTED = ("stopping", "stopped")


@dataclass(frozen=True)
class Standing:
    """An instance as both services see it; empty texts where one may not be asked or does not know."""

    state: str = ""
    reason: str = ""
    profile: str = ""
    launched: datetime | None = None
    ping: str = ""  # Online, ConnectionLost, Inactive; empty: never registered
    last_ping: str = ""
    asked_ping: bool = True  # false: the caller may not ask


def standing(calls: AwsCalls, instance: str, region: str | None, cancel: CancelToken) -> Standing:
    """Ask both; what may not be asked is left out. Raises Cancelled."""
    told: dict[str, object] = {}
    try:
        answer = calls.call("ec2", "describe_instances", cancel=cancel, region=region, InstanceIds=[instance])
        found = answer["Reservations"][0]["Instances"][0]
        told = {
            "state": found["State"]["Name"],
            "reason": found.get("StateTransitionReason") or found.get("StateReason", {}).get("Message", ""),
            "profile": found.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2],
            "launched": found.get("LaunchTime"),
        }
    except MachineGone:
        told = {"state": "terminated", "reason": "it is not known any more"}
    except Cancelled:
        raise
    except (RunctlError, LookupError):
        pass
    return Standing(**{**told, **_ping(calls, instance, region, cancel)})  # type: ignore[arg-type]


def _ping(calls: AwsCalls, instance: str, region: str | None, cancel: CancelToken) -> dict[str, object]:
    wanted = [{"Key": "InstanceIds", "Values": [instance]}]
    try:
        answer = calls.call(
            "ssm", "describe_instance_information", cancel=cancel, region=region, Filters=wanted
        )
    except Cancelled:
        raise
    except RunctlError as error:
        # an instance that was never there may be refused as a filter
        return {"asked_ping": code_of(error) == "InvalidInstanceId"}
    rows = answer["InstanceInformationList"]
    if not rows:
        return {}
    heard = rows[0].get("LastPingDateTime")
    return {
        "ping": rows[0].get("PingStatus", ""),
        "last_ping": "" if heard is None else f"{heard:%Y-%m-%d %H:%M:%S %Z}",
    }


def may_come(found: Standing) -> bool:
    """Whether the instance runs or is about to, so that it may still be heard of."""
    return found.state not in (*GONE, *HALTED)


def unreachable(found: Standing, instance: str, region: str | None) -> RunctlError:
    """The error for an instance to which no session can be opened. Pure."""
    facts = {
        "instance": instance,
        "region": region or "?",
        "state": found.state or "in an unknown state",
    }
    reason = found.reason or "no reason is given"
    if found.state in GONE:
        return known("instance-gone", **facts, reason=reason)
    if found.state in HALTED:
        return known("instance-stopped", **facts, reason=reason)
    facts |= {
        "profile": found.profile or "none",
        "ping": found.ping or "never",
        "last_ping": found.last_ping or "an unknown time",
        "reason": reason,
    }
    if found.ping == "Online" or not found.asked_ping:
        return known("target-not-connected", **facts)
    if found.ping:
        return known("ssm-connection-lost", **facts)
    if found.state and not found.profile:
        return known(
            "ssm-not-registered", **facts, cause="it has no instance profile, so the agent has no rights"
        )
    return known(
        "ssm-not-registered",
        **facts,
        cause=f"it has the profile {found.profile}; its role may lack the rights, or it has no way to the service",
    )
