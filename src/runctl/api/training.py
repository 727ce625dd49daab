"""Decide and do: ``make_plan`` and ``train``."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.api.watching import follow
from runctl.core.cancel import CancelToken
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import RunPlanned
from runctl.core.model import DepsMode, Limits, Purchase, Run, RunSpec, RunState
from runctl.core.quantities import count
from runctl.engine import names
from runctl.engine.folders import hold, write_plan
from runctl.engine.launch import start_training
from runctl.engine.lease import lease
from runctl.engine.planner import Planner, Project
from runctl.engine.records import Recorder, timestamp
from runctl.engine.resume import newest
from runctl.engine.steps import step
from runctl.engine.sync import sync_code
from runctl.project import dependencies, files, snapshot
from runctl.project.memory import ScanMemory
from runctl.project.script import resolve_script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.events import Event
    from runctl.core.model import Machine, ProjectPath
    from runctl.engine.plan import Plan
    from runctl.engine.remote import RemoteAgent
    from runctl.project.config import Config
    from runctl.project.root import Root


def make_plan(
    rt: Runtime, script: str, *, args: Sequence[str] = (), cwd: Path | None = None, resume: str | None = None
) -> Plan:
    """Decide what ``train`` would do. Writes nothing, here or on the machine; safe to repeat.

    Args:
        script: a path as the user typed it, relative to ``cwd``.
        args: the script's own arguments.
        resume: a run (name, id, unique prefix) or a checkpoint's path on the machine.

    Raises:
        UsageError: the script, the project or the settings are wrong.
    """
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(replace(event, ts=timestamp(rt.clock.now())))
        caller.emit(event)

    caller, rt = rt, replace(rt, emit=tell)  # what happens while planning belongs to the run's record, too
    found = resolve_script(script, cwd=cwd or Path.cwd(), root=None)
    spec = _spec(rt.config, found.path, args, resume)
    planner = Planner(
        provider=rt.provider(spec.target, read_only=True),
        agent_at=lambda endpoint: rt.agent(endpoint, keep=False),
        resume=lambda agent, reference: _resume_from(rt, agent, reference),
        emit=rt.emit,
        clock=rt.clock,
        cancel=rt.cancel,
    )
    run_id, name = names.fresh(now=rt.clock.now().timestamp(), random=os.urandom)
    project = read_project(rt, found.root, found.path)
    plan = planner.make(spec, project, run_id=run_id, name=name, secrets=_handed_over(rt))
    return replace(plan, told=tuple(told))


def _spec(settings: Config, script: ProjectPath, args: Sequence[str], resume: str | None) -> RunSpec:
    return RunSpec(
        script=script,
        args=tuple(args),
        target=settings.text("target"),
        deps=DepsMode(settings.text("deps")),
        limits=Limits(settings.number("max_hours"), settings.number("grace_seconds") or 0.0),
        env=settings.table("env"),
        resume=resume,
        share=settings.flag("share"),
    )


def _handed_over(rt: Runtime) -> dict[str, str]:
    """The variables named in ``env_from``, from the caller's environment; raises ``variable-unset``."""
    wanted = rt.config.items("env_from")
    unset = [name for name in wanted if name not in rt.env]
    if unset:
        raise known("variable-unset", names=", ".join(unset), origin=rt.config.origin("env_from"))
    return {name: rt.env[name] for name in wanted}


def read_project(rt: Runtime, root: Root, script: ProjectPath) -> Project:
    """List, hash and understand the user's directory. Reads only.

    Raises:
        UsageError: something in it cannot be read, or the script would not travel.
        Cancelled: the token was set.
    """
    settings = rt.config
    with step("scan", "read the project", emit=rt.emit, clock=rt.clock) as doing:
        memory = ScanMemory.load(root.path, env=rt.env)
        listing = files.list_files(
            root,
            include=settings.items("include"),
            exclude=settings.items("exclude"),
            secrets_allowed=settings.items("secrets"),
            script=script,
            env=rt.env,
            memory=memory,
        )
        taken = snapshot.take(
            root,
            listing,
            memory=memory,
            cancel=rt.cancel,
            on_progress=lambda done, total, item: doing.progress(done, total, unit="files", item=item),
        )
        found = dependencies.find(
            root.path,
            script,
            {entry["path"] for entry in taken.entries},
            python=settings.text("python"),
            installer=settings.text("installer"),
        )
        doing.summary = f"{count(taken.files, 'files')}, {taken.hashed} read, {taken.reused} unchanged"
    return Project(root, listing, taken, found)


def _resume_from(rt: Runtime, agent: RemoteAgent, reference: str) -> str:
    """A run's newest complete checkpoint, or a checkpoint named by its path on the machine."""
    if "/" in reference:
        request = {"path": os.path.abspath(os.path.expanduser(reference))}
        return newest(agent.call("checkpoints", request, cancel=rt.cancel), run=reference)
    with rt.index(read_only=True) as index:
        run = index.get(reference)
    return newest(agent.call("checkpoints", {"run": run.id}, cancel=rt.cancel), run=run.name)


def train(
    rt: Runtime, plan: Plan, *, detach: bool = False, on_start: Callable[[Run], None] = lambda _run: None
) -> Run:
    """Apply ``plan`` and follow the run to its end; the run as it ended, or as it stands with ``detach``.

    Args:
        detach: return as soon as the machine has the run.
        on_start: called once the machine has the run; from then on a cancel only ends the watching.

    Raises:
        Cancelled: before the machine had the run, nothing of it is left; after that the run goes on without us.
    """
    provider = rt.provider(plan.spec.target)
    with lease(
        provider, [plan.offer], Purchase(plan.run_id), ledger=rt.ledger(), emit=rt.emit, cancel=rt.cancel
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


def _start(rt: Runtime, plan: Plan, machine: Machine) -> Run:
    """Record the run, send what is missing, hand it over; the record goes again if the machine never got the run."""
    run = Run(
        id=plan.run_id,
        name=plan.name,
        state=RunState.PENDING,
        created_at=timestamp(rt.clock.now()),
        machine=machine.id,
        provider=machine.provider,
        endpoint=machine.endpoint,
        project=str(plan.code.root),
        script=str(plan.spec.script),
        args=plan.spec.args,
        price_per_hour=str(plan.offer.price_per_hour),
        code=plan.code.snapshot.digest,
        env_key=plan.environment.key,
    )
    recorder = Recorder(rt.emit, clock=rt.clock)
    with rt.index() as index:
        folder = index.folder(run.id)
        held = hold(folder)
        try:
            index.add(run)
            write_plan(folder, plan.to_json())
            recorder.begin(folder, run.id, told=plan.told)
            recorder(RunPlanned(plan.to_json()))
            plan.code.snapshot.memory.save()
            agent = rt.agent(machine.endpoint, emit=recorder)
            sync_code(plan.code, agent, emit=recorder, clock=rt.clock, cancel=rt.cancel)
            start_training(plan, agent, emit=recorder, clock=rt.clock, cancel=rt.cancel)
        except BaseException:
            if not _machine_has(rt, run):
                with suppress(RunctlError):  # a folder that cannot be written; why we are here matters more
                    index.delete(run.id)
            raise
        finally:
            recorder.close()
            os.close(held)
    return run


def _machine_has(rt: Runtime, run: Run) -> bool:
    """Whether the machine took the run although handing it over failed here; when it cannot be asked, maybe."""
    try:
        known_there = rt.agent(run.endpoint).call("status", {"runs": [run.id]}, cancel=CancelToken())
    except RunctlError:
        return True
    return bool(known_there["runs"])
