"""What a run's end is called. Pure."""

from __future__ import annotations

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.failure import AgentFailure
    from runctl.agent.script import Ended

TIME_LIMIT = "time limit"


def decide(
    *, stop: str, why: str, ended: Ended | None, out_of_memory: bool, failure: AgentFailure | None
) -> dict[str, Any]:
    """The fields ``outcome``, ``reason``, ``exit_code``, ``signal`` and ``error`` of a ``Status``.

    Args:
        stop: why we ended the script: ``cancelled``, ``preempted``, ``time limit``; empty when it ended by itself.
        why: the words somebody gave for it.
        ended: how the script ended; None when it was never started.
        out_of_memory: the kernel killed a process of the run.
        failure: what kept the script from starting.
    """
    fields: dict[str, Any] = {
        "exit_code": None if ended is None else ended.exit_code,
        "signal": None if ended is None else ended.signal,
        "error": None,
    }
    if stop in ("cancelled", "preempted"):
        return dict(fields, outcome=stop, reason=why or stop)
    if stop != TIME_LIMIT and failure is not None:
        return dict(fields, outcome="failed", reason=failure.code, error=failure.to_json())
    if not stop and ended is not None and ended.exit_code == 0:
        return dict(fields, outcome="succeeded", reason="")
    if stop:
        reason = TIME_LIMIT
    elif out_of_memory:
        reason = "out of memory"
    elif ended is not None and ended.signal is not None:
        reason = "signal %s" % ended.signal
    else:
        reason = "exit status %s" % fields["exit_code"]
    return dict(fields, outcome="failed", reason=reason)
