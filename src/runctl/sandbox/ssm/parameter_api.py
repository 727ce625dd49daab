"""Parameter Store's operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError
from runctl.sandbox.ssm import public_amis
from runctl.sandbox.ssm.paging import page
from runctl.sandbox.ssm.parameters import Parameter, Version, below
from runctl.sandbox.ssm.session_api import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request
    from runctl.sandbox.ssm.service import Ssm


def _told(
    ssm: Ssm, call: Call, parameter: Parameter, version: Version, *, decrypt: bool, asked: str = ""
) -> dict[str, Any]:
    secret = version.kind == "SecureString" and not decrypt
    selector = asked[len(parameter.name) :] if asked.startswith(parameter.name + ":") else ""
    told = {
        "Name": parameter.name,
        "Type": version.kind,
        "Value": ssm.parameters.hide(version.value) if secret else version.value,
        "Version": version.number,
        "LastModifiedDate": version.modified,
        "ARN": _arn(call, parameter.name),
        "DataType": version.data_type,
    }
    return {**told, "Selector": selector} if selector else told


def _arn(call: Call, name: str) -> str:
    return f"arn:aws:ssm:{call.region}:{call.account}:parameter/{name.lstrip('/')}"


def _public(call: Call, name: str, image: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": image,
        "Version": 1,
        "LastModifiedDate": 0.0,
        "ARN": f"arn:aws:ssm:{call.region}::parameter{name}",
        "DataType": "aws:ec2:image",
    }


async def _one(ssm: Ssm, call: Call, asked: str, *, decrypt: bool) -> dict[str, Any] | None:
    found = ssm.parameters.find(call.region, asked)
    if found is not None:
        return _told(ssm, call, *found, decrypt=decrypt, asked=asked)
    images = await public_amis.resolve(ssm, call.region, [asked])
    return _public(call, asked, images[asked]) if asked in images else None


def put_parameter(ssm: Ssm, call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Make a parameter, or a new version of one with Overwrite."""
    user, _ = owner_of(call)
    version = ssm.parameters.put(call.region, given, user=user)
    return {"Version": version.number, "Tier": version.tier}


async def get_parameter(ssm: Ssm, call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """One parameter by name, version or label; public image names resolve to images of the sandbox."""
    found = await _one(ssm, call, given["Name"], decrypt=bool(given.get("WithDecryption")))
    if found is None:
        name, _, selector = given["Name"].partition(":")
        if selector and name in ssm.parameters.of(call.region):
            raise ApiError(
                "ParameterVersionNotFound", f"Systems Manager could not find version {selector} of {name}."
            )
        raise ApiError("ParameterNotFound", "")
    return {"Parameter": found}


async def get_parameters(ssm: Ssm, call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Several by name; those that are not there are named, which is no error."""
    decrypt = bool(given.get("WithDecryption"))
    found = {name: await _one(ssm, call, name, decrypt=decrypt) for name in dict.fromkeys(given["Names"])}
    return {
        "Parameters": [told for told in found.values() if told],
        "InvalidParameters": [name for name, told in found.items() if not told],
    }


async def get_parameters_by_path(
    ssm: Ssm, call: Call, given: dict[str, Any], _request: Request
) -> dict[str, Any]:
    """Those under a path, by name."""
    path, recursive = given["Path"], bool(given.get("Recursive"))
    if not path.startswith("/"):
        raise ApiError(
            "ValidationException",
            "The parameter doesn't meet the parameter name requirements: it must begin with '/'.",
        )
    decrypt = bool(given.get("WithDecryption"))
    rows = [
        _told(ssm, call, each, each.latest, decrypt=decrypt)
        for name, each in sorted(ssm.parameters.of(call.region).items())
        if below(path, name, recursive=recursive)
    ]
    listed = [name for name in public_amis.LISTED if below(path, name, recursive=recursive)]
    images = await public_amis.resolve(ssm, call.region, listed)
    rows += [_public(call, name, images[name]) for name in sorted(images)]
    return page("Parameters", rows, given, default=10)


def delete_parameter(ssm: Ssm, call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Delete one, with its versions."""
    if ssm.parameters.of(call.region).pop(given["Name"], None) is None:
        raise ApiError("ParameterNotFound", "")
    return {}


def delete_parameters(ssm: Ssm, call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Delete several; those that are not there are named, which is no error."""
    every = ssm.parameters.of(call.region)
    gone = {name: every.pop(name, None) for name in dict.fromkeys(given["Names"])}
    return {
        "DeletedParameters": [name for name, parameter in gone.items() if parameter],
        "InvalidParameters": [name for name, parameter in gone.items() if not parameter],
    }


def describe_parameters(ssm: Ssm, call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """What there is, without values."""
    rows = [
        _described(call, each)
        for _, each in sorted(ssm.parameters.of(call.region).items())
        if all(_passes(each, wanted) for wanted in given.get("ParameterFilters") or [])
    ]
    return page("Parameters", rows, given, default=50)


def _described(call: Call, parameter: Parameter) -> dict[str, Any]:
    latest = parameter.latest
    told = {
        "Name": parameter.name,
        "ARN": _arn(call, parameter.name),
        "Type": latest.kind,
        "KeyId": parameter.key,
        "LastModifiedDate": latest.modified,
        "LastModifiedUser": latest.user,
        "Description": parameter.description,
        "AllowedPattern": parameter.pattern,
        "Version": latest.number,
        "Tier": latest.tier,
        "DataType": latest.data_type,
        "Policies": [],
    }
    return {name: value for name, value in told.items() if value != ""}


def _passes(parameter: Parameter, wanted: dict[str, Any]) -> bool:
    key, option, values = wanted["Key"], wanted.get("Option", "Equals"), wanted.get("Values") or []
    if key == "Path":
        return any(below(each, parameter.name, recursive=option == "Recursive") for each in values)
    told = {"Name": parameter.name, "Type": parameter.latest.kind, "Tier": parameter.latest.tier}.get(key)
    if told is None:
        raise ApiError("InvalidFilterKey", f"The filter key {key!r} is not supported here.")
    if option == "BeginsWith":
        return told.startswith(tuple(values))
    if option == "Contains":
        return any(each in told for each in values)
    return told in values


OPERATIONS: dict[str, Callable[..., Any]] = {
    "PutParameter": put_parameter,
    "GetParameter": get_parameter,
    "GetParameters": get_parameters,
    "GetParametersByPath": get_parameters_by_path,
    "DeleteParameter": delete_parameter,
    "DeleteParameters": delete_parameters,
    "DescribeParameters": describe_parameters,
}
