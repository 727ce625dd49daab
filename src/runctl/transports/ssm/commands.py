"""Commands of Systems Manager: sent to up to fifty machines at once, watched with one question for all, never sent twice in doubt.

What the service does, from its API's model and from what others met: right after sending, an invocation may not be
known; a status may be told out of order, so one that is final stays; of stdout only the first 24,000 characters are kept
and nothing before the end; a command that was never delivered has not begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.aws.errors import code_of
from runctl.core.cancel import CancelToken, limited
from runctl.core.errors import RunctlError
from runctl.transports.ssm.programs import line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.aws.calls import AwsCalls
    from runctl.core.clock import Clock

DOCUMENT = "AWS-RunShellScript"
AT_ONCE = 50  # instances that one SendCommand takes
FINAL = frozenset({"Success", "Failed", "Cancelled", "TimedOut", "Undeliverable", "Terminated"})
UNDELIVERED = ("DeliveryTimedOut", "Undeliverable")  # the agent never had it
DELIVERY_SECONDS = 60  # for the agent to take a command; the service wants at least 30
SENDINGS = 3  # of a command that is not delivered
SENDING_PAUSE = 2.0  # seconds before the next one, at most
FIRST_LOOK, LONGEST_PAUSE = 0.08, 1.0  # seconds before looking, doubled each time
CANCEL_SECONDS = 0.5  # for asking that a command be cancelled


@dataclass(frozen=True)
class Answer:
    """How a command ended on one instance."""

    status: str
    code: int = -1
    stdout: str = ""
    stderr: str = ""
    details: str = ""


class Commands:
    """Sends commands in one region."""

    def __init__(self, calls: AwsCalls, region: str | None, clock: Clock) -> None:
        self._calls = calls
        self._region = region
        self._clock = clock

    def run(
        self, instances: Sequence[str], argv: Sequence[str], *, seconds: int, cancel: CancelToken
    ) -> dict[str, Answer]:
        """Run ``argv`` on each instance, and wait for all. It has to bear being run twice.

        Args:
            instances: any number of them, each with an agent that is registered.
            argv: short, and without secrets: it is kept in the account's history.
            seconds: after which the agent kills it; 5 to 172,800, anything else is 3,600 to the agent.
            cancel: ends the wait, and the commands as far as the service manages.

        Raises:
            RunctlError: what the service refuses.
            Cancelled: the token was set.
        """
        answers: dict[str, Answer] = {}
        for start in range(0, len(instances), AT_ONCE):
            batch = list(instances[start : start + AT_ONCE])
            for sending in range(SENDINGS):
                if sending:
                    self._pause(SENDING_PAUSE, cancel)
                answers |= self._once(batch, argv, seconds, cancel)
                batch = [each for each in batch if answers[each].details in UNDELIVERED]
                if not batch:
                    break
        return answers

    def send(
        self, instances: Sequence[str], argv: Sequence[str], *, seconds: int, cancel: CancelToken
    ) -> str:
        """Send a command to at most fifty instances; its id. Arguments and errors as for ``run``."""
        answer = self._call(
            "send_command",
            cancel,
            InstanceIds=list(instances),
            DocumentName=DOCUMENT,
            Comment="runctl",
            TimeoutSeconds=DELIVERY_SECONDS,
            Parameters={"commands": [line(argv)], "executionTimeout": [str(seconds)]},
        )
        return str(answer["Command"]["CommandId"])

    def _once(
        self, instances: list[str], argv: Sequence[str], seconds: int, cancel: CancelToken
    ) -> dict[str, Answer]:
        command = self.send(instances, argv, seconds=seconds, cancel=cancel)
        try:
            return self._await(command, instances, cancel)
        except RunctlError:
            self._cancel(command)
            raise

    def _await(self, command: str, instances: list[str], cancel: CancelToken) -> dict[str, Answer]:
        done: dict[str, Answer] = {}
        pause = FIRST_LOOK
        while len(done) < len(instances):
            self._pause(pause, cancel)
            pause = min(pause * 1.6, LONGEST_PAUSE)
            left = [each for each in instances if each not in done]
            over = left if len(left) == 1 else self._over(command, left, cancel)
            for instance in over:
                found = self._look(command, instance, cancel)
                if found is not None:
                    done[instance] = found
        return done

    def _pause(self, seconds: float, cancel: CancelToken) -> None:
        self._clock.sleep(seconds * (0.5 + self._calls.random.random() / 2), cancel)

    def _over(self, command: str, left: list[str], cancel: CancelToken) -> list[str]:
        """Which of several have ended, with one question."""
        found: list[str] = []
        pages = self._calls.pages(
            "ssm", "list_command_invocations", cancel=cancel, region=self._region, CommandId=command
        )
        for page in pages:
            found += [
                each["InstanceId"]
                for each in page["CommandInvocations"]
                if each["Status"] in FINAL and each["InstanceId"] in left
            ]
        return found

    def _look(self, command: str, instance: str, cancel: CancelToken) -> Answer | None:
        try:
            found = self._call("get_command_invocation", cancel, CommandId=command, InstanceId=instance)
        except RunctlError as error:
            if code_of(error) == "InvocationDoesNotExist":
                return None  # it will: sending it again would run it twice
            raise
        if found["Status"] not in FINAL:
            return None
        return Answer(
            found["Status"],
            int(found["ResponseCode"]),
            found["StandardOutputContent"],
            found["StandardErrorContent"],
            found["StatusDetails"].replace(" ", ""),
        )

    def _cancel(self, command: str) -> None:
        """Ask for the end of what was sent; the service gives no promise."""
        try:
            with limited(CancelToken(), CANCEL_SECONDS) as short:
                self._call("cancel_command", short, CommandId=command)
        except RunctlError:
            return

    def _call(self, operation: str, cancel: CancelToken, **params: Any) -> dict[str, Any]:
        return self._calls.call("ssm", operation, cancel=cancel, region=self._region, **params)
