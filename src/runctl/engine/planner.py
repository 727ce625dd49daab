"""Make a plan: ask the project, the provider and the machine's agent, decide, write nothing anywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.model import DepsMode
from runctl.core.quantities import count
from runctl.engine.plan import CodePlan, EnvironmentPlan, LeftOut, Plan, what_is_sent
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.model import Endpoint, Offer, RunSpec
    from runctl.core.ports import Provider
    from runctl.engine.remote import RemoteAgent
    from runctl.project.dependencies import Dependencies
    from runctl.project.listing import Listing
    from runctl.project.root import Root
    from runctl.project.snapshot import Snapshot


@dataclass(frozen=True)
class Project:
    """What was read of the user's directory: the root, what travels, its content, its dependencies."""

    root: Root
    listing: Listing
    snapshot: Snapshot
    dependencies: Dependencies


@dataclass(frozen=True)
class Planner:
    """Everything a plan is made from; ``make`` does it."""

    provider: Provider
    agent_at: Callable[[Endpoint], RemoteAgent]
    resume: Callable[[RemoteAgent, str], str]  # a run's name or a path → a checkpoint path on the machine
    emit: Emit
    clock: Clock
    cancel: CancelToken

    def make(
        self, spec: RunSpec, project: Project, *, run_id: str, name: str, secrets: Mapping[str, str]
    ) -> Plan:
        """The plan for ``spec``. Writes nothing; safe to repeat. ``secrets`` are variables nobody may write down.

        Raises:
            CapacityError: no machine satisfies the request.
            RunctlError: what the machine's agent says, for example ``python-missing``.
        """
        offer = self._offer(spec)
        request = None if spec.deps is DepsMode.SKIP else project.dependencies.request
        with step("probe", "ask the machine", emit=self.emit, clock=self.clock) as doing:
            endpoint = self.provider.endpoint(offer)
            if endpoint is None:
                raise known("machine-not-there", target=spec.target)
            agent = self.agent_at(endpoint)
            facts = self._probe(agent, project.snapshot, request)
            resume_from = None if spec.resume is None else self.resume(agent, spec.resume)
            doing.summary = f"{facts['hostname']}: {_lacking(len(facts['missing']))}"
        return Plan(
            run_id=run_id,
            name=name,
            spec=spec,
            offer=offer,
            exclusive=self.provider.features.exclusive and not spec.share,
            machine={key: value for key, value in facts.items() if key not in ("missing", "environment")},
            code=self._code(project, tuple(facts["missing"])),
            environment=self._environment(spec, project.dependencies, request, facts),
            variables={**spec.env, **secrets},
            secret_variables=tuple(secrets),
            resume_from=resume_from,
            warnings=self._warnings(project, facts),
        )

    def _offer(self, spec: RunSpec) -> Offer:
        offers = self.provider.offers(spec.resources, self.cancel)
        if not offers:
            raise known("no-offer", target=spec.target)
        return offers[0]

    def _probe(
        self, agent: RemoteAgent, snapshot: Snapshot, request: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        digests = sorted({entry["digest"] for entry in snapshot.entries if entry["type"] == "file"})
        return agent.call("probe", {"blobs": digests, "environment": request}, cancel=self.cancel)

    def _code(self, project: Project, missing: tuple[str, ...]) -> CodePlan:
        listing = project.listing
        return CodePlan(
            root=project.root.path,
            why_root=project.root.reason,
            snapshot=project.snapshot,
            missing=missing,
            sends=what_is_sent(project.snapshot.entries, missing),
            left_out=tuple(LeftOut(left.path, left.rule) for left in listing.left_out),
            secrets=tuple(left.path for left in listing.secrets),
        )

    def _environment(
        self,
        spec: RunSpec,
        dependencies: Dependencies,
        request: Mapping[str, Any] | None,
        facts: Mapping[str, Any],
    ) -> EnvironmentPlan:
        found = facts["environment"]
        why = "--deps skip" if spec.deps is DepsMode.SKIP else dependencies.why
        plan = EnvironmentPlan(request=request, why=why, mode=spec.deps)
        if found is None:
            return replace(plan, request=None)
        return replace(
            plan,
            key=found["key"],
            cached=found["cached"],
            installer=found["installer"],
            python=found["python"],
            commands=tuple(tuple(argv) for argv in found["argv"]),
        )

    def _warnings(self, project: Project, facts: Mapping[str, Any]) -> tuple[str, ...]:
        out = [str(warning) for warning in project.dependencies.warnings]
        out += [f"{problem.path}: {problem.what}" for problem in project.listing.problems]
        active = [each["name"] for each in facts["active"]]
        if active and not self.provider.features.exclusive:
            out.append(f"also running on this machine: {', '.join(active)}; they share its cores and memory")
        need, free = project.snapshot.bytes, facts.get("disk_free_bytes") or 0
        if free and free < need * 2:
            out.append(f"only {free} bytes are free on the machine; the code alone takes {need}")
        return tuple(out)


def _lacking(missing: int) -> str:
    return f"lacks {count(missing, 'files')}" if missing else "has every file"
