"""One permission that a call needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runctl.sandbox.iam.policy import Policy

Values = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Need:
    """An action on a resource.

    Args:
        keys: condition keys of this pair, names in lower case.
        policy: the resource's own policy, and whether it has to allow it in any case (``must``).
    """

    action: str
    resource: str = "*"
    keys: Values = field(default_factory=dict)
    policy: Policy | None = None
    must: bool = False


def tags_of(listed: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """A list of ``{"Key": ..., "Value": ...}`` as a dict."""
    return {str(each.get("Key", "")): str(each.get("Value") or "") for each in listed or ()}


def resource_tags(tags: Mapping[str, str], *more: str) -> Values:
    """The keys of a resource's tags, as ``aws:ResourceTag/`` and with other prefixes."""
    return {
        f"{prefix}/{name}".lower(): (value,)
        for prefix in ("aws:resourcetag", *more)
        for name, value in tags.items()
    }


def request_tags(tags: Mapping[str, str]) -> Values:
    """The keys of tags that a request brings."""
    found: Values = {f"aws:requesttag/{name}".lower(): (value,) for name, value in tags.items()}
    return {**found, "aws:tagkeys": tuple(tags)} if tags else found


def known(**values: Any) -> Values:
    """Condition keys (``ec2__InstanceType`` for ``ec2:InstanceType``) that have a value."""
    return {
        name.replace("__", ":").lower(): (str(value).lower() if isinstance(value, bool) else str(value),)
        for name, value in values.items()
        if value not in (None, "")
    }
