"""Operations about the instances SSM manages, and those that only agents call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError
from runctl.sandbox.ssm.paging import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request
    from runctl.sandbox.ssm.agents import Agent
    from runctl.sandbox.ssm.service import Ssm

# filter key -> field of InstanceInformation
_FIELDS = {
    "InstanceIds": "InstanceId",
    "AgentVersion": "AgentVersion",
    "PingStatus": "PingStatus",
    "PlatformTypes": "PlatformType",
    "ResourceType": "ResourceType",
}


def _information(ssm: Ssm, agent: Agent) -> dict[str, Any]:
    told = agent.information
    return {
        "InstanceId": agent.instance,
        "PingStatus": "Online" if ssm.agents.online(agent.instance) else "ConnectionLost",
        "LastPingDateTime": agent.last_ping,
        "AgentVersion": str(told.get("AgentVersion", "")),
        "IsLatestVersion": True,
        "PlatformType": str(told.get("PlatformType", "Linux")),
        "PlatformName": str(told.get("PlatformName", "")),
        "PlatformVersion": str(told.get("PlatformVersion", "")),
        "ResourceType": "EC2Instance",
        "IPAddress": str(told.get("IPAddress", "")),
        "ComputerName": str(told.get("ComputerName", "")),
        "SourceId": agent.instance,
        "SourceType": "AWS::EC2::Instance",
    }


def describe_instance_information(
    ssm: Ssm, call: Call, given: dict[str, Any], _request: Request
) -> dict[str, Any]:
    """The instances whose agents have registered, in this region; terminated ones are gone from it."""
    filters = [(each["key"], each["valueSet"]) for each in given.get("InstanceInformationFilterList") or []]
    if filters and given.get("Filters"):
        raise ApiError("ValidationException", "Use either Filters or InstanceInformationFilterList.")
    filters += [(each["Key"], each["Values"]) for each in given.get("Filters") or []]
    rows = []
    for agent in ssm.agents.known():
        facts = ssm.cloud.ec2.describe(agent.instance) if ssm.cloud.ec2 else None
        if facts is None or facts.region != call.region:
            continue
        if facts.state == "terminated":
            ssm.agents.forget(agent.instance)
            continue
        row = _information(ssm, agent)
        if all(_passes(row, facts.tags, key, values) for key, values in filters):
            rows.append(row)
    return page("InstanceInformationList", rows, given, default=10)


def _passes(row: dict[str, Any], tags: Any, key: str, values: list[str]) -> bool:
    if key.startswith("tag:"):
        return tags.get(key[4:]) in values
    if key == "tag-key":
        return bool(set(values) & set(tags))
    if key not in _FIELDS:
        raise ApiError("InvalidInstanceInformationFilterValue", f"The filter {key!r} is not supported here.")
    return row[_FIELDS[key]] in values


def get_connection_status(ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Whether a session could be started now."""
    target = given["Target"]
    return {"Target": target, "Status": "connected" if ssm.agents.online(target) else "notconnected"}


def update_instance_information(
    ssm: Ssm, call: Call, given: dict[str, Any], _request: Request
) -> dict[str, Any]:
    """An agent tells about itself; the first time, it registers."""
    instance = str(given.get("InstanceId", ""))
    ssm.check_agent(call, instance)
    ssm.agents.update(instance, {name: value for name, value in given.items() if isinstance(value, str)})
    return {}


def list_instance_associations(
    _ssm: Ssm, _call: Call, _given: dict[str, Any], _request: Request
) -> dict[str, Any]:
    """No State Manager here: an agent that asks has nothing to do."""
    return {"Associations": []}


OPERATIONS: dict[str, Callable[..., Any]] = {
    "DescribeInstanceInformation": describe_instance_information,
    "GetConnectionStatus": get_connection_status,
    "UpdateInstanceInformation": update_instance_information,
    "ListInstanceAssociations": list_instance_associations,
}
