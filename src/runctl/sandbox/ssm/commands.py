"""Run Command's records and how they change. Pure: no clock, no agent; the states and their words are the service's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STDOUT_LIMIT = 24_000  # characters GetCommandInvocation gives
STDERR_LIMIT = 8_000
PLUGIN_LIMIT = 2_500  # characters ListCommandInvocations gives
TRUNCATED = "--output truncated--"

PENDING, IN_PROGRESS, DELAYED = "Pending", "InProgress", "Delayed"
SUCCESS, FAILED, CANCELLED, TIMED_OUT, CANCELLING = "Success", "Failed", "Cancelled", "TimedOut", "Cancelling"
TERMINAL = frozenset({SUCCESS, FAILED, CANCELLED, TIMED_OUT})


@dataclass
class Invocation:
    """One command on one instance. Times are seconds since the epoch; `code` is -1 until the plugin has ended."""

    instance: str
    status: str = PENDING
    details: str = PENDING
    code: int = -1
    stdout: str = ""
    stderr: str = ""
    started: float | None = None
    ended: float | None = None
    sent: bool = False
    name: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing can change it any more."""
        return self.status in TERMINAL

    def end(self, status: str, details: str, *, now: float) -> bool:
        """Put it in a terminal state; false when it already was in one, which then stays."""
        if self.over:
            return False
        self.status, self.details, self.ended = status, details, now
        return True


@dataclass
class Command:
    """One SendCommand."""

    id: str
    document: str
    plugin: str
    parameters: dict[str, Any]  # as the agent gets them
    given: dict[str, list[str]]  # as the client gave them
    requested: float
    delivery_seconds: int
    execution_seconds: int
    max_concurrency: str = "50"
    max_errors: str = "0"
    comment: str = ""
    bucket: str = ""
    prefix: str = ""
    region: str = ""
    asked: dict[str, Any] = field(default_factory=dict)  # InstanceIds, Targets and what else is only repeated
    invocations: dict[str, Invocation] = field(default_factory=dict)
    settled_empty: bool = False  # nothing matched the targets, and the service has found out

    @property
    def expires(self) -> float:
        """When what has not ended by then is given up: delivery, then execution, each at its longest."""
        return self.requested + self.delivery_seconds + self.execution_seconds

    @property
    def concurrency(self) -> int:
        """How many instances run it at once, at least 1."""
        return max(1, _share(self.max_concurrency, len(self.invocations)))

    @property
    def error_budget(self) -> int:
        """How many errors are accepted; one more ends the command."""
        return _share(self.max_errors, len(self.invocations))

    @property
    def errors(self) -> int:
        """Invocations that failed; those that were never delivered do not count."""
        return sum(
            each.status == FAILED or each.details == "ExecutionTimedOut" for each in self.invocations.values()
        )

    def next_up(self) -> list[Invocation]:
        """The invocations to send now. When the error budget is spent, none: those left are `Terminated` by `give_up`."""
        waiting = [each for each in self.invocations.values() if not each.sent and not each.over]
        busy = sum(each.sent and not each.over for each in self.invocations.values())
        return [] if self.errors > self.error_budget else waiting[: max(0, self.concurrency - busy)]

    def give_up(self, *, now: float) -> None:
        """After too many errors, what was not sent is not sent at all."""
        if self.errors > self.error_budget:
            for each in self.invocations.values():
                if not each.sent:
                    each.end(CANCELLED, "Terminated", now=now)


def _share(limit: str, total: int) -> int:
    if limit.endswith("%"):
        return math.floor(int(limit[:-1]) * total / 100)
    return int(limit)


def aggregate(command: Command) -> tuple[str, str]:  # noqa: PLR0911 - one line for each rule
    """A command's status and details, from its invocations."""
    every = list(command.invocations.values())
    if not every:
        return (SUCCESS, "NoInstancesInTag") if command.settled_empty else (PENDING, PENDING)
    states = [each.status for each in every]
    if CANCELLING in states:
        return CANCELLING, CANCELLING
    if not all(each.over for each in every):
        waiting = all(state in (PENDING, DELAYED) for state in states)
        return (PENDING, PENDING) if waiting else (IN_PROGRESS, IN_PROGRESS)
    if command.errors > command.error_budget:
        only = {each.details for each in every} == {"ExecutionTimedOut"}
        return (TIMED_OUT, "ExecutionTimedOut") if only else (FAILED, FAILED)
    if all(state == CANCELLED for state in states):
        return CANCELLED, CANCELLED
    if all(state == TIMED_OUT for state in states):
        return TIMED_OUT, every[0].details
    if SUCCESS in states:
        return SUCCESS, SUCCESS
    return FAILED, "Incomplete"


def clip(text: str, limit: int) -> str:
    """The first `limit` characters; a text that was longer ends in the agent's own mark, within the limit."""
    return text if len(text) <= limit else text[: limit - len(TRUNCATED)] + TRUNCATED


def apply_reply(invocation: Invocation, reply: Mapping[str, Any], *, now: float) -> bool:
    """Take in what the agent says of a job; whether anything changed.

    Replies arrive in any order: a terminal state is never left, and a command being cancelled does not go back to
    running. Output is kept only once the plugin has ended.
    """
    status = str(reply.get("documentStatus", ""))
    if invocation.over or (status == IN_PROGRESS and invocation.status == CANCELLING):
        return False
    plugins = reply.get("runtimeStatus") or {}
    plugin: Mapping[str, Any] = next(iter(plugins.values()), {})
    if invocation.started is None:
        invocation.started = _moment(plugin.get("startDateTime")) or now
    if status not in TERMINAL:
        changed = invocation.status != IN_PROGRESS
        invocation.status = invocation.details = IN_PROGRESS
        return changed
    invocation.code = int(plugin.get("code", 0 if status == SUCCESS else 1))
    invocation.stdout = str(plugin.get("standardOutput", ""))[:STDOUT_LIMIT]
    invocation.stderr = str(plugin.get("standardError", ""))[:STDERR_LIMIT]
    return invocation.end(status, "ExecutionTimedOut" if status == TIMED_OUT else status, now=now)


def _moment(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None


def plugin_output(invocation: Invocation) -> str:
    """Both streams as ListCommandInvocations gives them."""
    text = invocation.stdout
    if invocation.stderr:
        text += f"\n----------ERROR-------\n{invocation.stderr}"
    return clip(text, PLUGIN_LIMIT)


def cancel(invocation: Invocation, *, now: float) -> bool:
    """Begin to cancel; true when the agent has to be told."""
    if invocation.over:
        return False
    if not invocation.sent:
        invocation.end(CANCELLED, CANCELLED, now=now)
        return False
    invocation.status = invocation.details = CANCELLING
    return True


def output_prefix(command: Command, instance: str) -> str:
    """Where the agent puts a command's output in its bucket; `stdout` and `stderr` follow."""
    plain = command.plugin.replace(":", "")
    parts = [command.prefix.strip("/"), command.id, instance, plain, f"0.{plain}"]
    return "/".join(part for part in parts if part)


def matching(commands: Sequence[Command], instance: str) -> list[Command]:
    """The commands that touch an instance."""
    return [each for each in commands if instance in each.invocations]
