"""Asks a run to end. Its supervisor does it; where the supervisor died, a daemon of this command does."""

from __future__ import annotations

import os
import shutil
import signal
import time

from runctl.agent import processes, status, wire
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, RunFolder, read_json, write_json

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


KINDS = ("cancelled", "preempted")  # somebody does not want the run any more; the machine is taken back


def cancel(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """The command: ``{"status": …}`` of this moment; the run ends soon after. A run that has ended is left as it is.

    Safe to repeat; a later call with a smaller ``grace`` (seconds between TERM and KILL) shortens what is left.

    Raises:
        AgentFailure: ``run-unknown``.
    """
    run = home.run(wire.field(request, "run", str))
    grace = max(0.0, float(wire.field(request, "grace", (int, float))))
    kind = request.get("kind", "cancelled")
    if kind not in KINDS:
        raise AgentFailure("agent-request", detail="kind is %r" % (kind,))
    return {"status": stop(run, kind, str(request.get("reason") or ""), grace=grace)}


def stop(run: RunFolder, kind: str, reason: str, *, grace: float) -> dict[str, Any]:
    """Ask the run to end; its status of this moment. Safe to repeat; the first ``kind`` stays.

    Args:
        run: which.
        kind: ``cancelled``, or ``preempted`` when the machine is taken back.
        reason: the words for it.
        grace: seconds between TERM and KILL.

    Raises:
        AgentFailure: ``run-unknown``.
    """
    current = status.known(run)
    written = read_json(run.status) or current
    if written["state"] == "ended":
        return current
    before = read_json(run.cancel)
    if before is not None:
        grace = min(grace, before["grace"])
        kind, reason = before.get("kind", kind), before["reason"]
    write_json(run.cancel, {"kind": kind, "grace": grace, "reason": reason, "at": time.time()})
    supervisor = processes.find(written["supervisor"]["pid"])
    if supervisor is not None and processes.alive(written["supervisor"]):
        processes.send(supervisor, signal.SIGUSR1)
        processes.send(supervisor, signal.SIGCONT)  # somebody may have stopped it
    else:
        from runctl.agent import daemon  # noqa: PLC0415 - seldom needed

        daemon.start(lambda ready: end_unsupervised(run, ready), log=run.log)
    return current


def end_unsupervised(run: RunFolder, ready: Callable[[], None]) -> None:
    """Take over from a supervisor that died: end what is left of the run and write its last status.

    One process at a time does it, and it is the run's supervisor from then on, so that nobody sees an end before
    this has written it.
    """
    from runctl.agent import cgroups, ending, lock  # noqa: PLC0415 - as daemon
    from runctl.agent.journal import Journal, timestamp  # noqa: PLC0415
    from runctl.agent.stop import Stop  # noqa: PLC0415

    stop = Stop(run, grace=float("inf"))
    signal.signal(signal.SIGUSR1, lambda _number, _frame: stop.look())
    folder = os.open(run.path, os.O_RDONLY)
    first = lock.try_take(folder)
    written = read_json(run.status)
    if not first or written is None or written["state"] == "ended":
        ready()  # another one is at it, or was
        return
    stop.look()
    was_alive = processes.alive(status.script_of(written))
    last = status.without_supervisor(written, script_alive=False)
    write_json(run.status, dict(written, supervisor=processes.identity(os.getpid()), reason="unsupervised"))
    ready()
    family = ending.Family(run=run, script=status.script_of(written), groups=written["cgroups"])
    killed = ending.end(family, grace=lambda: stop.grace, pause=time.sleep)
    cgroups.remove(written["cgroups"])
    shutil.rmtree(run.login, ignore_errors=True)
    if written.get("container"):
        from runctl.agent import container  # noqa: PLC0415 - as daemon

        container.remove(written["container"])
    if was_alive:  # its exit status is nobody's to collect any more
        last.update(outcome=stop.kind or "cancelled", reason=stop.why or "cancelled", error=None)
    last.update(killed=killed, ended_at=timestamp())
    journal = Journal(run.events, run.id)
    fields = {name: last[name] for name in ("outcome", "exit_code", "signal", "reason", "killed")}
    journal.emit("run.ended", seconds=0.0, **fields)
    journal.close()
    write_json(run.status, last)
