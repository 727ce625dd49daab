"""A process made while there is only one thread, which launches the run later, when there are several."""

from __future__ import annotations

import json
import os
import traceback

from runctl.agent import launch, wire
from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home


class Launcher:
    """To be made before any thread is started: a process that is forked later may find locks that nobody opens."""

    def __init__(self, home: Home) -> None:
        theirs, self._to = os.pipe()
        self._from, answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._to)
            os.close(self._from)
            _serve(home, theirs, answers)
        os.close(theirs)
        os.close(answers)

    def launch(self, request: dict[str, Any]) -> None:
        """Launch the run; returns once its supervisor has taken over.

        Raises:
            AgentFailure: what ``launch.launch`` raises.
        """
        wire.send(json.dumps(request).encode() + b"\n", self._to)
        line = wire.Input(self._from).line(wire.REQUEST_LIMIT)
        answer = json.loads(
            line or b'{"code": "agent-crashed", "facts": {"detail": "the launcher was killed"}}'
        )
        if "code" in answer:
            raise AgentFailure(answer["code"], **answer["facts"])

    def close(self) -> None:
        """Let the process go. Safe to repeat."""
        if self._pid:
            os.close(self._to)
            os.close(self._from)
            os.waitpid(self._pid, 0)
            self._pid = 0


def _serve(home: Home, source: int, answers: int) -> None:
    """One request, one answer; nothing at all when the other side goes away first."""
    try:
        line = wire.Input(source).line(wire.REQUEST_LIMIT)
        if line:
            try:
                answer = launch.launch(json.loads(line), home=home)
            except AgentFailure as failure:
                answer = failure.to_json()
            except Exception as error:
                detail = "%s: %s" % (type(error).__name__, error)
                answer = AgentFailure(
                    "agent-crashed", detail=detail, traceback=traceback.format_exc()
                ).to_json()
            wire.send(json.dumps(answer).encode() + b"\n", answers)
    finally:
        os._exit(0)
