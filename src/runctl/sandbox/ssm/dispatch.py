"""Commands on their way: to the agents, back as replies, given up when their time is over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runctl.sandbox.ssm import commands as records
from runctl.sandbox.ssm.agents import Job, new_id
from runctl.sandbox.ssm.documents import DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.ssm.agents import Agents
    from runctl.sandbox.ssm.commands import Command, Invocation
    from runctl.sandbox.ssm.settings import SsmSettings

KEPT = 5_000  # commands remembered


def job_id(command: str, instance: str) -> str:
    """How the agent's messages name one command on one instance."""
    return f"aws.ssm.{command}.{instance}"


class Dispatcher:
    """Every command sent, oldest first, and what the agents are told of them."""

    def __init__(
        self,
        agents: Agents,
        settings: SsmSettings,
        *,
        now: Callable[[], float],
        weather: Callable[[str, str], bool],
    ) -> None:
        self._agents = agents
        self._settings = settings
        self._now = now
        self._weather = weather
        self.commands: dict[str, Command] = {}
        agents.handlers["agent_job_reply"] = self._reply

    def begin(self, command: Command) -> None:
        """Take on a command and send what may be sent now."""
        self.commands[command.id] = command
        for each in list(self.commands)[: max(0, len(self.commands) - KEPT)]:
            del self.commands[each]
        self._pump(command)

    def _pump(self, command: Command) -> None:
        command.give_up(now=self._now())
        for invocation in command.next_up():
            invocation.sent = True
            if self._weather("undeliverable", invocation.instance):
                invocation.end(records.FAILED, "Undeliverable", now=self._now())
                continue
            self._agents.submit(invocation.instance, _job(command, invocation))
        if command.next_up():  # what was undeliverable made room
            self._pump(command)

    def _reply(self, instance: str, body: dict[str, Any]) -> None:
        parts = str(body.get("jobId", "")).split(".")
        command = self.commands.get(parts[2]) if len(parts) > 2 else None
        invocation = command.invocations.get(instance) if command else None
        if command is None or invocation is None:
            return
        try:
            reply = json.loads(str(body.get("content", "{}")))
        except ValueError:
            return
        self._agents.withdraw(instance, job_id(command.id, instance))  # a reply is an acknowledgement, too
        if records.apply_reply(invocation, reply, now=self._now()) and invocation.over:
            self._pump(command)

    def cancel(self, command: Command, instances: list[str]) -> None:
        """Cancel on some instances; an agent that never had the job is not told of it."""
        for instance in instances or list(command.invocations):
            invocation = command.invocations[instance]
            if not records.cancel(invocation, now=self._now()):
                continue
            original = job_id(command.id, instance)
            waiting = self._agents.of(instance).jobs.get(original)
            if waiting is not None and waiting.sent_at is None:
                self._agents.withdraw(instance, original)
                invocation.end(records.CANCELLED, records.CANCELLED, now=self._now())
                continue
            content = {"CancelMessageId": original}
            self._agents.submit(
                instance, Job(f"aws.ssm.{new_id()}.{instance}", f"aws.ssm.cancelCommand.{instance}", content)
            )
        self._pump(command)

    def tick(self) -> None:
        """Give up what was not delivered or not answered in time; called often."""
        for command in self.commands.values():
            if not command.invocations:
                command.settled_empty = True
                continue
            if records.aggregate(command)[0] in records.TERMINAL:
                continue
            self._expire(command)

    def _expire(self, command: Command) -> None:
        age = (self._now() - command.requested) * self._settings.clock_factor
        for invocation in command.invocations.values():
            owed = job_id(command.id, invocation.instance) in self._agents.of(invocation.instance).jobs
            undelivered = invocation.started is None and (owed or not invocation.sent)
            limit = command.delivery_seconds + (0 if undelivered else command.execution_seconds)
            if age >= limit and invocation.end(records.TIMED_OUT, "DeliveryTimedOut", now=self._now()):
                self._agents.withdraw(invocation.instance, job_id(command.id, invocation.instance))


def _job(command: Command, invocation: Invocation) -> Job:
    content = {
        "Parameters": command.parameters,
        "DocumentContent": DOCUMENTS[command.document].content,
        "CommandId": command.id,
        "DocumentName": command.document,
        "OutputS3BucketName": command.bucket,
        "OutputS3KeyPrefix": command.prefix,
        "OutputS3Region": command.region,
        "CloudWatchLogGroupName": "",
        "CloudWatchOutputEnabled": "false",
    }
    return Job(job_id(command.id, invocation.instance), f"aws.ssm.sendCommand.{invocation.instance}", content)
