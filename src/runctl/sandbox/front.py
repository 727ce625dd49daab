"""The one door of the sandbox: whose call is it, is the signature good, what is the weather, may they, who answers.

A request belongs to the service of its credential scope. Requests without a signature go by their path: the control
routes, the message gateway's websockets, RunPod; what is left is for S3, which answers anonymous requests itself.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl

from runctl.sandbox import sigv4
from runctl.sandbox.call import BODY_LIMIT, ApiError, Call
from runctl.sandbox.framing import BadRequest
from runctl.sandbox.http import BodyTooLarge, ClientGone, Response
from runctl.sandbox.refusals import refuse
from runctl.sandbox.s3 import S3

if TYPE_CHECKING:
    from runctl.sandbox.call import Cloud
    from runctl.sandbox.http import Request
    from runctl.sandbox.weather import Fault

log = logging.getLogger("runctl.sandbox.front")

CONTROL = "/_sandbox/"
# path prefix -> name in Cloud.services; they check their own tokens
UNSIGNED = (
    (CONTROL, "control"),
    ("/v1/control-channel/", "ssm"),
    ("/v1/data-channel/", "ssm"),
    ("/runpod/", "runpod"),
)
ALIASES = {"ssmmessages": "ssm", "ec2messages": "ssm", "s3express": "s3"}
# S3's refusals in the words of the other services
_WORDS = {
    "InvalidAccessKeyId": (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        403,
    ),
    "RequestTimeTooSkewed": ("SignatureDoesNotMatch", "Signature expired or not yet current", 403),
    "AccessDenied": ("MissingAuthenticationToken", "Missing Authentication Token", 403),
}
_NO_REGION = sigv4.SignatureRefused("SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
_EC2_WORDS = {
    "UnrecognizedClientException": "AuthFailure",
    "SignatureDoesNotMatch": "AuthFailure",
    "ExpiredToken": "RequestExpired",
}


class Front:
    """The handler of ``http.serve``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.calls = 0

    async def handle(self, request: Request) -> Response | None:
        """Answer one request; None when it was upgraded or its connection was cut."""
        self.calls += 1
        call = self._call(request)
        try:
            return await self._answer(request, call)
        except sigv4.SignatureRefused as refused:
            code, message, status = _in_words_of(call.service, refused)
            return refuse(request, call, code, message, status)
        except ApiError as error:
            return refuse(request, call, error.code, error.message, error.status, **error.fields)
        except BodyTooLarge:
            return refuse(
                request, call, "RequestEntityTooLarge", f"a request is at most {BODY_LIMIT} bytes", 413
            )
        except (ClientGone, BadRequest):
            raise
        except Exception as error:
            if isinstance(error, KeyError) and error.args == (call.region,):  # moto has no backend for it
                code, message, status = _in_words_of(call.service, _NO_REGION)
                return refuse(request, call, code, message, status)
            log.exception("%s %s failed", call.service, call.action)
            code = "InternalError" if call.service in ("ec2", "s3") else "InternalFailure"
            place = self._cloud.state.folder / "log"
            return refuse(request, call, code, f"the sandbox failed: {error!r}; more in {place}", 500)

    def _call(self, request: Request) -> Call:
        state = self._cloud.state
        access_key, region, service = "", state.region, ""
        for prefix, name in UNSIGNED:
            if request.path.startswith(prefix):
                service = name
        scope = sigv4.scope_of(request)
        if scope is not None:
            access_key, region = scope[0], scope[1]
            service = ALIASES.get(scope[2], scope[2])
        return Call(
            service=service or "s3",
            region=region,
            access_key=access_key,
            account=state.account,
            action="",
            request_id=str(uuid.uuid4()),
        )

    async def _answer(self, request: Request, call: Call) -> Response | None:
        service = self._cloud.services.get(call.service)
        if service is None:
            raise ApiError("UnknownService", f"the sandbox has no service {call.service!r}", status=501)
        weather = self._cloud.weather
        if call.service == "control" or (call.service == "s3" and weather.calm):
            return await service.handle(request, call)
        if isinstance(service, S3):
            call.action, bucket, key = service.operation(request)
            call.facts["key"] = f"{bucket}/{key}"
        elif not _is_channel(request, call):
            await self._read(request, call)
        facts = {
            "service": call.service,
            "action": call.action,
            "region": call.region,
            "access_key": call.access_key,
        }
        fault = weather.fault({**facts, **call.facts})
        if fault is not None:
            if fault.delay:
                await asyncio.sleep(fault.delay)
            if fault.code:
                return refuse(request, call, fault.code, fault.message, fault.status)
            if fault.cut_up is not None and not self._cut_up(request, call, fault):
                return None
        await self._authorise(request, call)
        answer = await service.handle(request, call)
        if fault is not None and answer is not None:
            answer.cut_after, answer.rate = fault.cut_down, fault.rate
        return answer

    async def _authorise(self, request: Request, call: Call) -> None:
        """Raises ApiError when the caller may not do this; S3 asks by itself, when it knows the bucket."""
        if self._cloud.guard is not None and call.identity is not None:
            await self._cloud.guard.check(request, call)

    async def _read(self, request: Request, call: Call) -> None:
        """The body and the operation it names, once its signature has been found good.

        Raises:
            SignatureRefused: it is not.
        """
        call.body = await request.body.read(BODY_LIMIT)
        call.action = _action(request, call.body)
        if sigv4.scope_of(request) is not None:
            state = self._cloud.state
            call.identity = sigv4.verify(request, state.lookup, state.now(), body=call.body)
        elif call.service not in ("ssm", "runpod"):
            raise sigv4.Unsigned

    @staticmethod
    def _cut_up(request: Request, call: Call, fault: Fault) -> bool:
        """Break the connection while the request comes in; whether the service shall still see it."""
        if call.service != "s3":  # its body has been read already: the cut comes before any answer
            request.abort()
            return False
        request.cut_after(cast("int", fault.cut_up))
        return True


def _is_channel(request: Request, call: Call) -> bool:
    """Whether this opens a websocket of the message gateway, which looks at the token in its first message."""
    gateway = request.path.startswith(("/v1/control-channel/", "/v1/data-channel/"))
    return call.service == "ssm" and gateway and "upgrade" in request.headers


def _action(request: Request, body: bytes) -> str:
    """The operation's name: of ``X-Amz-Target``, of the form's ``Action``, else the method and path."""
    target = request.headers.get("x-amz-target")
    if target:
        return target.rpartition(".")[2]
    form = request.headers.get("content-type").startswith("application/x-www-form-urlencoded")
    text = body.decode("utf-8", "replace") if form else request.query
    return dict(parse_qsl(text)).get("Action", "") or f"{request.method} {request.path}"


def _in_words_of(service: str, refused: sigv4.SignatureRefused) -> tuple[str, str, int]:
    if service == "s3":
        return refused.code, refused.message, refused.status
    code, message, status = _WORDS.get(refused.code, (refused.code, refused.message, refused.status))
    if service == "ec2" and code in _EC2_WORDS:
        return _EC2_WORDS[code], "AWS was not able to validate the provided access credentials", 401
    return code, message, status
