"""Make a plan: ask the project, the provider and the machine's agent, decide, write nothing anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.model import DepsMode
from runctl.core.ports import Caches
from runctl.core.quantities import count, size
from runctl.engine.caching import with_caches
from runctl.engine.code_store import missing_in_store
from runctl.engine.lease import offer_words
from runctl.engine.newcomers import collisions, newcomers
from runctl.engine.plan import CodePlan, EnvironmentPlan, LeftOut, Plan, what_is_sent
from runctl.engine.pool import ask_all, free, none_free
from runctl.engine.steps import step
from runctl.engine.stored_environments import stored_for
from runctl.project.preflight import preflight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.checks import Check
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.model import CacheVolume, Endpoint, Offer, RunSpec
    from runctl.core.ports import Provider, Store
    from runctl.engine.pool import Answer
    from runctl.engine.remote import RemoteAgent
    from runctl.project.dependencies import Dependencies
    from runctl.project.listing import Listing
    from runctl.project.root import Root
    from runctl.project.snapshot import Snapshot


_NOT_OF_THE_MACHINE = ("missing", "environment", "stored_environments")


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
    store_at: Callable[[str], Store]
    resume: Callable[
        [RemoteAgent | None, str], str | Mapping[str, str]
    ]  # a run's name or a path → a checkpoint
    check: Callable[
        [Sequence[Offer], Sequence[str]], Sequence[Check]
    ]  # raises what stands in the way of buying one, and of reading data there
    emit: Emit
    clock: Clock
    cancel: CancelToken
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False, default_factory=dict)  # variables nobody may write down

    def make(self, spec: RunSpec, project: Project, *, run_id: str, name: str) -> Plan:
        """The plan for ``spec``. Writes nothing; safe to repeat.

        Raises:
            CapacityError: no machine satisfies the request.
            UsageError: ``image-deps``, ``machine-not-there``, ``store-url`` for an output that is no address.
            RunctlError: what the machine's agent says, for example ``python-missing``; what the store says.
        """
        if spec.image and spec.deps is DepsMode.BACKGROUND:
            raise known("image-deps", image=spec.image)
        request = project.dependencies.wanted() if installs(spec) else None
        if request is not None:
            spec = replace(spec, resources=replace(spec.resources, environment=str(request["digest"])))
        spec, offers, caches, without = self._cached(spec, self.offers(spec))
        checks: Sequence[Check] = ()
        endpoint = self.provider.endpoint(offers[0])
        if endpoint is not None:
            _check_output(spec)
            offer, facts, resume_from = self._ask_machines(offers, spec, project)
            offers, store = (offer,), ""
        elif self.provider.features.boots_agent:
            store = self.provider.store()
            with together(self.cancel) as scope:
                checking = scope.start("check", lambda: self.check(offers, spec.data))
                facts, resume_from = self._ask_store(store, offers[0], spec, project)
                checks = checking.result()
        else:
            raise known("machine-not-there", target=spec.target)
        return Plan(
            run_id=run_id,
            name=name,
            spec=spec,
            offers=offers,
            exclusive=self.provider.features.exclusive and not spec.share,
            machine={key: value for key, value in facts.items() if key not in _NOT_OF_THE_MACHINE},
            code=self._code(project, tuple(facts["missing"])),
            environment=self._environment(spec, project.dependencies, request, facts),
            store=store,
            buys=endpoint is None,
            variables={**spec.env, **self.secrets},
            secret_variables=tuple(self.secrets),
            resume_from=resume_from,
            caches=caches,
            warnings=(
                *without,
                *self._warnings(spec, project, facts),
                *(each.what for each in checks if each.state == "warn"),
            ),
            actions=tuple(
                (purpose, tuple(calls)) for each in checks for purpose, calls in each.facts.get("actions", ())
            ),
        )

    def offers(self, spec: RunSpec) -> tuple[Offer, ...]:
        """What could be bought for ``spec``, in the order to try. Raises ``CapacityError``."""
        with step("offers", "look for machines", emit=self.emit, clock=self.clock) as doing:
            offers = tuple(self.provider.offers(spec.resources, self.cancel))
            if not offers:
                raise known("no-offer", target=spec.target)
            doing.summary = f"{count(len(offers), 'offers')}; {offer_words(offers[0])}"
            doing.skipped = not self.provider.features.costs_money
        return offers

    def _cached(
        self, spec: RunSpec, offers: tuple[Offer, ...]
    ) -> tuple[RunSpec, tuple[Offer, ...], tuple[CacheVolume, ...], tuple[str, ...]]:
        """The offers in their order with the cache volume, what it is in each zone; without one, a warning that says so."""
        need = spec.resources
        if not need.cache_volume:
            return spec, offers, (), ()
        if not isinstance(self.provider, Caches) or self.provider.endpoint(offers[0]) is not None:
            text = "no cache volume here: this machine is not bought, and keeps its caches by itself"
            return replace(spec, resources=replace(need, cache_volume="")), offers, (), (text,)
        with step("cache", "look for the cache volume", emit=self.emit, clock=self.clock) as doing:
            offers, caches = with_caches(self.provider, need, offers, self.cancel)
            doing.summary = need.cache_volume
        return spec, offers, caches, ()

    def _ask_machines(
        self, offers: Sequence[Offer], spec: RunSpec, project: Project
    ) -> tuple[Offer, dict[str, Any], str | Mapping[str, str] | None]:
        """The machine to take of those that are there, what it says of itself, and what is resumed there."""
        exclusive = self.provider.features.exclusive and not spec.share

        def ask(offer: Offer, cancel: CancelToken) -> Mapping[str, Any]:
            facts = self._probe(self._agent_of(offer), spec, project, cancel)
            check_resources(spec, facts)
            check_engine(spec, facts)
            return facts

        with step("probe", "ask the machine", emit=self.emit, clock=self.clock) as doing:
            if len(offers) == 1:
                place, facts = 0, ask(offers[0], self.cancel)
            else:
                answers = ask_all(
                    offers,
                    ask,
                    lambda answer: free(answer, exclusive=exclusive),
                    clock=self.clock,
                    cancel=self.cancel,
                )
                place, facts = self._chosen(spec, offers, answers, exclusive=exclusive)
            agent = self._agent_of(offers[place])
            resume_from = None if spec.resume is None else self.resume(agent, spec.resume)
            doing.summary = f"{facts['hostname']}: {_lacking(len(facts['missing']))}"
        return offers[place], dict(facts), resume_from

    def _agent_of(self, offer: Offer) -> RemoteAgent:
        endpoint = self.provider.endpoint(offer)
        assert endpoint is not None  # the first one of these offers has a machine
        return self.agent_at(endpoint)

    def _chosen(
        self, spec: RunSpec, offers: Sequence[Offer], answers: Sequence[Answer | None], *, exclusive: bool
    ) -> tuple[int, Mapping[str, Any]]:
        for place, answer in enumerate(answers):
            if (
                answer is not None
                and not isinstance(answer, RunctlError)
                and free(answer, exclusive=exclusive)
            ):
                return place, answer
        raise none_free(spec.target, offers, answers)

    def _ask_store(
        self, url: str, offer: Offer, spec: RunSpec, project: Project
    ) -> tuple[dict[str, Any], str | Mapping[str, str] | None]:
        with step("probe", "ask the store", emit=self.emit, clock=self.clock) as doing:
            request = project.dependencies.request if installs(spec) else None
            with together(self.cancel) as scope:
                found = None
                if request is not None:
                    store, digest = self.store_at(url), str(request["digest"])
                    found = scope.start("envs", lambda: stored_for(store, digest, self.cancel))
                missing = missing_in_store(
                    project.snapshot, self.store_at(url), env=self.env, cancel=self.cancel
                )
                stored = () if found is None else found.result()
            resume_from = None if spec.resume is None else self.resume(None, spec.resume)
            doing.summary = f"{url}: {_lacking(len(missing))}"
        facts = {
            "home": self.provider.features.home,
            "cpus": offer.cpus,
            "memory_bytes": int(offer.memory_gb * 2**30),
            "gpus": [{"name": offer.gpu, "memory_bytes": None}] * offer.gpus,
            "platform": f"linux-{offer.arch}",
            "active": [],
            "missing": missing,
            "environment": None,
            "stored_environments": stored,
        }
        return facts, resume_from

    def _probe(
        self, agent: RemoteAgent, spec: RunSpec, project: Project, cancel: CancelToken
    ) -> dict[str, Any]:
        request = project.dependencies.request if installs(spec) else None
        entries = project.snapshot.entries
        digests = sorted({entry["digest"] for entry in entries if entry["type"] == "file"})
        asked = {"blobs": digests, "environment": request, "image": spec.image or None}
        return agent.call("probe", asked, cancel=cancel)

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
        why = f"from image {spec.image}" if spec.image else why
        plan = EnvironmentPlan(request=request, why=why, mode=spec.deps)
        if found is None:  # nothing to install, or a machine that has to be bought before it can be asked
            return replace(plan, stored=tuple(facts.get("stored_environments", ())))
        return replace(
            plan,
            key=found["key"],
            cached=found["cached"],
            installer=found["installer"],
            python=found["python"],
            commands=tuple(tuple(argv) for argv in found["argv"]),
        )

    def _warnings(self, spec: RunSpec, project: Project, facts: Mapping[str, Any]) -> tuple[str, ...]:
        out = [str(warning) for warning in project.dependencies.warnings]
        out += preflight(
            project.root.path,
            spec.script,
            spec.args,
            travels={entry["path"] for entry in project.snapshot.entries},
            left_out=(*project.listing.left_out, *project.listing.secrets),
            dependencies=project.dependencies,
            installs=installs(spec),
        )
        out += [f"{problem.path}: {problem.what}" for problem in project.listing.problems]
        out += newcomers(project.snapshot.entries, set(facts["missing"]))
        out += collisions(project.snapshot.entries)
        active = [each["name"] for each in facts["active"]]
        if active and not self.provider.features.exclusive:
            out.append(f"also running on this machine: {', '.join(active)}; they share its cores and memory")
        need, free = project.snapshot.bytes, facts.get("disk_free_bytes") or 0
        if free and free < need * 2:
            out.append(f"only {size(free)} are free on the machine; the code alone takes {size(need)}")
        return tuple(out)


def installs(spec: RunSpec) -> bool:
    """Whether dependencies are installed for the run: an image has them. Pure."""
    return spec.deps is not DepsMode.SKIP and not spec.image


def check_engine(spec: RunSpec, facts: Mapping[str, Any]) -> None:
    """Raise ``container-engine-missing`` where a machine that is there cannot run the image asked for. Pure."""
    found = facts.get("container")
    if spec.image and found and not found["engine"]:
        why = "; ".join(f"{one['engine']}: {one['why']}" for one in found["tried"])
        raise known("container-engine-missing", detail=why or "neither docker nor podman is installed")


def check_resources(spec: RunSpec, facts: Mapping[str, Any]) -> None:
    """Raise ``machine-too-small`` where a machine that is there has less than ``spec`` asks for. Pure."""
    need = spec.resources
    has_gpus = [gpu["name"] for gpu in facts["gpus"]]
    wanted, number = need.gpu or "", need.gpus
    if wanted.isdigit():  # a number alone: any GPU will do
        wanted, number = "", int(wanted)
    fitting = [name for name in has_gpus if wanted.lower() in name.lower()]
    lacks = []
    if need.gpu and len(fitting) < number:
        lacks.append(f"{number} x {wanted or 'any GPU'} wanted, it has {', '.join(has_gpus) or 'no GPU'}")
    if need.cpus and facts["cpus"] < need.cpus:
        lacks.append(f"{need.cpus} cores wanted, it has {facts['cpus']}")
    if need.memory_gb and facts["memory_bytes"] < need.memory_gb * 2**30:
        lacks.append(f"{need.memory_gb:g} GiB memory wanted, it has {size(facts['memory_bytes'])}")
    if need.disk_gb and facts["disk_free_bytes"] < need.disk_gb * 2**30:
        lacks.append(f"{need.disk_gb:g} GiB disk wanted, {size(facts['disk_free_bytes'])} are free")
    if lacks:
        raise known("machine-too-small", target=spec.target, detail="; ".join(lacks))


def _check_output(spec: RunSpec) -> None:
    """Refuse a path where there is no store that it could be below."""
    if spec.output and not spec.output.startswith(("s3://", "file:///")):
        detail = "the output of a run on a machine that is there already goes to a whole address"
        raise known("store-url", url=spec.output, detail=detail)


def _lacking(missing: int) -> str:
    return f"lacks {count(missing, 'files')}" if missing else "has every file"
