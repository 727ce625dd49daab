"""Who asks, and whom a Principal element means."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

ACCOUNT_ROOT = re.compile(r"(?:arn:aws:iam::)?(\d{12})(?::root)?")


class Grade(IntEnum):
    """How closely a Principal element means somebody; the closer, the less else is needed."""

    NOT = 0
    ACCOUNT = 1  # their account: its own policies have to allow it, too
    ROLE = 2  # the role of a session: boundaries and session policies still limit it
    ITSELF = 3  # exactly this user or session, or everybody


@dataclass(frozen=True)
class Principal:
    """Somebody who signs requests, or an AWS service that assumes roles.

    Args:
        kind: User, AssumedRole, FederatedUser, Account (the root user) or Service.
        arn: as messages name them; of a role's session, the session.
        entity: what policies are attached to: the user, or the role behind a session.
        user_id: ``aws:userid``.
        name: of the user, else of the session.
        tags: ``aws:PrincipalTag/...``.
    """

    kind: str
    arn: str
    entity: str
    account: str
    user_id: str
    name: str
    tags: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def mark(self) -> str:
        """What sessions of Systems Manager are tagged with: a user's name, else ``aws:userid``."""
        return self.name if self.kind == "User" else self.user_id

    def keys(self) -> dict[str, tuple[str, ...]]:
        """The condition keys that come with who asks."""
        found: dict[str, tuple[str, ...]] = {
            "aws:principalarn": (self.entity,),
            "aws:principalaccount": (self.account,),
            "aws:principaltype": (self.kind,),
            "aws:principalisawsservice": ("true" if self.kind == "Service" else "false",),
            "aws:userid": (self.user_id,),
            **{f"aws:principaltag/{name.lower()}": (value,) for name, value in self.tags.items()},
        }
        if self.kind == "User":
            found["aws:username"] = (self.name,)
        return found


@dataclass(frozen=True)
class Wanted:
    """A Principal element, read."""

    everybody: bool
    arns: frozenset[str]
    accounts: frozenset[str]
    services: frozenset[str]

    def grade(self, principal: Principal) -> Grade:
        """How closely it means somebody."""
        if principal.kind == "Service":
            return Grade.ITSELF if principal.arn in self.services else Grade.NOT
        if self.everybody or principal.arn in self.arns:
            return Grade.ITSELF
        if principal.entity in self.arns:
            return Grade.ROLE if principal.kind == "AssumedRole" else Grade.ITSELF
        return Grade.ACCOUNT if principal.account in self.accounts else Grade.NOT


def wanted_of(element: Any) -> Wanted:
    """Read a Principal element. Raises ValueError for what is none."""
    if element == "*":
        return Wanted(everybody=True, arns=frozenset(), accounts=frozenset(), services=frozenset())
    if not isinstance(element, dict) or not element:
        raise ValueError("Invalid principal in policy")
    everybody, arns, accounts, services = False, set(), set(), set()
    for kind, given in element.items():
        texts = given if isinstance(given, list) else [given]
        if kind not in ("AWS", "Service", "Federated", "CanonicalUser") or not all(
            isinstance(text, str) for text in texts
        ):
            raise ValueError("Invalid principal in policy")
        for text in texts:
            if kind == "Service":
                services.add(text)
            elif kind == "AWS" and text == "*":
                everybody = True
            elif kind == "AWS" and (account := ACCOUNT_ROOT.fullmatch(text)):
                accounts.add(account.group(1))
            elif kind == "AWS":
                arns.add(text)
    return Wanted(everybody, frozenset(arns), frozenset(accounts), frozenset(services))
