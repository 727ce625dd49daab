"""Which instances a request means: by id, or by targets such as a tag; and whether SSM may use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError, InstanceFacts

if TYPE_CHECKING:
    from runctl.sandbox.call import Call
    from runctl.sandbox.ssm.service import Ssm

USABLE = ("pending", "running")


def usable(ssm: Ssm, instance: str) -> InstanceFacts | None:
    """The instance when SSM manages it now: it is up and its agent has registered."""
    found = ssm.cloud.ec2.describe(instance) if ssm.cloud.ec2 else None
    if found is None or found.state not in USABLE or not ssm.agents.registered(instance):
        return None
    return found


def by_id(ssm: Ssm, call: Call, ids: list[str]) -> list[str]:
    """The instances named, each once.

    Raises:
        ApiError: InvalidInstanceId naming those that SSM does not manage now, in this region.
    """
    wanted = list(dict.fromkeys(ids))
    found = {each: usable(ssm, each) for each in wanted}
    wrong = [each for each, facts in found.items() if facts is None or facts.region != call.region]
    if wrong:
        listed = ", ".join(wrong)
        raise ApiError(
            "InvalidInstanceId", f"Instances [[{listed}]] not in a valid state for account {call.account}"
        )
    return wanted


def by_target(ssm: Ssm, call: Call, targets: list[dict[str, Any]]) -> list[str]:
    """The instances that fit every target; none is no error.

    Raises:
        ApiError: InvalidTarget, for a key other than `tag:NAME`, `tag-key` and `InstanceIds`.
    """
    every = [facts for agent in ssm.agents.known() if (facts := usable(ssm, agent.instance))]
    chosen = [each for each in every if each.region == call.region]
    for target in targets:
        key, values = target.get("Key", ""), target.get("Values") or []
        if key.startswith("tag:"):
            chosen = [each for each in chosen if each.tags.get(key[4:]) in values]
        elif key == "tag-key":
            chosen = [each for each in chosen if set(values) & set(each.tags)]
        elif key.lower() == "instanceids":
            chosen = [each for each in chosen if each.id in values or values == ["*"]]
        else:
            raise ApiError("InvalidTarget", f"The target key {key!r} is not supported here.")
    return sorted(each.id for each in chosen)


def name_of(ssm: Ssm, instance: str) -> str:
    """An instance's Name tag, or nothing."""
    found = ssm.cloud.ec2.describe(instance) if ssm.cloud.ec2 else None
    return found.tags.get("Name", "") if found else ""
