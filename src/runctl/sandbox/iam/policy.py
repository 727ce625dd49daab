"""A policy document, read once and kept: statements that say whether a request is theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.sandbox.iam import conditions
from runctl.sandbox.iam.patterns import AnyOf, Keys
from runctl.sandbox.iam.principal import Grade, Principal, Wanted, wanted_of

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSIONS = ("2008-10-17", "2012-10-17")
_ELEMENTS = frozenset({
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal", "Condition",
})  # fmt: skip


class BadPolicy(ValueError):
    """A document that AWS refuses as malformed; the text says why."""


class Asked(NamedTuple):
    """One thing a request wants to do. ``keys`` are the condition keys, names in lower case."""

    action: str  # such as s3:GetObject
    resource: str  # an ARN, or * where the action has none
    keys: Keys


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``index`` counts from 0 in its document."""

    index: int
    sid: str
    allows: bool
    actions: AnyOf
    not_action: bool
    resources: AnyOf | None  # None in trust policies
    not_resource: bool
    conditions: tuple[conditions.Condition, ...]
    principal: Wanted | None = None
    not_principal: bool = False

    def names_action(self, action: str) -> bool:
        """Whether an action is one of its own."""
        return self.actions.fits(action, {}) != self.not_action

    def about(self, asked: Asked) -> bool:
        """Whether action and resource are its own; conditions and principal aside."""
        return self.names_action(asked.action) and self.names_resource(asked)

    def names_resource(self, asked: Asked) -> bool:
        """Whether a resource is one of its own."""
        if self.resources is None:
            return True
        if not self.not_resource:
            return self.resources.fits(asked.resource, asked.keys)
        if not all(asked.keys.get(name.lower()) for name in self.resources.names()):
            return False  # a variable without a value makes the statement say nothing
        return not self.resources.fits(asked.resource, asked.keys)

    def applies(self, asked: Asked) -> bool:
        """Whether resource and every condition fit, as they have to for an action that is its own."""
        return self.names_resource(asked) and all(each.holds(asked.keys) for each in self.conditions)

    def grade(self, principal: Principal) -> Grade:
        """How closely a resource policy's statement means a principal."""
        if self.principal is None:
            return Grade.ITSELF
        met = self.principal.grade(principal)
        if self.not_principal:
            return Grade.ITSELF if met is Grade.NOT else Grade.NOT
        return met

    def names(self) -> set[str]:
        """Every condition key it reads, as they are written."""
        found = self.resources.names() if self.resources is not None else set()
        for each in self.conditions:
            found |= each.names()
        return found


@dataclass(frozen=True, slots=True)
class Policy:
    """A document and its statements. ``text`` is as it was put; ``name`` and ``kind`` say where it came from."""

    text: str
    statements: tuple[Statement, ...]
    name: str = ""
    kind: str = "IAM Policy"
    _about: dict[tuple[str, bool], tuple[Statement, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def about(self, action: str, *, allow: bool) -> tuple[Statement, ...]:
        """The statements that allow (or deny) an action, whatever else they want; remembered, it is asked often."""
        key = (action, allow)
        found = self._about.get(key)
        if found is None:
            if len(self._about) > 1_000:
                self._about.clear()
            found = self._about[key] = tuple(
                each for each in self.statements if each.allows == allow and each.names_action(action)
            )
        return found


def named(policy: Policy, name: str) -> Policy:
    """The same policy under the name that simulations and decoded messages tell."""
    return replace(policy, name=name)


@lru_cache(maxsize=2048)
def parse(text: str, kind: str = "identity") -> Policy:
    """Read a document. ``kind`` is identity, resource (of a bucket or key) or trust (of a role).

    Raises:
        BadPolicy: it is not JSON, or not a policy of that kind.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BadPolicy("Syntax errors in policy.") from error
    if not isinstance(document, dict):
        raise BadPolicy("Syntax errors in policy.")
    version = document.get("Version", "2008-10-17")
    if version not in VERSIONS:
        raise BadPolicy("The policy must contain a valid version string")
    listed = document.get("Statement")
    listed = [listed] if isinstance(listed, dict) else listed
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise BadPolicy("Syntax errors in policy.")
    variables = version == "2012-10-17"
    statements = tuple(
        _statement(index, each, kind, variables=variables) for index, each in enumerate(listed)
    )
    return Policy(text, statements)


def _statement(index: int, given: Mapping[str, Any], kind: str, *, variables: bool) -> Statement:
    if strange := set(given) - _ELEMENTS:
        raise BadPolicy(f"Syntax errors in policy: {min(strange)} is no element of a statement.")
    if given.get("Effect") not in ("Allow", "Deny"):
        raise BadPolicy("Syntax errors in policy: Effect must be Allow or Deny.")
    actions = _texts(given, "Action", "NotAction")
    has_principal = ("Principal" in given) + ("NotPrincipal" in given)
    if kind == "identity" and has_principal:
        raise BadPolicy("Policy document should not specify a principal.")
    if kind != "identity" and has_principal != 1:
        raise BadPolicy("Missing required field Principal")
    if kind == "trust" and ("Resource" in given or "NotResource" in given):
        raise BadPolicy("Has prohibited field Resource")
    resources = (
        None if kind == "trust" else AnyOf(_texts(given, "Resource", "NotResource"), variables=variables)
    )
    try:
        held = conditions.read(given.get("Condition", {}), variables=variables)
        wanted = wanted_of(given.get("Principal", given.get("NotPrincipal"))) if has_principal else None
    except ValueError as error:
        raise BadPolicy(str(error)) from error
    return Statement(
        index=index,
        sid=str(given.get("Sid", "")),
        allows=given["Effect"] == "Allow",
        actions=AnyOf(actions, fold=True),
        not_action="NotAction" in given,
        resources=resources,
        not_resource="NotResource" in given,
        conditions=held,
        principal=wanted,
        not_principal="NotPrincipal" in given,
    )


def _texts(given: Mapping[str, Any], name: str, negation: str) -> tuple[str, ...]:
    if (name in given) == (negation in given):
        raise BadPolicy(f"Policy statement must contain {name.lower()}s.")
    found = given.get(name, given.get(negation))
    texts = found if isinstance(found, list) else [found]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadPolicy(f"Policy statement must contain {name.lower()}s.")
    return tuple(texts)
