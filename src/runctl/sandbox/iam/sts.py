"""STS: who one is, and sessions of roles and users. What is not here goes on to moto.

Sessions cannot be longer than their role allows, nor than an hour when a session assumes another role; packed sizes
of policies are not computed as AWS does (nobody knows how), only their plain limit of 2,048 characters is kept.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from runctl.sandbox.call import ApiError
from runctl.sandbox.iam import messages
from runctl.sandbox.iam.answers import answer, form_of, rows
from runctl.sandbox.iam.identities import Session
from runctl.sandbox.iam.needs.need import tags_of
from runctl.sandbox.iam.policy import BadPolicy, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Call, Service
    from runctl.sandbox.http import Request, Response
    from runctl.sandbox.iam.identities import Identities
    from runctl.sandbox.s3.xml import Value
    from runctl.sandbox.state import State

_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
LONGEST_POLICY = 2_048
SHORTEST, CHAINED = 900, 3_600  # seconds; as documented for AssumeRole
LONGEST = 129_600  # seconds, of GetSessionToken and GetFederationToken
USUAL = 43_200


class Sts:
    """The service; ``inner`` answers the calls it does not know."""

    def __init__(self, state: State, identities: Identities, inner: Service) -> None:
        self._state = state
        self._identities = identities
        self._inner = inner
        self._operations: dict[str, Callable[[Call, dict[str, str]], dict[str, Value]]] = {
            "AssumeRole": self._assume_role,
            "DecodeAuthorizationMessage": self._decode,
            "GetCallerIdentity": self._caller,
            "GetFederationToken": self._federate,
            "GetSessionToken": self._session_token,
        }

    async def handle(self, request: Request, call: Call) -> Response | None:
        """Answer one call."""
        operation = self._operations.get(call.action)
        if operation is None:
            return await self._inner.handle(request, call)
        await self._identities.ready()
        return answer(call, operation(call, form_of(call)))

    def _caller(self, call: Call, _form: dict[str, str]) -> dict[str, Value]:
        principal = call.principal or self._identities.root()
        return {"UserId": principal.user_id, "Account": principal.account, "Arn": principal.arn}

    def _decode(self, _call: Call, form: dict[str, str]) -> dict[str, Value]:
        try:
            return {"DecodedMessage": messages.decode(self._state.secret, form.get("EncodedMessage", ""))}
        except ValueError as error:  # zlib's and base64's are among them, as is a wrong signature
            raise ApiError("InvalidAuthorizationMessageException", "Message is not valid") from error

    def _assume_role(self, call: Call, form: dict[str, str]) -> dict[str, Value]:
        arn, name = form.get("RoleArn", ""), form.get("RoleSessionName", "")
        record = self._identities.role_record(arn.rpartition("/")[2])
        who = call.principal or self._identities.root()
        if record is None or record.arn != arn:  # only the root user comes as far as this
            raise ApiError(
                "AccessDenied",
                f"User: {who.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                status=403,
            )
        if not _NAME.fullmatch(name):
            raise _invalid(
                "roleSessionName", name, r"Member must satisfy regular expression pattern: [\w+=,.@-]*"
            )
        seconds = self._seconds(form, default=3_600, longest=int(record.max_session_duration or 3_600))
        if who.kind == "AssumedRole" and seconds > CHAINED:
            raise ApiError(
                "ValidationError",
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
            )
        held = self._state.lend(record.name, seconds=seconds)
        session = Session(
            "AssumedRole",
            str(record.name),
            name,
            self._policies(form),
            tags_of(rows(form, "Tags")),
            form.get("SourceIdentity", ""),
            held.issued,
        )
        self._identities.keep(held.access_key, session)
        user = {
            "AssumedRoleId": f"{record.id}:{name}",
            "Arn": f"arn:aws:sts::{call.account}:assumed-role/{record.name}/{name}",
        }
        return {**self._credentials(held.access_key), "AssumedRoleUser": user, "PackedPolicySize": 0}

    def _federate(self, call: Call, form: dict[str, str]) -> dict[str, Value]:
        name = form.get("Name", "")
        if not re.fullmatch(r"[\w+=,.@-]{2,32}", name, re.ASCII):
            raise _invalid("name", name, r"Member must satisfy regular expression pattern: [\w+=,.@-]*")
        held = self._state.lend("", seconds=self._seconds(form, default=USUAL, longest=LONGEST))
        owner = call.principal.name if call.principal is not None else ""
        tags = tags_of(rows(form, "Tags"))
        session = Session("FederatedUser", owner, name, self._policies(form), tags, issued=held.issued)
        self._identities.keep(held.access_key, session)
        user = {
            "FederatedUserId": f"{call.account}:{name}",
            "Arn": f"arn:aws:sts::{call.account}:federated-user/{name}",
        }
        return {**self._credentials(held.access_key), "FederatedUser": user, "PackedPolicySize": 0}

    def _session_token(self, call: Call, form: dict[str, str]) -> dict[str, Value]:
        held = self._state.lend("", seconds=self._seconds(form, default=USUAL, longest=LONGEST))
        owner = call.principal.name if call.principal is not None else ""
        self._identities.keep(held.access_key, Session("User", owner, owner, issued=held.issued))
        return self._credentials(held.access_key)

    @staticmethod
    def _seconds(form: dict[str, str], *, default: int, longest: int) -> int:
        text = form.get("DurationSeconds", str(default))
        seconds = int(text) if text.isdecimal() else 0
        if seconds < SHORTEST:
            raise _invalid(
                "durationSeconds", text, f"Member must have value greater than or equal to {SHORTEST}"
            )
        if seconds > longest and "DurationSeconds" in form:
            raise ApiError(
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            )
        return min(seconds, longest)

    def _policies(self, form: dict[str, str]) -> tuple[str, ...] | None:
        """The session policies of a call; None when it has none."""
        found = [form["Policy"]] if form.get("Policy") else []
        for row in rows(form, "PolicyArns"):
            text = self._identities.managed(row.get("arn", ""))
            if text is None:
                raise ApiError("ValidationError", f"{row.get('arn')} does not exist")
            found.append(text)
        for text in found[:1] if form.get("Policy") else ():
            if len(text) > LONGEST_POLICY:
                raise _invalid(
                    "policy", text, f"Member must have length less than or equal to {LONGEST_POLICY}"
                )
            try:
                parse(text)
            except BadPolicy as error:
                raise ApiError("MalformedPolicyDocument", str(error)) from error
        return tuple(found) or None

    def _credentials(self, access_key: str) -> dict[str, Value]:
        held = self._state.lent(access_key)
        assert held is not None
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(held.expires))
        return {
            "Credentials": {
                "AccessKeyId": held.access_key,
                "SecretAccessKey": held.secret,
                "SessionToken": held.token,
                "Expiration": expires,
            }
        }


def _invalid(name: str, value: str, constraint: str) -> ApiError:
    return ApiError(
        "ValidationError",
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: {constraint}",
    )
