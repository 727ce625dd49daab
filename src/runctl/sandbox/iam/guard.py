"""The guard between the front and the services: every signed call of anybody but the root user is authorised here."""

from __future__ import annotations

import ipaddress
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from runctl.sandbox.call import ApiError
from runctl.sandbox.iam import messages, words
from runctl.sandbox.iam.decide import Decision, decide
from runctl.sandbox.iam.needs import ec2, identity, launch, others, ssm
from runctl.sandbox.iam.needs.need import Need
from runctl.sandbox.iam.needs.world import World
from runctl.sandbox.iam.policy import Asked
from runctl.sandbox.iam.principal import Grade, Principal
from runctl.sandbox.iam.reading import read_call, read_json
from runctl.sandbox.spot import has_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.sandbox.call import Call, Cloud
    from runctl.sandbox.http import Request
    from runctl.sandbox.iam.identities import Identities, Known
    from runctl.sandbox.iam.needs.need import Values
    from runctl.sandbox.moto_services import Moto
    from runctl.sandbox.sigv4 import Identity
    from runctl.sandbox.ssm.service import Ssm

SPOT_SERVICE = "spot.amazonaws.com"
_JSON = frozenset(
    {"ssm", "pricing", "servicequotas"}
)  # answered by us: moto has no model of the call at hand


class Guard:
    """Decides about calls.

    Setting ``secure_transport`` (true): what ``aws:SecureTransport`` is; loopback stands for TLS here.
    """

    def __init__(self, cloud: Cloud, moto: Moto, identities: Identities) -> None:
        self._cloud = cloud
        self._moto = moto
        self.identities = identities
        self._secure = (cloud.settings.get("secure_transport", "true"),)
        if self._secure[0] not in ("true", "false"):
            raise ValueError("the setting `secure_transport` is `true` or `false`")

    async def check(self, request: Request, call: Call) -> None:
        """Let a call pass whose signature was found good, and say in it whose it is.

        Raises:
            ApiError: the caller may not do this; ``DryRunOperation`` when it was only asked whether they may.
        """
        if call.identity is not None and not self.identities.is_root(call.access_key):
            known = self.identities.of(call.access_key)
            call.principal = known.principal
            _refuse_sessions(call, known)
            base = self._base(request, known, call.region, call.service)
            await self._authorise(request, call, known, base)
        if call.service == "ec2" and b"DryRun=true" in call.body and call.action != "RunInstances":
            # RunInstances looks at its parameters before it says so (see ec2_hooks.py)
            raise ApiError(
                "DryRunOperation", "Request would have succeeded, but DryRun flag is set.", status=412
            )

    async def _authorise(self, request: Request, call: Call, known: Known, base: Values) -> None:
        refused: ApiError | None = None
        for needs in await self._alternatives(request, call, known.principal):
            refused = self._first_refusal(call.service, known, needs, base)
            if refused is None:
                return
        if refused is not None:
            raise refused

    def _first_refusal(
        self, service: str, known: Known, needs: Sequence[Need], base: Values
    ) -> ApiError | None:
        for need in needs:
            asked, decision = self.decide(known, need, base)
            if decision.allowed:
                continue
            if need.action == "iam:CreateServiceLinkedRole" and service == "ec2":
                return ApiError(
                    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
                    "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
                    status=403,
                )
            told = messages.details(known.principal, asked, decision)
            sentence = words.sentence(service, known.principal, asked, decision)
            encoded = messages.encode(self._cloud.state.secret, told)
            return words.refusal(service, sentence, encoded=encoded)
        return None

    @staticmethod
    def decide(known: Known, need: Need, base: Values) -> tuple[Asked, Decision]:
        """One need of somebody, with the keys that every request of theirs has."""
        asked = Asked(need.action, need.resource, {**base, **need.keys})
        return asked, decide(asked, known.principal, known.grants, resource=need.policy, must=need.must)

    async def _alternatives(self, request: Request, call: Call, principal: Principal) -> list[list[Need]]:
        service = call.identity.service if call.identity is not None else call.service
        if service == "ec2messages":
            return [[Need(f"ec2messages:{call.action}")]]
        if call.service in _JSON:
            given = read_json(call)
            if call.service == "ssm":
                sessions = cast("Ssm", self._cloud.services["ssm"])
                place = ssm.Place(call.region, call.account, self._cloud.ec2, sessions.session_tags)
                return ssm.needs(place, call.action, given, request.path)
            return [self._others(call, call.action, given)]
        return [await self._moto.run(lambda: self._needs(request, call, principal))]

    def _needs(self, request: Request, call: Call, principal: Principal) -> list[Need]:
        """In moto's thread: what a call of a service of moto's needs."""
        action, given = read_call(request, call)
        if call.service == "iam":
            return identity.iam_needs(self.identities, principal, action, given)
        if call.service == "sts":
            return identity.sts_needs(self.identities, action, given)
        if call.service not in ("ec2", "autoscaling"):
            return self._others(call, action, given)
        world = World(
            self._moto.backend("ec2", call.region), call.region, call.account, self.identities.iam()
        )
        found = (
            ec2.needs(world, action, given) if call.service == "ec2" else self._others(call, action, given)
        )
        for each in launch.indirect(action, given):
            found += launch.launch_needs(world, "RunInstances", each)
        if action in ("RunInstances", "RequestSpotInstances") and launch.is_spot(given, action):
            found += [] if has_role(world.iam) else [identity.linked_role(call.account, SPOT_SERVICE)]
        return found

    def _others(self, call: Call, action: str, given: dict[str, Any]) -> list[Need]:
        return others.needs(
            call.service,
            action,
            given,
            region=call.region,
            account=call.account,
            backend=lambda: self._moto.backend(call.service, call.region),
        )

    def ec2_may_assume(self, role: str) -> bool:
        """Whether a role's trust policy lets EC2 have it for instances."""
        record = self.identities.role_record(role)
        if record is None:
            return False
        service = Principal("Service", "ec2.amazonaws.com", "ec2.amazonaws.com", "", "", "ec2")
        asked = Asked("sts:AssumeRole", str(record.arn), service.keys())
        statements = [
            each
            for each in self.identities.trust(record).statements
            if each.names_action(asked.action)
            and each.applies(asked)
            and each.grade(service) is not Grade.NOT
        ]
        return bool(statements) and all(each.allows for each in statements)

    def judge_s3(self, request: Request, signed: Identity) -> S3Judge | None:
        """Who decides about a request to S3; None for the root user, who may do everything."""
        if self.identities.is_root(signed.access_key):
            return None
        known = self.identities.of(signed.access_key)
        return S3Judge(known, self._base(request, known, signed.region or self._cloud.state.region, "s3"))

    def _base(self, request: Request, known: Known, region: str, service: str) -> Values:
        """The condition keys that a request has whatever it wants."""
        stamp, seconds = _moment(int(self._cloud.state.now()))
        keys = {
            **known.keys,
            "aws:currenttime": stamp,
            "aws:epochtime": seconds,
            "aws:securetransport": self._secure,
            "aws:requestedregion": (region,),
            "aws:sourceip": (self._address(request, known),),
        }
        if agent := request.headers.get("user-agent"):
            keys["aws:useragent"] = (agent,)
        if service == "ec2":
            keys["ec2:region"] = (region,)
        if known.session is not None and known.session.instance:
            arn = f"arn:aws:ec2:{region}:{known.principal.account}:instance/{known.session.instance}"
            keys["ec2:sourceinstancearn"] = keys["ssm:sourceinstancearn"] = (arn,)
        return keys

    def _address(self, request: Request, known: Known) -> str:
        """Where a request came from; through a relay of an instance, the instance's own address."""
        if _is_address(request.client):
            return request.client
        instance = known.session.instance if known.session is not None else ""
        found = self._cloud.ec2.describe(instance) if self._cloud.ec2 is not None else None
        return found.address if found is not None else "127.0.0.1"


