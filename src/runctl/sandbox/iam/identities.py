"""Whose an access key is, and which policies come with it: users and roles of moto's records, sessions that STS lent.

Read on the loop while moto's thread may write: only whole dictionaries are copied. Documents are parsed once and people
looked up once until somebody calls IAM, whose change counts from the next request on; AWS needs seconds for that.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runctl.sandbox.iam.decide import Grants
from runctl.sandbox.iam.policy import BadPolicy, Policy, named, parse
from runctl.sandbox.iam.principal import Principal

if TYPE_CHECKING:
    from runctl.sandbox.moto_services import Moto
    from runctl.sandbox.state import State

log = logging.getLogger("runctl.sandbox.iam")

# what a document that cannot be read amounts to: whoever has it may do nothing
_BROKEN = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}'
ALL = parse('{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}')


@dataclass(frozen=True)
class Session:
    """What STS (or an instance's metadata service) lent. ``owner`` is the role's or user's name, empty: the root user.

    Args:
        kind: AssumedRole, FederatedUser or User (GetSessionToken).
        name: of the session.
        policies: session policies, None when none were given.
        issued: seconds since the epoch.
        instance: the instance it was served to.
    """

    kind: str
    owner: str
    name: str
    policies: tuple[str, ...] | None = None
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    source_identity: str = ""
    issued: float = 0.0
    instance: str = ""


@dataclass(frozen=True)
class Known:
    """Somebody, what they may do, and the condition keys that all their requests have."""

    principal: Principal
    grants: Grants
    session: Session | None = None
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


def keys_of(principal: Principal, session: Session | None) -> dict[str, tuple[str, ...]]:
    """The condition keys of whoever asks and of the session they are in."""
    found = {**principal.keys(), "aws:resourceaccount": (principal.account,), "aws:viaawsservice": ("false",)}
    if session is None:
        return found
    issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.issued))
    found |= {"aws:tokenissuetime": (issued,), "aws:multifactorauthpresent": ("false",)}
    if session.source_identity:
        found["aws:sourceidentity"] = (session.source_identity,)
    if session.instance:
        found["ec2:roledelivery"] = ("2.0",)
    return found


class Identities:
    """Everybody who can sign a request but the root user of the account."""

    def __init__(self, state: State, moto: Moto) -> None:
        self._state = state
        self._moto = moto
        self._sessions: dict[str, Session] = {}
        self._known: dict[str, Known] = {}  # by access key, until IAM changes
        state.more_keys = self.secret_of
        moto.when_loaded("iam", lambda: moto.open("iam"))  # it reads 1,600 policies: not on the loop, later

    @property
    def account(self) -> str:
        """The sandbox's one account."""
        return self._state.account

    def iam(self) -> Any:
        """moto's records; None before anybody made a call that needs them."""
        return self._moto.peek("iam")

    async def ready(self) -> None:
        """Return when there are records to look at."""
        if self.iam() is None:
            await self._moto.run(lambda: self._moto.backend("iam", "aws"))

    def is_root(self, access_key: str) -> bool:
        """Whether a key is the account's own, which may do everything."""
        return access_key == self._state.access_key

    def keep(self, access_key: str, session: Session) -> None:
        """Remember a session by its key."""
        if len(self._sessions) > 1_000:
            living = {
                key
                for key in self._sessions
                if (held := self._state.lent(key)) and held.expires > self._state.now()
            }
            self._sessions = {key: self._sessions[key] for key in living}
        self._sessions[access_key] = session

    def reset(self) -> None:
        """Forget every session."""
        self._sessions.clear()
        self.changed()

    def changed(self) -> None:
        """Something in IAM may be otherwise now: everybody is looked up again."""
        self._known.clear()

    def secret_of(self, access_key: str, token: str) -> str | None:
        """The secret of a user's key; None for others, for inactive ones, and with a session token."""
        iam = self.iam()
        key = iam.access_keys.get(access_key) if iam is not None else None
        if key is None or key.user_name is None or key.status != "Active" or token:
            return None
        return str(key.secret_access_key)

    def of(self, access_key: str) -> Known:
        """Whose a key is whose signature was found good. Somebody who is deleted meanwhile may do nothing."""
        known = self._known.get(access_key)
        if known is None:
            if len(self._known) > 1_000:
                self._known.clear()
            known = self._look_up(access_key)
            keys = keys_of(known.principal, known.session)
            known = self._known[access_key] = replace(known, keys=keys)
        return known

    def _look_up(self, access_key: str) -> Known:
        session = self._sessions.get(access_key)
        held = self._state.lent(access_key)
        if session is None and held is not None:
            instance = self._state.instance_of(access_key)
            session = Session("AssumedRole", held.role, instance, issued=held.issued, instance=instance)
        if session is None:
            key = self.iam().access_keys.get(access_key)
            return self.user(str(key.user_name) if key is not None else "")
        known = self.role(session) if session.kind == "AssumedRole" else self.federated(session)
        return Known(known.principal, known.grants, session)

    def user(self, name: str) -> Known:
        """A user as IAM has them now."""
        record = self.iam().users.get(name)
        if record is None:
            arn = f"arn:aws:iam::{self.account}:user/{name}"
            return Known(Principal("User", arn, arn, self.account, "", name), Grants())
        tags = {each["Key"]: each["Value"] for each in record.tags or ()}
        principal = Principal("User", record.arn, record.arn, self.account, str(record.id), name, tags)
        own = self._own(record, f"user_{name}")
        for group in list(self.iam().groups.values()):
            if record in group.users:
                own += self._own(group, f"group_{group.name}")
        return Known(principal, Grants(own, self.boundary(getattr(record, "permissions_boundary_arn", None))))

    def role(self, session: Session) -> Known:
        """A session of a role."""
        record = self.role_record(session.owner)
        arn = f"arn:aws:sts::{self.account}:assumed-role/{session.owner}/{session.name}"
        if record is None:
            return Known(Principal("AssumedRole", arn, arn, self.account, "", session.name), Grants())
        tags = {each["Key"]: each["Value"] for each in record.tags or ()} | session.tags
        user_id = f"{record.id}:{session.name}"
        principal = Principal("AssumedRole", arn, record.arn, self.account, user_id, session.name, tags)
        limits = None if session.policies is None else self._parsed(session.policies, "session policy")
        grants = Grants(
            self._own(record, f"role_{record.name}"), self.boundary(record.permissions_boundary_arn), limits
        )
        return Known(principal, grants)

    def federated(self, session: Session) -> Known:
        """What GetFederationToken or GetSessionToken lent in the name of a user, or of the root user."""
        lender = self.user(session.owner) if session.owner else None
        grants = lender.grants if lender is not None else Grants((ALL,))
        if session.kind == "User":
            principal = lender.principal if lender is not None else self.root()
            return Known(principal, grants)
        arn = f"arn:aws:sts::{self.account}:federated-user/{session.name}"
        principal = Principal(
            "FederatedUser",
            arn,
            arn,
            self.account,
            f"{self.account}:{session.name}",
            session.name,
            session.tags,
        )
        limits = self._parsed(session.policies or (), "session policy")  # without one nothing is handed on
        return Known(principal, Grants(grants.identity, grants.boundary, limits))

    def entity(self, kind: str, name: str) -> Known | None:
        """A user, role or group by its name, as simulations take them; None when there is none."""
        iam = self.iam()
        if kind == "user" and iam is not None and name in iam.users:
            return self.user(name)
        if kind == "group" and iam is not None and name in iam.groups:
            record = iam.groups[name]
            group = Principal("User", str(record.arn), str(record.arn), self.account, str(record.id), name)
            return Known(group, Grants(self._own(record, f"group_{name}")))
        record = self.role_record(name) if kind == "role" else None
        if record is None:
            return None
        known = self.role(Session("AssumedRole", name, "simulated"))
        return Known(replace(known.principal, arn=str(record.arn)), known.grants)

    def root(self) -> Principal:
        """The account's root user."""
        arn = f"arn:aws:iam::{self.account}:root"
        return Principal("Account", arn, arn, self.account, self.account, "root")

    def role_record(self, name: str) -> Any:
        """moto's record of a role by its name; None when there is none."""
        iam = self.iam()
        roles = list(iam.roles.values()) if iam is not None else []
        return next((role for role in roles if role.name == name), None)

    def trust(self, record: Any) -> Policy:
        """Who may assume a role."""
        return self._read(record.assume_role_policy_document, "trust", f"{record.name} trust policy")

    def managed(self, arn: str) -> str | None:
        """The text of a managed policy's default version; None when there is no such policy."""
        found = self.iam().managed_policies.get(arn)
        if found is None:
            return None
        return next(str(version.document) for version in found.versions if version.is_default)

    def boundary(self, arn: str | None) -> tuple[Policy, ...] | None:
        """The permissions boundary with an ARN; one that is deleted allows nothing."""
        if not arn:
            return None
        text = self.managed(arn)
        return () if text is None else (self._read(text, "identity", arn.rpartition("/")[2]),)

    def _own(self, record: Any, prefix: str) -> tuple[Policy, ...]:
        """The policies of a user, group or role: those attached to it, and its inline ones."""
        found = [
            self._read(self.managed(arn) or _BROKEN, "identity", policy.name)
            for arn, policy in list(record.managed_policies.items())
        ]
        found += [
            self._read(text, "identity", f"{prefix}_{name}") for name, text in list(record.policies.items())
        ]
        return tuple(found)

    def _parsed(self, texts: tuple[str, ...], name: str) -> tuple[Policy, ...]:
        return tuple(self._read(text, "identity", name) for text in texts)

    @staticmethod
    def _read(text: str, kind: str, name: str) -> Policy:
        try:
            return named(parse(text, kind), name)
        except BadPolicy as error:  # put before the sandbox looked at it, or by a path it does not know
            log.warning("%s cannot be read, so that it denies everything: %s", name, error)
            return named(parse(_BROKEN), name)
