"""SSM as one service: its JSON API, and the message gateway's two kinds of channel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from runctl.core import ssm_frames
from runctl.sandbox.call import ApiError
from runctl.sandbox.http import Response
from runctl.sandbox.ssm import (
    command_api,
    instance_api,
    parameter_api,
    session_api,
    targets,
    validation,
)
from runctl.sandbox.ssm.agents import Agents, new_id
from runctl.sandbox.ssm.dispatch import Dispatcher
from runctl.sandbox.ssm.parameters import Parameters
from runctl.sandbox.ssm.relay import Sessions
from runctl.sandbox.ssm.settings import SsmSettings, read_settings
from runctl.sandbox.ssm.websocket import WebSocket, accept_key

if TYPE_CHECKING:
    from runctl.sandbox.call import Call, Cloud
    from runctl.sandbox.http import Request

log = logging.getLogger("runctl.sandbox.ssm")

CONTROL, DATA = "/v1/control-channel/", "/v1/data-channel/"
TICK = 0.25  # seconds between looks at what is due
JSON_TYPE = "application/x-amz-json-1.1"

Operation = Callable[["Ssm", "Call", dict[str, Any], "Request"], Any]
OPERATIONS: dict[str, Operation] = {
    **command_api.OPERATIONS,
    **instance_api.OPERATIONS,
    **parameter_api.OPERATIONS,
    **session_api.OPERATIONS,
}


class Ssm:
    """The service of one sandbox. Must be made on the loop; `close` ends what it started."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.settings: SsmSettings = read_settings(cloud.settings)
        self._begin()
        cloud.resets.append(self.reset)
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    def _begin(self) -> None:
        # not the sandbox's own clock: weather that turns it must not expire commands
        self.now = now = time.time
        self.agents = Agents(self.settings, now=now, monotonic=time.monotonic, weather=self.weather)
        self.commands = Dispatcher(self.agents, self.settings, now=now, weather=self.weather)
        self.sessions = Sessions(now=now, monotonic=time.monotonic)
        self.parameters = Parameters(now=now)
        self.agents.handlers["agent_task_complete"] = self._task_complete
        self._endings: set[asyncio.Task[None]] = set()

    def reset(self) -> None:
        """As new: commands, sessions and parameters are forgotten, and agents have to register again."""
        self.agents.close()
        self.sessions.close()
        self._begin()

    async def close(self) -> None:
        """Cut all channels and end the ticking. Safe to repeat."""
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        self.agents.close()
        self.sessions.close()

    def weather(self, kind: str, instance: str) -> bool:
        """Whether weather of a kind is over an instance now."""
        return self.cloud.weather.fault({"service": "ssm", "instance": instance}, kinds=(kind,)) is not None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self.commands.tick()
                self.agents.push_all()
                await self._end_sessions()
            except Exception:
                log.exception("what is due could not be done")

    async def _end_sessions(self) -> None:
        """End the sessions nobody used for too long, and those whose instance is gone."""
        for session in self.sessions.idle(self.settings.idle_seconds):
            await self.sessions.end(session, ending="TimedOut", output="The session was idle for too long.")
        for session in self.sessions.living():
            found = self.cloud.ec2.describe(session.target) if self.cloud.ec2 else None
            if found is None or found.state not in targets.USABLE:
                await self.sessions.end(
                    session, ending="Terminated", output=f"{session.target} is not running."
                )

    # --- HTTP ---------------------------------------------------------------------------------------------

    async def handle(self, request: Request, call: Call) -> Response | None:
        """Answer one request. Raises ApiError to refuse."""
        for prefix, serve in ((CONTROL, self._control), (DATA, self._data)):
            if request.path.startswith(prefix):
                return await serve(request, call, unquote(request.path[len(prefix) :]))
        target, _, _ = request.headers.get("x-amz-target").partition(".")
        if target == "EC2WindowsMessageDeliveryService_v20150528" or "MessageDelivery" in target:
            return self._json({"Destination": "", "Messages": [], "MessagesRequestId": call.request_id})
        operation = OPERATIONS.get(call.action)
        if operation is None:
            raise ApiError("UnknownOperationException", f"the sandbox's SSM has no operation {call.action!r}")
        try:
            given = json.loads(call.body or b"{}")
        except ValueError as error:
            raise ApiError("SerializationException", "the request's body is not JSON") from error
        if call.action in validation.operations():
            validation.check(call.action, given)
        answer = operation(self, call, given, request)
        return self._json(await answer if asyncio.iscoroutine(answer) else answer)

    @staticmethod
    def _json(answer: Any) -> Response:
        return Response(200, {"Content-Type": JSON_TYPE}, json.dumps(answer).encode())

    # --- the gateway --------------------------------------------------------------------------------------

    async def _control(self, request: Request, call: Call, instance: str) -> Response | None:
        if request.method == "GET" and "upgrade" in request.headers:
            await self.agents.serve(instance, await _upgrade(request))
            return None
        self.check_agent(call, instance)
        self._exists(instance)
        return _channel_created("CreateControlChannel", self.agents.new_token(instance))

    async def _data(self, request: Request, call: Call, session_id: str) -> Response | None:
        session = self.sessions.get(session_id)
        if session is None or session.ended is not None:
            raise ApiError("DoesNotExistException", f"there is no session {session_id}", status=404)
        if request.method == "GET" and "upgrade" in request.headers:
            await self.sessions.serve(session, await _upgrade(request))
            return None
        self.check_agent(call, session.target)
        return _channel_created("CreateDataChannel", self.sessions.agent_token(session))

    def session_tags(self, session_id: str) -> dict[str, str]:
        """The tags that Systems Manager itself puts on a session; none when there is no such session."""
        found = self.sessions.get(session_id)
        if found is None:
            return {}
        return {"aws:ssmmessages:session-id": found.mark, "aws:ssmmessages:target-id": found.target}

    def check_agent(self, call: Call, instance: str) -> None:
        """An agent speaks for its own instance only, with the credentials of that instance. Raises ApiError."""
        if self.cloud.state.instance_of(call.access_key) != instance:
            raise ApiError(
                "AccessDeniedException", f"these are not the credentials of {instance}", status=403
            )

    def _exists(self, instance: str) -> None:
        found = self.cloud.ec2.describe(instance) if self.cloud.ec2 else None
        if found is None or not found.profile or found.state in ("terminated", "shutting-down"):
            raise ApiError("AccessDeniedException", f"{instance} has no instance profile", status=403)

    def _task_complete(self, instance: str, body: dict[str, Any]) -> None:
        session = self.sessions.get(str(body.get("TaskId")))
        if session is None or session.target != instance:
            return
        ack = {
            "SchemaVersion": 1,
            "MessageId": new_id(),
            "TaskId": session.id,
            "Topic": body.get("Topic", ""),
        }
        self.agents.tell(instance, ssm_frames.new("agent_task_acknowledge", json.dumps(ack).encode()))
        ending = "Failed" if body.get("FinalTaskStatus") == "Failed" else "Terminated"
        task = asyncio.get_running_loop().create_task(
            self.sessions.end(session, ending=ending, output=str(body.get("Output", "")))
        )
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


async def _upgrade(request: Request) -> WebSocket:
    """Answers the handshake. Raises ApiError when it is none."""
    key = request.headers.get("sec-websocket-key")
    if request.headers.get("upgrade").lower() != "websocket" or not key:
        raise ApiError("BadRequest", "this is no websocket handshake")
    reader, writer = request.upgrade()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
        "",
        "",
    ]
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    return WebSocket(reader, writer, client=False)


def _channel_created(operation: str, token: str) -> Response:
    """What opens a channel, in the gateway's XML."""
    body = (
        f"<{operation}Response><RequestId>{new_id()}</RequestId>"
        f"<MessageSchemaVersion>1.0</MessageSchemaVersion><TokenValue>{escape(token)}</TokenValue>"
        f"</{operation}Response>"
    )
    return Response(201, {"Content-Type": "application/xml"}, body.encode())