@lru_cache(maxsize=4)
def _moment(seconds: int) -> tuple[tuple[str], tuple[str]]:
    """A time as the two keys have it."""
    return (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)),), (str(seconds),)


@lru_cache(maxsize=256)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class S3Judge:
    """Decides about one request to S3, which may need several permissions as its operation goes on."""

    __slots__ = ("_base", "_known")

    def __init__(self, known: Known, base: Values) -> None:
        self._known = known
        self._base = base

    def refusal(self, need: Need) -> str:
        """Why the caller may not do this; empty when they may."""
        asked, decision = Guard.decide(self._known, need, self._base)
        return "" if decision.allowed else words.sentence("s3", self._known.principal, asked, decision)


def _refuse_sessions(call: Call, known: Known) -> None:
    """What AWS does not let temporary credentials without a role do. Raises ApiError."""
    if known.session is None or known.session.kind == "AssumedRole":
        refused = known.session is not None and call.action in ("GetSessionToken", "GetFederationToken")
    elif call.service == "iam":
        raise ApiError(
            "InvalidClientTokenId", "The security token included in the request is invalid", status=403
        )
    else:
        refused = call.action not in ("GetCallerIdentity", "AssumeRole") or (
            known.session.kind == "FederatedUser" and call.action == "AssumeRole"
        )
    if call.service == "sts" and refused:
        raise ApiError("AccessDenied", f"Cannot call {call.action} with session credentials", status=403)
