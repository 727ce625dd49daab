"""Requests held to the service's own model, as botocore ships it: required members, ranges, patterns, choices."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTHS = {"string": len, "list": len, "map": len}
_NUMBERS = {"integer", "long", "float", "double"}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
}


@functools.cache
def _model() -> Any:
    from botocore.loaders import Loader  # noqa: PLC0415 - a tenth of a second, and only when SSM is used

    return Loader().load_service_model("ssm", "service-2")


def operations() -> set[str]:
    """The names of every operation the real service has."""
    return set(_model()["operations"])


def check(action: str, given: dict[str, Any]) -> None:
    """Refuse what the service's model forbids.

    Raises:
        ApiError: ValidationException with every violation counted, as the service words it; SerializationException
            for a value of the wrong type.
    """
    shape = _model()["operations"][action]["input"]["shape"]
    wrong = list(_violations(shape, given, ""))
    if wrong:
        plural = "" if len(wrong) == 1 else "s"
        raise ApiError(
            "ValidationException", f"{len(wrong)} validation error{plural} detected: " + "; ".join(wrong)
        )


def _name(path: str, member: str) -> str:
    lowered = member[:1].lower() + member[1:]
    return f"{path}.{lowered}" if path else lowered


def _violations(shape_name: str, value: Any, path: str) -> Iterator[str]:
    shape = _model()["shapes"][shape_name]
    kind = shape["type"]
    wanted = _TYPES.get(kind)
    if wanted and (not isinstance(value, wanted) or (kind != "boolean" and isinstance(value, bool))):
        raise ApiError("SerializationException", f"Unexpected value at '{path}': a {kind} was expected")
    yield from _own(shape, kind, value, path)
    if kind == "structure":
        yield from _members(shape, value, path)
    elif kind == "list":
        for number, item in enumerate(value, 1):
            yield from _violations(shape["member"]["shape"], item, f"{path}.{number}.member")
    elif kind == "map":
        for key, item in value.items():
            yield from _violations(shape["value"]["shape"], item, f"{path}.{key}.member")


def _members(shape: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
    for required in shape.get("required", ()):
        if value.get(required) is None:
            at = _name(path, required)
            yield f"Value null at '{at}' failed to satisfy constraint: Member must not be null"
    for member, about in shape["members"].items():
        if value.get(member) is not None:
            yield from _violations(about["shape"], value[member], _name(path, member))


def _own(shape: dict[str, Any], kind: str, value: Any, path: str) -> Iterator[str]:
    head = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must "
    if measure := _LENGTHS.get(kind):
        if measure(value) < shape.get("min", 0):
            yield head + f"have length greater than or equal to {shape['min']}"
        if measure(value) > shape.get("max", measure(value)):
            yield head + f"have length less than or equal to {shape['max']}"
    elif kind in _NUMBERS:
        if value < shape.get("min", value):
            yield head + f"have value greater than or equal to {shape['min']}"
        if value > shape.get("max", value):
            yield head + f"have value less than or equal to {shape['max']}"
    if kind == "string":
        if "enum" in shape and value not in shape["enum"]:
            yield head + f"satisfy enum value set: [{', '.join(shape['enum'])}]"
        if "pattern" in shape and not _fits(shape["pattern"], value):
            yield head + f"satisfy regular expression pattern: {shape['pattern']}"


def _fits(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:  # the model's patterns are Java's; one that Python cannot read checks nothing
        return True
