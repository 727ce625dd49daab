"""Decide: ``make_plan``. Reads the project, the provider, the machine or the store; writes nothing."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.api.doctor import checks_for_plan
from runctl.api.wanted import resources
from runctl.core.catalogue import known
from runctl.core.model import DepsMode, Limits, RunSpec
from runctl.core.quantities import count
from runctl.engine import names
from runctl.engine.planner import Planner, Project
from runctl.engine.records import timestamp
from runctl.engine.resume import newest, newest_stored
from runctl.engine.steps import step
from runctl.project import dependencies, files, snapshot
from runctl.project.memory import ScanMemory
from runctl.project.script import resolve_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.events import Event
    from runctl.core.model import ProjectPath
    from runctl.engine.plan import Plan
    from runctl.engine.remote import RemoteAgent
    from runctl.project.config import Config
    from runctl.project.root import Root


def make_plan(
    rt: Runtime,
    script: str,
    *,
    args: Sequence[str] = (),
    cwd: Path | None = None,
    resume: str | None = None,
    dry: bool = True,
    without: Path | None = None,
) -> Plan:
    """Decide what ``train`` would do. Changes nothing, here or on the machine; safe to repeat.

    Args:
        script: a path as the user typed it, relative to ``cwd``.
        args: the script's own arguments.
        resume: a run (name, id, unique prefix) or a checkpoint's path on the machine.
        without: a file that does not travel wherever it lies: the one that keeps the plan.
        dry: not even what a provider answered may be remembered on this computer.

    Raises:
        UsageError: the script, the project or the settings are wrong.
    """
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(replace(event, ts=timestamp(rt.clock.now())))
        caller.emit(event)

    caller, rt = rt, replace(rt, emit=tell)  # what happens while planning belongs to the run's record, too
    found = resolve_script(script, cwd=cwd or Path.cwd(), root=None)
    spec = _named_cache(_spec(rt.config, found.path, args, resume), found.root)
    secrets = handed_over(rt, rt.config.items("env_from"))
    run_id, name = names.fresh(now=rt.clock.now().timestamp(), random=os.urandom)
    project = read_project(rt, found.root, found.path, without=without)
    plan = planner(rt, spec.target, secrets, dry=dry).make(spec, project, run_id=run_id, name=name)
    return replace(plan, told=tuple(told))


def planner(rt: Runtime, target: str, secrets: Mapping[str, str], *, dry: bool) -> Planner:
    """What makes plans for ``target``."""
    return Planner(
        provider=rt.provider(target, read_only=dry),
        agent_at=lambda endpoint: rt.agent(endpoint, keep=False),
        store_at=lambda url: rt.store(url, read_only=True),
        resume=lambda agent, reference: _resume_from(rt, agent, reference),
        check=lambda offers, data: checks_for_plan(rt, target, offers, data=data),
        emit=rt.emit,
        clock=rt.clock,
        cancel=rt.cancel,
        env=rt.env,
        secrets=secrets,
    )


def _spec(settings: Config, script: ProjectPath, args: Sequence[str], resume: str | None) -> RunSpec:
    return RunSpec(
        script=script,
        args=tuple(args),
        target=settings.text("target"),
        keep=settings.flag("keep_machine"),
        data=settings.items("data"),
        output=settings.text("output"),
        resources=resources(settings),
        deps=DepsMode(settings.text("deps")),
        image=settings.text("image"),
        limits=Limits(settings.number("max_hours"), settings.number("grace_seconds") or 0.0),
        env=settings.table("env"),
        resume=resume,
        share=settings.flag("share"),
    )


def _named_cache(spec: RunSpec, root: Root) -> RunSpec:
    """``spec`` with the cache volume of its project where the settings leave the name to us. Pure."""
    if spec.resources.cache_volume != "auto":
        return spec
    name = "cache-" + re.sub(r"[^A-Za-z0-9._-]+", "-", root.path.name)
    return replace(spec, resources=replace(spec.resources, cache_volume=name))


def handed_over(rt: Runtime, wanted: Iterable[str]) -> dict[str, str]:
    """The variables ``wanted``, from the caller's environment; raises ``variable-unset``."""
    unset = [name for name in wanted if name not in rt.env]
    if unset:
        raise known("variable-unset", names=", ".join(unset), origin=rt.config.origin("env_from"))
    return {name: rt.env[name] for name in wanted}


def read_project(rt: Runtime, root: Root, script: ProjectPath, *, without: Path | None = None) -> Project:
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
            exclude=(*settings.items("exclude"), *_pattern(root, without)),
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


def _pattern(root: Root, without: Path | None) -> tuple[str, ...]:
    """The pattern, as in .gitignore, of one file of the project; none for a file that is not in it."""
    if without is None or not without.is_relative_to(root.path):
        return ()
    path = without.relative_to(root.path).as_posix()
    return ("/" + re.sub(r"([\\*?\[ ])", r"\\\1", path),)


def _resume_from(rt: Runtime, agent: RemoteAgent | None, reference: str) -> str | Mapping[str, str]:
    """A run's newest complete checkpoint, or a checkpoint named by its path on the machine.

    Where the machine has still to be bought (``agent`` None) it is one in the run's store.
    """
    if "/" in reference:
        if agent is None:
            raise known("resume-needs-run", path=reference)
        request = {"path": os.path.abspath(os.path.expanduser(reference))}
        return newest(agent.call("checkpoints", request, cancel=rt.cancel), run=reference)
    with rt.index(read_only=True) as index:
        run = index.get(reference)
    if agent is None:
        if not run.store:
            raise known("resume-needs-run", path=reference)
        return newest_stored(rt.store(run.store, read_only=True), run, cancel=rt.cancel)
    return newest(agent.call("checkpoints", {"run": run.id}, cancel=rt.cancel), run=run.name)
