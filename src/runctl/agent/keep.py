"""The commands that give a run a keeper: ``keep`` for one that was launched, ``boot`` for one that is to come."""

from __future__ import annotations

import os

from runctl.agent import daemon, lock, wire
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, make_folder, read_json

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import RunFolder

NUMBER = (int, float)
RELEASES = ("terminate", "keep")


def keep(request: dict[str, Any], *, home: Home, digest: str, boots: bool) -> dict[str, Any]:
    """Start the run's keeper unless it has one; ``{"run", "keeping": bool}``, false when all is in the store already.

    Args:
        request: ``run``, ``attempt``, ``store`` (a ``StoreAccess``), ``lease_seconds`` (null: the machine has no
            deadline and is left as it is), ``release``: ``terminate`` or ``keep``, what becomes of the machine.
        home: where.
        digest: the agent's, so that the keeper can start itself again.
        boots: the run is yet to come: its request is waited for in the store.

    Raises:
        AgentFailure: ``agent-request``, ``lease-not-armed``, ``agent-crashed``.
    """
    check(request)
    run = home.run(request["run"])
    if request.get("lease_seconds"):
        from runctl.agent import lease  # noqa: PLC0415 - as below

        # A machine that boots has armed it a moment ago, before anything else.
        (lease.note if boots else lease.arm)(home, float(request["lease_seconds"]))
    make_folder(home.runs)
    make_folder(run.path)
    known = read_json(run.keeper) or {}
    if known.get("over") and known.get("attempt") == request["attempt"]:
        return {"run": run.id, "keeping": False}
    held = os.open(run.keeper_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    free = lock.try_take(held)
    os.close(held)
    if free:
        daemon.start(
            lambda ready: _guard(request, run, home, ready, digest=digest, boots=boots), log=run.keeper_log
        )
    return {"run": run.id, "keeping": True}


def check(request: dict[str, Any]) -> None:
    """Refuse a request that is not one; raises ``agent-request`` naming the field."""
    wire.field(request, "run", str)
    wire.field(request, "attempt", int)
    wire.field(request, "store", dict)
    if request.get("lease_seconds") is not None:
        wire.field(request, "lease_seconds", NUMBER)
    if request.get("release") not in RELEASES:
        raise AgentFailure("agent-request", detail="release is %r" % (request.get("release"),))
    if request["release"] == "terminate" and not request.get("lease_seconds"):
        raise AgentFailure("agent-request", detail="a machine without a lease is not given back")


def _guard(
    request: dict[str, Any],
    run: RunFolder,
    home: Home,
    ready: Callable[[], None],
    *,
    digest: str,
    boots: bool,
) -> None:
    from runctl.agent import guard, keeper  # noqa: PLC0415 - compiled only in the keeper

    ready()
    guard.guard(lambda: keeper.Keeper(request, run=run, home=home, digest=digest, boots=boots).work())
