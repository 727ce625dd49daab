"""Runs whose machines begin them by themselves, from the store: attempts one after another until the run has ended."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from runctl.api import stored_runs
from runctl.api.doctor import explain
from runctl.api.planning import handed_over
from runctl.api.training import anything, new_run, recorded
from runctl.api.watching import follow, record, settle_record
from runctl.core.cancel import CancelToken, limited, together
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, RunctlError, UnreachableError
from runctl.core.events import Notice
from runctl.core.model import Outcome, Purchase, RunState
from runctl.core.quantities import count
from runctl.engine import caching, cost
from runctl.engine.boot import user_data
from runctl.engine.hand_over import get_request, next_request, put_record, put_request, send_run
from runctl.engine.lease import lease
from runctl.engine.plan_json import resources_from_json
from runctl.engine.records import Recorder
from runctl.engine.resume import stored_checkpoint
from runctl.engine.steps import step
from runctl.engine.store_reader import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.events import Emit
    from runctl.core.model import CacheVolume, Machine, Offer, Resources, Run
    from runctl.core.ports import Provider, Store
    from runctl.engine.plan import Plan

DEADLINE_MARGIN = timedelta(minutes=30)  # beyond max_hours: boot, installation, the last save
SECRETS_SECONDS, SECRETS_PAUSE = (
    600.0,
    1.0,
)  # how long a machine may take to be reached, and between two tries
ASK_SECONDS = 5.0  # for finding out, after a failure, whether a machine may have begun the run


@dataclass(frozen=True)
class How:
    """How the caller wants it done; the same for all attempts."""

    detach: bool
    on_start: Callable[[Run], None]
    allow: Callable[[Offer, Offer], bool]


def train_booted(rt: Runtime, plan: Plan, how: How) -> Run:
    """As ``training.train``, for a plan whose machine is bought and reads code and request from the store."""
    store = rt.store(plan.store)
    run = new_run(rt, plan)
    with recorded(rt, plan, run, lost=lambda run: not _begun(store, run)) as recorder:
        attempts = _Attempts(
            rt,
            rt.provider(plan.spec.target),
            store,
            recorder,
            plan.spec.resources,
            plan.spec.keep,
            {name: plan.variables[name] for name in plan.secret_variables},
            how,
        )
        return attempts.all(
            run,
            plan.offers,
            lambda cancel: send_run(plan, store, env=rt.env, emit=recorder, clock=rt.clock, cancel=cancel),
        )


def resume(
    rt: Runtime,
    run: Run,
    *,
    detach: bool = False,
    on_start: Callable[[Run], None] = lambda _run: None,
    allow: Callable[[Offer, Offer], bool] = anything,
) -> Run:
    """Another attempt of a run that has ended or whose machine is gone, from its newest checkpoint; as ``train`` goes.

    Raises:
        UsageError: ``run-has-no-store``; ``run-not-begun`` when its client ended before a machine could begin it.
    """
    if not run.store:
        raise known("run-has-no-store", run=run.name)
    store = rt.store(run.store)
    recorder = Recorder(rt.emit, clock=rt.clock)
    with rt.index() as index:
        recorder.begin(index.folder(run.id), run.id, attempt=run.attempt + 1)
    try:
        plan = StoredPlan.read(store, run, rt.cancel)
        provider, how = rt.provider(run.provider), How(detach, on_start, allow)
        last = get_request(store, run.id, run.attempt, cancel=rt.cancel)
        secrets = handed_over(rt, last["secret_env"])
        attempts = _Attempts(rt, provider, store, recorder, plan.need, plan.keep, secrets, how)
        return attempts.all(*attempts.next(run))
    except RunctlError as error:
        if missing(error):
            raise known("run-not-begun", run=run.name, script=run.script) from error
        raise
    finally:
        recorder.close()


@dataclass(frozen=True)
class StoredPlan:
    """Of the plan in the store, what a later attempt needs."""

    need: Resources
    keep: bool

    @staticmethod
    def read(store: Store, run: Run, cancel: CancelToken) -> StoredPlan:
        """Read it. Raises ``store-missing``: the run's client ended before anything of it was in the store."""
        import json  # noqa: PLC0415 - only to resume

        value = json.loads(store.get(f"runs/{run.id}/plan.json", cancel=cancel))
        return StoredPlan(resources_from_json(value["resources"]), value["keep_machine"])


