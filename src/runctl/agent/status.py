"""Where runs stand: what their supervisors wrote, and what is true when a supervisor is no more."""

from __future__ import annotations

from runctl.agent import processes
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, RunFolder, read_json, size_of

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any


def answer(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """The command: the status of the runs asked for, or of all; unknown ones are left out. Writes nothing."""
    wanted = request.get("runs")
    found = [observe(home.run(run)) for run in (home.all_runs() if wanted is None else wanted)]
    return {"runs": [status for status in found if status is not None]}


def observe(run: RunFolder) -> dict[str, Any] | None:
    """The status as it truly is; None for a run that is not here. Writes nothing."""
    status = read_json(run.status)
    if status is None:
        return None
    if status["state"] != "ended" and not processes.alive(status["supervisor"]):
        # It may have ended, as it should, between our reading and our looking.
        status = read_json(run.status) or status
        if status["state"] != "ended":
            status = without_supervisor(status, script_alive=processes.alive(script_of(status)))
    status["output_bytes"] = size_of(run.output)
    return status


def known(run: RunFolder) -> dict[str, Any]:
    """As ``observe``; raises ``run-unknown`` for a run that is not here."""
    status = observe(run)
    if status is None:
        raise AgentFailure("run-unknown", run=run.id)
    return status


def without_supervisor(status: dict[str, Any], *, script_alive: bool) -> dict[str, Any]:
    """What to say of a run whose supervisor died (kill -9, a reboot) before it could write the end."""
    if script_alive:
        return dict(status, state="running", reason="unsupervised")
    if processes.rebooted(status["supervisor"]["start"]):
        reason = "the machine restarted"
    else:
        reason = "the agent died"
    error = {"code": "agent-died", "facts": {"run": status["run"], "reason": reason}}
    return dict(status, state="ended", outcome="failed", reason=reason, error=error)


def script_of(status: dict[str, Any]) -> dict[str, Any] | None:
    """The script's identity: as recorded, or what its container's engine knows where a supervisor died before that."""
    if status.get("pid") is None:
        if not status.get("container"):
            return None
        from runctl.agent import container  # noqa: PLC0415 - seldom needed

        return container.find(status["container"])
    return {"pid": status["pid"], "start": status["pid_start"]}


def active(home: Home) -> list[dict[str, Any]]:
    """The runs that have not ended, as ``{"run", "name"}``. Read-only."""
    found = []
    for run in home.all_runs():
        status = observe(home.run(run))
        if status is not None and status["state"] != "ended":
            found.append({"run": status["run"], "name": status["name"]})
    return found
