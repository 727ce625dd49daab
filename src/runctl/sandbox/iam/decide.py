"""The decision: an explicit Deny anywhere, else what allows and is not limited, else no.

As the IAM user guide describes it for one account. A resource policy that names the user or the session itself is
enough alone; one that names a role is limited by boundary and session policies; one that names the account only hands
the question on to the caller's own policies. Organisation policies do not exist in the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from runctl.sandbox.iam.principal import Grade, Principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runctl.sandbox.iam.policy import Asked, Policy, Statement

IDENTITY, RESOURCE, BOUNDARY, SESSION = (
    "identity-based policy",
    "resource-based policy",
    "permissions boundary",
    "session policy",
)


@dataclass(frozen=True, slots=True)
class Grants:
    """The policies that come with a principal. None: there is no such limit."""

    identity: tuple[Policy, ...] = ()
    boundary: tuple[Policy, ...] | None = None
    session: tuple[Policy, ...] | None = None


class Match(NamedTuple):
    """A statement that decided, and the policy it stands in."""

    policy: Policy
    statement: Statement


@dataclass(frozen=True, slots=True)
class Decision:
    """What came out. ``source`` is the kind of policy that denied, or that lacks a statement."""

    allowed: bool
    explicit: bool = False
    source: str = ""
    matched: tuple[Match, ...] = ()
    by_boundary: bool | None = None  # None: there is no boundary

    @property
    def word(self) -> str:
        """The decision as simulations name it."""
        return "allowed" if self.allowed else "explicitDeny" if self.explicit else "implicitDeny"


def _matches(policies: Iterable[Policy] | None, asked: Asked, *, allow: bool) -> tuple[Match, ...]:
    return tuple(
        Match(policy, statement)
        for policy in policies or ()
        for statement in policy.about(asked.action, allow=allow)
        if statement.applies(asked)
    )


def _of_resource(
    policy: Policy | None, asked: Asked, principal: Principal, *, allow: bool
) -> list[tuple[Grade, Match]]:
    found = _matches((policy,), asked, allow=allow) if policy is not None else ()
    graded = [(match.statement.grade(principal), match) for match in found]
    return [(grade, match) for grade, match in graded if grade is not Grade.NOT]


def decide(
    asked: Asked,
    principal: Principal,
    grants: Grants,
    *,
    resource: Policy | None = None,
    must: bool = False,
) -> Decision:
    """Whether ``principal`` may do what is asked.

    ``must``: the resource policy has to allow it in any case, as those of roles (trust) and KMS keys do.
    """
    bounded = None if grants.boundary is None else bool(_matches(grants.boundary, asked, allow=True))
    for source, policies in (
        (IDENTITY, grants.identity), (BOUNDARY, grants.boundary), (SESSION, grants.session),
    ):  # fmt: skip
        if denied := _matches(policies, asked, allow=False):
            return Decision(allowed=False, explicit=True, source=source, matched=denied, by_boundary=bounded)
    if refused := _of_resource(resource, asked, principal, allow=False):
        matched = tuple(match for _, match in refused)
        return Decision(allowed=False, explicit=True, source=RESOURCE, matched=matched, by_boundary=bounded)
    given = _of_resource(resource, asked, principal, allow=True)
    own = _matches(grants.identity, asked, allow=True)
    in_session = grants.session is None or bool(_matches(grants.session, asked, allow=True))
    best = max((grade for grade, _ in given), default=Grade.NOT)
    matched = (*own, *(match for _, match in given))
    lacking = _lacking(best, own=bool(own), bounded=bounded is not False, in_session=in_session, must=must)
    return Decision(not lacking, source=lacking, matched=() if lacking else matched, by_boundary=bounded)


def _lacking(best: Grade, *, own: bool, bounded: bool, in_session: bool, must: bool) -> str:
    """The kind of policy that does not allow it; empty when it is allowed."""
    if best is Grade.ITSELF:
        return ""
    if must and best is Grade.NOT:
        return RESOURCE
    if best is not Grade.ROLE and not own:
        return IDENTITY
    if not bounded:
        return BOUNDARY
    return "" if in_session else SESSION
