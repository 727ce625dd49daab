"""Start the run on its machine, and make sure that it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.engine.steps import step

if TYPE_CHECKING:
    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.engine.plan import Plan
    from runctl.engine.remote import RemoteAgent


def start_training(plan: Plan, agent: RemoteAgent, *, emit: Emit, clock: Clock, cancel: CancelToken) -> None:
    """Hand the run to the machine's agent. Safe to repeat: the same run id never starts twice.

    Raises:
        RunctlError: ``machine-busy`` when the machine holds another run; what else the agent says.
    """
    with step("launch", "hand over to the machine", emit=emit, clock=clock) as doing:
        answer = agent.call("launch", plan.request(), cancel=cancel)
        verify_started(answer, plan)
        doing.summary = f"the agent has it (pid {answer['pid']})"


def verify_started(answer: dict[str, Any], plan: Plan) -> None:
    """Raise ``launch-mismatch`` unless the agent answered for this very run with a supervisor that lives."""
    if answer.get("run") != plan.run_id or not answer.get("pid"):
        raise known("launch-mismatch", run=plan.name, answer=answer)
