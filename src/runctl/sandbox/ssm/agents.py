"""The agents that have made themselves known, and the control channels they hold open."""

from __future__ import annotations

import json
import logging
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runctl.core import ssm_frames
from runctl.sandbox.ssm.websocket import BINARY, TEXT, Message, SocketClosed, WebSocket

if TYPE_CHECKING:
    from runctl.core.ssm_frames import Frame
    from runctl.sandbox.ssm.settings import SsmSettings

log = logging.getLogger("runctl.sandbox.ssm")

Handler = Callable[[str, dict[str, Any]], None]


@dataclass
class Job:
    """One message owed to an agent until it says that it has it. `sent_at` is monotonic; None: not sent yet."""

    id: str
    topic: str
    content: dict[str, Any]
    sent_at: float | None = None

    def frame(self) -> Frame:
        """The message, with an id of its own each time it is sent."""
        body = {
            "Content": json.dumps(self.content),
            "JobId": self.id,
            "Topic": self.topic,
            "SchemaVersion": 1,
        }
        return ssm_frames.new("agent_job", json.dumps(body).encode())


@dataclass
class Agent:
    """One instance's agent. Times are seconds since the epoch."""

    instance: str
    information: dict[str, Any] = field(default_factory=dict)
    first_seen: float | None = None
    last_ping: float = 0.0
    token: str = ""
    channel: WebSocket | None = None
    jobs: dict[str, Job] = field(default_factory=dict)


class Agents:
    """Every agent by instance.

    What the agents say is handed to `handlers` by message type; jobs wait here for an agent that is away.
    """

    def __init__(
        self,
        settings: SsmSettings,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        weather: Callable[[str, str], bool],
    ) -> None:
        self._settings = settings
        self._now = now
        self._monotonic = monotonic
        self._weather = weather
        self._agents: dict[str, Agent] = {}
        self.handlers: dict[str, Handler] = {}
        self.tamper: Callable[[str, Frame], list[Frame]] | None = (
            None  # tests lose and reorder messages with it
        )

    def of(self, instance: str) -> Agent:
        """The agent of an instance, made known now if it was not."""
        return self._agents.setdefault(instance, Agent(instance))

    def forget(self, instance: str) -> None:
        """The instance is gone for good."""
        agent = self._agents.pop(instance, None)
        if agent and agent.channel:
            agent.channel.abort()

    def update(self, instance: str, information: Mapping[str, Any]) -> None:
        """The agent told about itself (UpdateInstanceInformation)."""
        agent = self.of(instance)
        agent.information.update(information)
        agent.last_ping = self._now()
        if agent.first_seen is None:
            agent.first_seen = agent.last_ping

    def registered(self, instance: str) -> bool:
        """Whether the service lists the instance: its agent spoke, long enough ago, and no weather hides it."""
        agent = self._agents.get(instance)
        if agent is None or agent.first_seen is None or self._weather("silent", instance):
            return False
        return self._now() - agent.first_seen >= self._settings.register_seconds

    def online(self, instance: str) -> bool:
        """Whether it is registered and its control channel is open."""
        agent = self._agents.get(instance)
        if agent is None or agent.channel is None or agent.channel.closed:
            return False
        return self.registered(instance) and not self._weather("lost", instance)

    def known(self) -> list[Agent]:
        """Every agent that is registered."""
        return [agent for agent in self._agents.values() if self.registered(agent.instance)]

    def new_token(self, instance: str) -> str:
        """The token with which the control channel is opened next."""
        agent = self.of(instance)
        agent.token = secrets.token_urlsafe(48)
        return agent.token

    # --- jobs -----------------------------------------------------------------------------------------

    def submit(self, instance: str, job: Job) -> None:
        """Send a job now or when the agent is there; it is sent again until acknowledged."""
        self.of(instance).jobs[job.id] = job
        self.push(instance)

    def withdraw(self, instance: str, job_id: str) -> bool:
        """Take a job back; false when the agent has acknowledged it already."""
        return self.of(instance).jobs.pop(job_id, None) is not None

    def push(self, instance: str) -> None:
        """Send what is due to an agent that is online."""
        agent = self.of(instance)
        if not agent.jobs or not self.online(instance):
            return
        now = self._monotonic()
        for job in agent.jobs.values():
            if job.sent_at is None or now - job.sent_at >= self._settings.resend_seconds:
                job.sent_at = now
                self.tell(instance, job.frame())

    def push_all(self) -> None:
        """Send what is due to every agent; called now and then."""
        for instance in list(self._agents):
            self.push(instance)

    def tell(self, instance: str, frame: Frame) -> bool:
        """Send one message on the control channel; false when there is none."""
        channel = self.of(instance).channel
        if channel is None or channel.closed:
            return False
        for each in self.tamper("to-agent", frame) if self.tamper else [frame]:
            channel.send(ssm_frames.encode(each))
        return True

    # --- the control channel ----------------------------------------------------------------------------

    async def serve(self, instance: str, channel: WebSocket) -> None:
        """Hold one control channel until it closes. A newer one takes the place of an older one."""
        agent = self.of(instance)
        try:
            backlog = await channel.receive()
            if not _opens(backlog.pop(0), agent.token):
                await channel.close(1008)  # policy violation
                return
            if agent.channel is not None:
                agent.channel.abort()
            agent.channel = channel
            for job in agent.jobs.values():
                job.sent_at = None
            self.push(instance)
            while True:
                for opcode, payload in backlog:
                    if opcode == BINARY:
                        self._take(agent, payload)
                backlog = await channel.receive()
        except SocketClosed as error:
            log.info("control channel of %s: %s", instance, error)
        finally:
            if agent.channel is channel:
                agent.channel = None

    def _take(self, agent: Agent, payload: bytes) -> None:
        try:
            frame = ssm_frames.decode(payload)
        except ssm_frames.FrameError as error:
            log.warning("control channel of %s: %s", agent.instance, error)
            return
        agent.last_ping = self._now()
        for each in self.tamper("from-agent", frame) if self.tamper else [frame]:
            self._handle(agent, each)

    def _handle(self, agent: Agent, frame: Frame) -> None:
        try:
            body = json.loads(frame.payload or b"{}")
        except ValueError:
            log.warning("control channel of %s: %s is not JSON", agent.instance, frame.type)
            return
        if frame.type == "agent_job_ack":
            agent.jobs.pop(str(body.get("jobId")), None)
        handler = self.handlers.get(frame.type)
        if handler is not None:
            handler(agent.instance, body)
        if frame.type == "agent_job_reply":
            ack = {"jobId": body.get("jobId"), "acknowledgedMessageId": ssm_frames.id_text(frame.id)}
            self.tell(agent.instance, ssm_frames.new("agent_job_reply_ack", json.dumps(ack).encode()))

    def close(self) -> None:
        """Cut every control channel."""
        for agent in self._agents.values():
            if agent.channel is not None:
                agent.channel.abort()


def _opens(message: Message, token: str) -> bool:
    return bool(token) and secrets.compare_digest(token_of(message), token)


def token_of(message: Message) -> str:
    """The token in the first message of a channel; empty when it is no such message."""
    opcode, payload = message
    if opcode not in (TEXT, BINARY):
        return ""
    try:
        return str(json.loads(payload)["TokenValue"])
    except (ValueError, KeyError, TypeError):
        return ""


def new_id() -> str:
    """An id as the service makes them."""
    return str(uuid.uuid4())
