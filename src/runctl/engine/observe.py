"""From what a machine's agent says of a run to the run's record. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runctl.core.model import Outcome, RunState
from runctl.engine.cost import settled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.model import Run


def absorb(run: Run, status: Mapping[str, Any]) -> Run:
    """The record with what the agent's ``Status`` knows better."""
    outcome = status["outcome"]
    now = replace(
        run,
        state=RunState(status["state"]),
        outcome=None if outcome is None else Outcome(outcome),
        exit_code=status["exit_code"],
        signal=status["signal"],
        reason=status["reason"] or "",
        started_at=status["script_started_at"],
        ended_at=status["ended_at"],
        attempt=status["attempt"],
        env_key=status["env_key"] or run.env_key,
        error=status["error"],
    )
    return settled(now)


def absorb_record(record: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a record as plain JSON values, without the cost of building a ``Run``."""
    return {
        **record,
        "state": status["state"],
        "outcome": status["outcome"],
        "exit_code": status["exit_code"],
        "signal": status["signal"],
        "reason": status["reason"] or "",
        "started_at": status["script_started_at"],
        "ended_at": status["ended_at"],
        "attempt": status["attempt"],
        "env_key": status["env_key"] or record["env_key"],
        "error": status["error"],
    }