def _begun(store: Store, run: Run) -> bool:
    """Whether a machine may have begun the run although we failed: its request is there, or the store does not answer."""
    with limited(CancelToken(), ASK_SECONDS) as cancel:
        try:
            get_request(store, run.id, 1, cancel=cancel)
        except RunctlError as error:
            return not missing(error)
    return True


@dataclass(frozen=True)
class _Attempts:
    rt: Runtime
    provider: Provider
    store: Store
    emit: Emit
    need: Resources
    keep: bool
    secrets: Mapping[str, str]
    how: How

    def all(self, run: Run, offers: Sequence[Offer], hand_over: Callable[[CancelToken], None]) -> Run:
        """Attempt after attempt, each on a machine of its own, until the run ends otherwise than by preemption."""
        while True:
            run = self._one(run, offers, hand_over)
            if run.state is RunState.ENDED:
                self.emit(cost.told(run, now=self.rt.clock.now()))
            if run.outcome is not Outcome.PREEMPTED or self.how.detach:
                return run
            if run.attempt >= int(self.rt.config.number("max_attempts") or 1):
                self.emit(Notice("warning", f"{run.name} was preempted {run.attempt} times; not tried again"))
                return run
            self.emit(Notice("warning", f"{run.name} was preempted: {run.reason}; buying another machine"))
            run, offers, hand_over = self.next(run)

    def next(self, run: Run) -> tuple[Run, Sequence[Offer], Callable[[CancelToken], None]]:
        """The next attempt of ``run``: the record, what may be bought for it, and what hands it over."""
        last = get_request(self.store, run.id, run.attempt, cancel=self.rt.cancel)
        start = stored_checkpoint(self.store, run.id, run.attempt, cancel=self.rt.cancel)
        request = next_request(last, attempt=run.attempt + 1, resume_from=start)
        where = "its beginning" if start is None else start["store"].rpartition("/checkpoints/")[2]
        self.emit(Notice("info", f"attempt {run.attempt + 1} of {run.name} goes on from {where}"))
        again = replace(
            run, attempt=run.attempt + 1, state=RunState.PENDING, outcome=None, reason="", error=None,
            exit_code=None, signal=None, started_at=None, ended_at=None, machine="",
        )  # fmt: skip
        record(self.rt, again)
        offers, _ = caching.with_caches(
            self.provider, self.need, self.provider.offers(self.need, self.rt.cancel), self.rt.cancel
        )
        return again, offers, lambda cancel: put_request(self.store, request, cancel=cancel)

    def _one(self, run: Run, offers: Sequence[Offer], hand_over: Callable[[CancelToken], None]) -> Run:
        """One attempt: buy and send side by side, follow to the end, give the machine back."""
        rt = self.rt
        with self._explaining(run, offers[0]), together(rt.cancel) as scope:
            sending = scope.start("send", lambda: hand_over(scope.cancel))
            with lease(
                self.provider,
                offers,
                self._purchase(run),
                ledger=rt.ledger(),
                emit=self.emit,
                clock=rt.clock,
                cancel=scope.cancel,
                allow=self.how.allow,
            ) as leased:
                cache = caching.attach(
                    self.provider,
                    self.store,
                    self.need,
                    leased.machine,
                    prefix=f"runs/{run.id}/{run.attempt}",
                    emit=self.emit,
                    clock=rt.clock,
                    cancel=scope.cancel,
                )
                sending.result()
                run = self._on(run, leased.machine)
                if self.secrets:
                    self._hand_over_secrets(run, scope.cancel)
                if self.keep:
                    leased.keep()
                elif self.how.detach:
                    leased.keep(told=True)
                    price = f"{leased.machine.offer.price_per_hour} {leased.machine.offer.currency}"
                    self.emit(
                        Notice(
                            "info", f"{run.machine} costs {price} an hour, and ends with the run by itself"
                        )
                    )
                self.how.on_start(run)
                if self.how.detach:
                    return run
                try:
                    run = follow(rt, run)
                    if not self.keep:
                        self._await_saved(run)
                except BaseException:  # whatever ended the watching, the run goes on
                    leased.keep()
                    raise
            if not self.keep:
                run = cost.returned(run, now=rt.clock.now())
                self._copy(run, cache)
        self._keep_record(run)
        return run

    def _await_saved(self, run: Run) -> None:
        """Hold the machine until what the run left is stored: ended before, it would take the rest with it."""
        rt = self.rt
        with step("save", "store what the run left", emit=self.emit, clock=rt.clock) as doing:
            try:
                saved = stored_runs.await_saved(rt, run)
            except Cancelled:
                text = f"{run.name} has ended; its machine stores what it left, then goes back by itself"
                self.emit(Notice("info", text))
                raise
            doing.summary = "all of it" if saved else "as much as its machine could"
        settle_record(rt, run)

    def _copy(self, run: Run, cache: CacheVolume | None) -> None:
        """A snapshot of the cache volume, for other zones, after a run that went well."""
        if cache is not None and run.outcome is Outcome.SUCCEEDED:
            caching.copy(
                self.provider,
                self.store,
                cache,
                prefix=f"runs/{run.id}/{run.attempt}",
                emit=self.emit,
                cancel=self.rt.cancel,
            )

    @contextmanager
    def _explaining(self, run: Run, offer: Offer) -> Iterator[None]:
        """What fails in the block says what a look at machine, account and computer finds about it."""
        try:
            yield
        except Cancelled:
            raise
        except RunctlError as error:
            raise explain(self.rt, run.provider, error, machine_id=run.machine, offer=offer) from error

    def _hand_over_secrets(self, run: Run, cancel: CancelToken) -> None:
        """Give the waiting agent what may stand in no store: through the transport, as soon as that reaches it."""
        rt = self.rt
        with step("secrets", "hand over the secrets", emit=self.emit, clock=rt.clock) as doing:
            agent = rt.agent(run.endpoint, emit=self.emit)
            deadline = rt.clock.monotonic() + SECRETS_SECONDS
            while True:
                try:
                    agent.call("secrets", {"run": run.id, "values": dict(self.secrets)}, cancel=cancel)
                    break
                except UnreachableError:
                    if rt.clock.monotonic() > deadline:
                        raise
                    rt.clock.sleep(SECRETS_PAUSE, cancel)
            doing.summary = count(len(self.secrets), "variables")

    def _purchase(self, run: Run) -> Purchase:
        hours = self.rt.config.number("max_hours")
        now = self.rt.clock.now()
        return Purchase(
            run_id=run.id,
            attempt=run.attempt,
            name=run.name,
            user_data=user_data(
                self.store.access(),
                run=run.id,
                attempt=run.attempt,
                lease_seconds=int((self.rt.config.number("aws.lease_minutes") or 0.0) * 60),
                release="keep" if self.keep else "terminate",
                home=self.provider.features.home,
            ),
            disk_gb=self.need.disk_gb,
            expires_at=None if hours is None else now + timedelta(hours=hours) + DEADLINE_MARGIN,
            project=run.project.rpartition("/")[2],
            keep=self.keep,
        )

    def _on(self, run: Run, machine: Machine) -> Run:
        """The run, now on ``machine``; recorded here and in the store."""
        run = replace(
            run,
            machine=machine.id,
            provider=machine.provider,
            endpoint=machine.endpoint,
            price_per_hour=str(machine.offer.price_per_hour),
        )
        least = self.provider.features.least_billed_seconds
        run = cost.leased(run, machine, now=self.rt.clock.now(), least_seconds=least)
        self._keep_record(run)
        return run

    def _keep_record(self, run: Run) -> None:
        record(self.rt, run)
        with limited(self.rt.cancel, ASK_SECONDS) as cancel:
            try:
                put_record(self.store, run, cancel=cancel)
            except RunctlError as error:
                self.emit(
                    Notice("warning", f"other computers do not see how {run.name} stands: {error.what}")
                )
