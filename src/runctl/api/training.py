"""Do: ``train`` applies a plan. How the run reaches its machine depends on whether the machine begins it by itself."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from runctl.api.watching import follow
from runctl.core.cancel import CancelToken
from runctl.core.errors import RunctlError
from runctl.core.events import RunPlanned
from runctl.core.model import Purchase, Run, RunState
from runctl.engine import kept_trees
from runctl.engine.folders import hold, write_plan
from runctl.engine.launch import start_training
from runctl.engine.lease import lease
from runctl.engine.plan_json import to_json
from runctl.engine.records import Recorder, timestamp
from runctl.engine.sync import sync_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runctl.api.runtime import Runtime
    from runctl.core.model import Machine, Offer
    from runctl.engine.plan import Plan


def anything(_offer: Offer, _instead_of: Offer) -> bool:
    """Take any offer of the plan."""
    return True


def train(
    rt: Runtime,
    plan: Plan,
    *,
    detach: bool = False,
    on_start: Callable[[Run], None] = lambda _run: None,
    allow: Callable[[Offer, Offer], bool] = anything,
) -> Run:
    """Apply ``plan`` and follow the run to its end; the run as it ended, or as it stands with ``detach``.

    Args:
        detach: return as soon as the machine has the run.
        on_start: called once the machine has the run; from then on a cancel only ends the watching.
        allow: whether an offer on demand may be bought when no spot offer is to be had.

    Raises:
        Cancelled: before the machine had the run, nothing of it is left; after that the run goes on without us.
    """
    if plan.store:
        from runctl.api.booted import How, train_booted  # noqa: PLC0415 - a run on this machine does without

        return train_booted(rt, plan, How(detach, on_start, allow))
    provider = rt.provider(plan.spec.target)
    with lease(
        provider,
        plan.offers,
        Purchase(plan.run_id),
        ledger=rt.ledger(),
        emit=rt.emit,
        clock=rt.clock,
        cancel=rt.cancel,
    ) as leased:
        run = _start(rt, plan, leased.machine)
        on_start(run)
        if detach:
            leased.keep()
            return run
        try:
            return follow(rt, run, from_start=True)
        except (
            BaseException
        ):  # Ctrl+C, stdout closed, no contact: whatever ended the watching, the run goes on
            leased.keep()
            raise


def new_run(rt: Runtime, plan: Plan) -> Run:
    """The record of a run that begins now; its machine is entered when there is one."""
    return Run(
        id=plan.run_id,
        name=plan.name,
        state=RunState.PENDING,
        created_at=timestamp(rt.clock.now()),
        provider=plan.spec.target,
        project=str(plan.code.root),
        script=str(plan.spec.script),
        args=plan.spec.args,
        price_per_hour=str(plan.offer.price_per_hour),
        code=plan.code.snapshot.digest,
        env_key=plan.environment.key,
        store=plan.store,
    )


@contextmanager
def recorded(rt: Runtime, plan: Plan, run: Run, *, lost: Callable[[Run], bool]) -> Iterator[Recorder]:
    """Record a run while it is handed over; the record goes again if that fails and ``lost`` says nobody has it."""
    recorder = Recorder(rt.emit, clock=rt.clock)
    with rt.index() as index:
        folder = index.folder(run.id)
        held = hold(folder)
        try:
            index.add(run)
            write_plan(folder, to_json(plan))
            kept_trees.keep(rt.state_dir, run.code, plan.code.snapshot.entries)
            recorder.begin(folder, run.id, told=plan.told)
            recorder(RunPlanned(to_json(plan)))
            plan.code.snapshot.memory.save()
            yield recorder
        except BaseException:
            if lost(run):
                with suppress(RunctlError):  # a folder that cannot be written; why we are here matters more
                    index.delete(run.id)
            raise
        finally:
            recorder.close()
            os.close(held)


def _start(rt: Runtime, plan: Plan, machine: Machine) -> Run:
    """Record the run, send what is missing, hand it over; the record goes again if the machine never got the run."""
    run = replace(new_run(rt, plan), machine=machine.id, provider=machine.provider, endpoint=machine.endpoint)
    with recorded(rt, plan, run, lost=lambda run: not _machine_has(rt, run)) as recorder:
        agent = rt.agent(machine.endpoint, emit=recorder)
        sync_code(plan.code, agent, emit=recorder, clock=rt.clock, cancel=rt.cancel)
        start_training(plan, agent, emit=recorder, clock=rt.clock, cancel=rt.cancel)
    return run


def _machine_has(rt: Runtime, run: Run) -> bool:
    """Whether the machine took the run although handing it over failed here; when it cannot be asked, maybe."""
    try:
        known_there = rt.agent(run.endpoint).call("status", {"runs": [run.id]}, cancel=CancelToken())
    except RunctlError:
        return True
    return bool(known_there["runs"])
