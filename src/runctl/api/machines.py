"""Machines by their id: looked at, started, stopped, ended, bought to be kept. What runs on them is saved first."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from runctl.api import stored_runs, watching
from runctl.core.catalogue import known
from runctl.core.errors import MachineGone, UnreachableError
from runctl.core.model import Purchase, Run, run_from_json
from runctl.core.ports import Kept
from runctl.engine import names
from runctl.engine.boot import bare_user_data
from runctl.engine.lease import lease
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.model import Machine, Offer, Resources

SEEN_EVERY = 1.0  # seconds between two looks while waiting for a state


def kept(rt: Runtime, target: str) -> Kept:
    """The provider of machines that live on. Raises ``target-has-none``."""
    provider = rt.provider(target)
    if not isinstance(provider, Kept):
        raise known("target-has-none", target=target)
    return provider


def machine(rt: Runtime, target: str, machine_id: str) -> Machine:
    """A machine as its provider sees it now. Raises ``MachineGone`` for one that nobody knows."""
    return kept(rt, target).machine(machine_id, rt.cancel)


def machines(rt: Runtime, target: str) -> Sequence[Machine]:
    """Every machine of ours at ``target``, dearest first."""
    found = rt.provider(target).machines(rt.cancel)
    return sorted(found, key=lambda each: (-each.offer.price_per_hour, each.id))


def check_ours(found: Machine, *, not_mine: bool) -> None:
    """Raise ``aws-not-ours`` for a machine that runctl did not lease, unless somebody said that this is meant."""
    if not found.run_id and not not_mine:
        raise known("aws-not-ours", machine=found.id)


def runs_on(rt: Runtime, machine_id: str) -> list[Run]:
    """The runs on a machine that have not ended, as far as this computer knows of them, as they stand now."""
    with rt.index() as index:
        records = [each for each in index.runs(state="active") if each["machine"] == machine_id]
    return [run_from_json(record) for record in watching.refresh(rt, records) if record["state"] != "ended"]


def last_run(rt: Runtime, found: Machine) -> Run:
    """The newest run on a machine that this computer knows of, else the one it was bought for. Raises ``run-not-found``."""
    with rt.index() as index:
        here = [each for each in index.runs() if each["machine"] == found.id]
    return watching.get_run(rt, here[0]["id"] if here else found.run_id or found.id)


def save_runs(rt: Runtime, runs: Sequence[Run]) -> list[Run]:
    """End runs with their grace, so that they save; as they ended, with all they left in the store.

    Raises:
        AgentError: ``cancel-slow``: one did not end; its machine is better left alone.
    """
    ended = []
    for run in runs:
        with step("save", f"let {run.name} save and end", emit=rt.emit, clock=rt.clock) as doing:
            now, _ = watching.cancel(rt, run)
            if now.store:
                stored_runs.await_saved(rt, now)
            doing.summary = str(now.outcome)
        ended.append(now)
    return ended


def stop(rt: Runtime, target: str, machine_id: str, *, not_mine: bool = False) -> None:
    """Stop a machine; its disk stays. Runs on it are to be saved before."""
    with step("stop", f"stop {machine_id.partition('@')[0]}", emit=rt.emit, clock=rt.clock):
        kept(rt, target).stop(machine_id, rt.cancel, not_mine=not_mine)


def start(rt: Runtime, target: str, machine_id: str, *, not_mine: bool = False) -> Machine:
    """Start a stopped machine and wait until it runs."""
    with step("start", f"start {machine_id.partition('@')[0]}", emit=rt.emit, clock=rt.clock):
        return kept(rt, target).start(machine_id, rt.cancel, not_mine=not_mine)


def terminate(rt: Runtime, target: str, found: Machine, *, not_mine: bool = False) -> None:
    """End a machine for good, see it gone, and strike what was owed for it."""
    with step("terminate", f"terminate {found.id}", emit=rt.emit, clock=rt.clock):
        kept(rt, target).end(found.id, rt.cancel, not_mine=not_mine)
    if any(debt.machine_id == found.id for debt in rt.ledger().debts()):
        rt.ledger().strike(found.run_id, "gone")


def create(
    rt: Runtime,
    target: str,
    need: Resources,
    offers: Sequence[Offer],
    *,
    hours: float,
    name: str = "",
    allow: Callable[[Offer, Offer], bool] = lambda _offer, _instead_of: True,
) -> Machine:
    """Buy a machine that stays until it is ended, or until ``hours`` have passed: it then shuts itself down.

    Raises:
        CapacityError, AccessError, UsageError: nothing was bought.
        Cancelled: what was bought by then has been given back, or is a debt.
    """
    run_id, fresh = names.fresh(now=rt.clock.now().timestamp(), random=os.urandom)
    purchase = Purchase(
        run_id=run_id,
        name=name or fresh,
        user_data=bare_user_data(minutes=max(1, round(hours * 60))),
        disk_gb=need.disk_gb,
        expires_at=rt.clock.now() + timedelta(hours=hours),
        keep=True,
    )
    with lease(
        rt.provider(target),
        offers,
        purchase,
        ledger=rt.ledger(),
        emit=rt.emit,
        clock=rt.clock,
        cancel=rt.cancel,
        allow=allow,
    ) as held:
        held.keep(told=True)
        return held.machine


def wait(rt: Runtime, target: str, machine_id: str, wanted: str, *, seconds: float) -> Machine:
    """Wait until a machine is ``running``, can be ``reached``, or has ``ended``.

    Raises:
        UnreachableError: ``machine-not-yet`` when it is not so after ``seconds``.
        MachineGone: it ended, and something else was waited for.
    """
    provider, deadline = kept(rt, target), rt.clock.monotonic() + seconds
    with step("wait", f"wait until {machine_id} is {wanted}", emit=rt.emit, clock=rt.clock) as doing:
        while True:
            found = provider.machine(machine_id, rt.cancel)
            doing.summary = found.state
            over = found.state in ("shutting-down", "terminated")
            if wanted == "ended" and over:
                return found
            if over:
                raise known(
                    "instance-gone",
                    instance=machine_id,
                    state=found.state,
                    reason=found.notes.get("reason", ""),
                )
            if found.state == "running" and (wanted == "running" or _answers(rt, found)):
                return found
            if rt.clock.monotonic() > deadline:
                raise known("machine-not-yet", machine=machine_id, wanted=wanted, state=found.state)
            rt.clock.sleep(SEEN_EVERY, rt.cancel)


def _answers(rt: Runtime, found: Machine) -> bool:
    with suppress(UnreachableError, MachineGone):
        return rt.transport(found.endpoint).exec(["true"], cancel=rt.cancel).exit_code == 0
    return False


def load(rt: Runtime, found: Machine, *, count: int) -> dict[str, Any]:
    """How busy a machine is: the agent's answer to ``load``, with its ``count`` busiest processes."""
    return rt.agent(found.endpoint).call("load", {"count": count}, cancel=rt.cancel)
