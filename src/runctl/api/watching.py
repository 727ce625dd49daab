"""Look at runs, follow them, end them, delete them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.errors import AccessError, MachineGone, UnreachableError, UsageError
from runctl.core.events import Notice, Output
from runctl.core.model import Endpoint, Outcome, RunState, run_from_json
from runctl.engine import cost, kept_trees
from runctl.engine.folders import RunFolder, is_held, recorded_ids
from runctl.engine.follow import Follower
from runctl.engine.observe import absorb, absorb_record
from runctl.engine.records import Recorder, recorded_steps
from runctl.engine.remote import worded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runctl.api.runtime import Runtime
    from runctl.core.events import Position
    from runctl.core.model import Run
    from runctl.engine.index import Index

CANCEL_POLL = 0.1  # seconds between two looks at a run that is being ended
STORE_CANCEL_POLL = 0.5  # the same where the machine may have to be asked through the store
STORE_SETTLE_WAIT = 60.0  # as SETTLE_WAIT, with the time the machine takes to look and to save
SETTLE_WAIT = 10.0  # seconds beyond the grace before a cancelled run that does not end is reported


def list_runs(
    rt: Runtime, *, limit: int | None = None, state: str | None = None, project: str | None = None
) -> list[dict[str, Any]]:
    """Records of runs, newest first, as the index has them; ``refresh`` asks the machines."""
    with rt.index() as index:
        return index.runs(limit=limit, state=state, project=project)


def refresh(rt: Runtime, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with what the machines say of those that have not ended; one question a machine.

    A machine that does not answer leaves its runs as they were last seen, with a notice. What is new is recorded.
    """
    fresh = {}
    # Before the machines are asked: a client that lets go has handed over, and its machine knows the run.
    waiting = {
        record["id"]
        for record in records
        if record["state"] == RunState.PENDING and is_held(RunFolder(rt.state_dir, record["id"]))
    }
    fresh.update(_by_store(rt, records))
    for endpoint, alive in _by_machine(records).items():
        try:
            answer = rt.agent(endpoint).call(
                "status", {"runs": [record["id"] for record in alive]}, cancel=rt.cancel
            )
        except UnreachableError as error:
            rt.emit(
                Notice("warning", f"{error.what}; shown as last seen: {', '.join(r['name'] for r in alive)}")
            )
            continue
        said = {status["run"]: status for status in answer["runs"]}
        for record in alive:
            status = said.get(record["id"])
            fresh[record["id"]] = _refreshed(record, status, handing_over=record["id"] in waiting)
    changed = [run_from_json(record) for record in fresh.values()]
    if changed:
        with rt.index() as index:
            for run in changed:
                if _record(rt, index, run) and run.state is RunState.ENDED:
                    settle_record(rt, run)
    return [fresh.get(record["id"], record) for record in records]


def _by_store(rt: Runtime, records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those that a store remembers and that had not ended, as they stand now; a store that does not answer changes nothing."""
    asked = [each for each in records if each["state"] != RunState.ENDED and each.get("store")]
    if not asked:
        return {}
    from runctl.api import stored_runs  # noqa: PLC0415 - runs on this machine do without

    try:
        found = stored_runs.refreshed(rt, map(run_from_json, asked))
    except UnreachableError as error:
        rt.emit(Notice("warning", f"{error.what}; shown as last seen: {', '.join(r['name'] for r in asked)}"))
        return {}
    return {run.id: run.to_json() for run in found}


def _by_machine(records: Iterable[dict[str, Any]]) -> dict[Endpoint, list[dict[str, Any]]]:
    found: dict[Endpoint, list[dict[str, Any]]] = {}
    for record in records:
        if record["state"] != RunState.ENDED and not record.get("store"):
            endpoint = Endpoint(record["transport"], record["address"], record["python"], record["home"])
            found.setdefault(endpoint, []).append(record)
    return found


def _refreshed(
    record: dict[str, Any], status: dict[str, Any] | None, *, handing_over: bool
) -> dict[str, Any]:
    if status is not None:
        return absorb_record(record, status)
    if record["started_at"] is None and record["state"] in (RunState.PENDING, RunState.LOST):
        if handing_over:
            return record
        reason = "the client that started it ended before the machine had it"
    else:
        reason = "its machine does not know it any more"
    return {**record, "state": str(RunState.LOST), "reason": reason}


def _record(rt: Runtime, index: Index, run: Run) -> bool:
    """Record what a machine said of a run; whether that was new. A state folder that cannot be written is a notice.

    Whoever looks at a run, or ends it, wants that more than a record: the machine has one of its own.
    """
    try:
        return index.update(run)
    except AccessError as error:
        rt.emit(Notice("warning", f"{error.what}: {error.why}; what is seen now is not recorded"))
        return False


def record(rt: Runtime, run: Run) -> None:
    """Record how a run stands. A state folder that cannot be written is a notice, not an error."""
    with rt.index() as index:
        _record(rt, index, run)


def _record_steps(index: Index, run: Run) -> None:
    with suppress(AccessError):  # said already, when the run itself was to be recorded
        index.add_steps(recorded_steps(index.folder(run.id), run.id))


def get_run(rt: Runtime, reference: str) -> Run:
    """The run of that name, id or unique beginning (``latest``: the newest), as its machine sees it now.

    One that was started from another computer is found in the store that both share, and is known here from then on.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``.
    """
    with rt.index() as index:
        try:
            run = index.get(reference)
        except UsageError as error:
            if error.code != "run-not-found":
                raise
            run = _from_elsewhere(rt, index, reference, error)
    (record,) = refresh(rt, [run.to_json()])
    return run_from_json(record)


def learn_runs(rt: Runtime) -> int:
    """Make known here what other computers started, by the store that they share; how many are new. Safe to repeat."""
    from runctl.api import stored_runs  # noqa: PLC0415 - runs on this machine do without

    found = stored_runs.elsewhere(rt, but=recorded_ids(rt.state_dir))
    with rt.index() as index:
        for run in found:
            index.add(run)
    return len(found)


def _from_elsewhere(rt: Runtime, index: Index, reference: str, unknown: UsageError) -> Run:
    """A run that only a shared store knows; raises ``unknown`` when none of them does."""
    from runctl.api import stored_runs  # noqa: PLC0415 - runs on this machine do without

    for run in stored_runs.elsewhere(rt):
        if reference in (run.id, run.name):
            index.add(run)
            return run
    raise unknown


def attach(rt: Runtime, run: Run, *, from_start: bool = True, after: Position | None = None) -> Run:
    """As ``follow``; where machines were leased for the run, they are seen gone and the cost is told at its end."""
    ended = follow(rt, run, from_start=from_start, after=after)
    if ended.machines:
        from runctl.api.cleaning import see_gone  # noqa: PLC0415 - runs on machines that cost nothing do without

        see_gone(rt, ended)
        rt.emit(cost.told(ended, now=rt.clock.now()))
    return ended


def follow(rt: Runtime, run: Run, *, from_start: bool = True, after: Position | None = None) -> Run:
    """Emit the run's output and events until it has ended; the run as it ended.

    Args:
        from_start: all of the output and the machine's events; otherwise only what comes from now on.
        after: only what comes after this; a position in an earlier attempt is the start of the latest.

    Raises:
        Cancelled: the token was set; the run goes on.
        UnreachableError: no contact for 20 minutes; the run goes on.
    """
    with rt.index() as index:
        recorder = Recorder(rt.emit, clock=rt.clock)
        recorder.begin(index.folder(run.id), run.id, attempt=run.attempt)
        try:
            if run.store:
                from runctl.api import stored_runs  # noqa: PLC0415 - as above

                status = stored_runs.follow(rt, run, recorder, from_start=from_start, after=after)
            else:
                status = _follow_machine(rt, run, recorder, from_start=from_start, after=after)
            ended = absorb(run, status)
            _record(rt, index, ended)
            _record_steps(index, run)
        finally:
            recorder.close()
    return ended


def _follow_machine(
    rt: Runtime, run: Run, recorder: Recorder, *, from_start: bool, after: Position | None
) -> dict[str, Any]:
    follower = Follower(
        rt.agent(run.endpoint, emit=recorder),
        run.id,
        emit=rt.emit,
        clock=rt.clock,
        on_event_lines=recorder.machine,
    )
    follower.begin(after, attempt=run.attempt, recorded=recorder.machine_offset())
    more = {} if from_start else {"tail": 0}
    return follower.follow(wait=True, cancel=rt.cancel, **more)


def settle_record(rt: Runtime, run: Run) -> None:
    """Copy what the machine recorded of an ended run: its events and step timings. Safe to repeat.

    A machine that does not answer is asked again the next time somebody looks; its events are then still missing
    here, which costs statistics, not results.
    """
    with rt.index() as index:
        recorder = Recorder(lambda _event: None, clock=rt.clock)
        recorder.begin(index.folder(run.id), run.id, attempt=run.attempt)
        try:
            if run.store:
                from runctl.api import stored_runs  # noqa: PLC0415 - as above

                stored_runs.copy_events(rt, run, recorder)
                _record_steps(index, run)
                return
            follower = Follower(
                rt.agent(run.endpoint),
                run.id,
                emit=lambda _event: None,
                clock=rt.clock,
                on_event_lines=recorder.machine,
            )
            follower.output, follower.events = None, recorder.machine_offset()
            follower.follow(wait=False, cancel=rt.cancel)
            _record_steps(index, run)
        except UnreachableError:
            return
        finally:
            recorder.close()


def logs(
    rt: Runtime,
    run: Run,
    *,
    on_output: Callable[[Output], None],
    follow: bool = False,
    since: float | None = None,
    tail: int | None = None,
) -> None:
    """Hand the script's output to ``on_output`` in chunks, bytes as they are, in order.

    Args:
        follow: go on until the run has ended.
        since: seconds since the epoch; what was written earlier is left out. Only the machine knows.
        tail: only so many lines from the end of what is there.

    Raises:
        MachineGone: ``logs-since-gone``: ``since`` was asked of a run whose machine does not answer.
    """
    if run.store and since is None:
        from runctl.api import stored_runs  # noqa: PLC0415 - as above

        stored_runs.logs(rt, run, on_output=on_output, wait=follow, tail=tail)
        return

    def emit(event: object) -> None:
        if isinstance(event, Output):
            on_output(event)
        elif isinstance(event, Notice):
            rt.emit(event)

    follower = Follower(rt.agent(run.endpoint), run.id, emit=emit, clock=rt.clock)
    follower.events = None
    more = {key: value for key, value in (("since", since), ("tail", tail)) if value is not None}
    try:
        follower.follow(wait=follow, cancel=rt.cancel, **more)
    except (UnreachableError, MachineGone) as error:
        if run.store:
            raise known("logs-since-gone", run=run.name, detail=f"{error.what}: {error.why}") from error
        raise


def cancel(
    rt: Runtime, run: Run, *, grace: float | None = None, wait: bool = True
) -> tuple[Run, dict[str, Any]]:
    """End the run and every process it started: TERM, grace, KILL. Safe to repeat; a smaller grace shortens.

    Returns the run and the agent's ``Status`` (``killed`` names the processes that were ended).

    Raises:
        AgentError: ``cancel-slow`` when it has not ended some seconds after its grace.
        Cancelled: the token was set while waiting; the run is still being ended.
    """
    allowed = rt.config.number("grace_seconds") if grace is None else grace
    status = _ask_to_end(rt, run, allowed)
    deadline = rt.clock.monotonic() + (allowed or 0.0) + (STORE_SETTLE_WAIT if run.store else SETTLE_WAIT)
    while wait and status["state"] != RunState.ENDED:
        if rt.clock.monotonic() > deadline:
            raise known("cancel-slow", run=run.name, state=status["state"])
        rt.clock.sleep(STORE_CANCEL_POLL if run.store else CANCEL_POLL, rt.cancel)
        status = _status(rt, run) or status
    now = absorb(run, status)
    with rt.index() as index:
        if _record(rt, index, now) and now.state is RunState.ENDED:
            settle_record(rt, now)
    return now, status


def _ask_to_end(rt: Runtime, run: Run, grace: float | None) -> dict[str, Any]:
    """Tell the machine, and for a run with a store that too: whichever is heard first. The status of that moment."""
    reason = "cancelled by its owner"
    words = {"run": run.id, "grace": grace, "reason": reason}
    if not run.store:
        told: dict[str, Any] = rt.agent(run.endpoint).call("cancel", words, cancel=rt.cancel)["status"]
        return told
    from runctl.api import stored_runs  # noqa: PLC0415 - as above

    stored_runs.ask_to_end(rt, run, grace=grace, reason=reason)
    with suppress(UnreachableError, MachineGone):  # it reads the store
        rt.agent(run.endpoint).call("cancel", words, cancel=rt.cancel)
    return _status(rt, run) or {"state": str(run.state), "killed": []}


def _status(rt: Runtime, run: Run) -> dict[str, Any] | None:
    if run.store:
        from runctl.api import stored_runs  # noqa: PLC0415 - as above

        return stored_runs.status(rt, run)
    answer = rt.agent(run.endpoint).call("status", {"runs": [run.id]}, cancel=rt.cancel)
    status: dict[str, Any] = answer["runs"][0]
    return status


def remove(rt: Runtime, run: Run) -> int:
    """Delete an ended run, on its machine and here; the bytes freed. Safe to repeat.

    Raises:
        UsageError: ``run-active``: the run has not ended.
    """
    freed = 0
    if run.store:
        from runctl.api import stored_runs  # noqa: PLC0415 - as above

        freed = stored_runs.remove(rt, run)
    elif run.state is not RunState.LOST:
        freed = rt.agent(run.endpoint).call("remove", {"run": run.id}, cancel=rt.cancel)["bytes"]
    with rt.index() as index:
        freed += index.delete(run.id)
        kept_trees.forget_all_but(rt.state_dir, index.codes())
    return freed


def checkpoints(rt: Runtime, run: Run, *, verify: bool = False) -> dict[str, Any]:
    """The agent's ``checkpoints`` answer for a run: complete ones newest first, and incomplete ones with the reason."""
    if run.store:
        from runctl.api import stored_runs  # noqa: PLC0415 - as above

        found = stored_runs.checkpoints(rt, run)
        if verify:
            from runctl.api.pulling import verified  # noqa: PLC0415 - only for this

            return verified(rt, run, found)
        return found
    return rt.agent(run.endpoint).call("checkpoints", {"run": run.id, "verify": verify}, cancel=rt.cancel)


def raise_for_outcome(rt: Runtime, run: Run) -> None:
    """Raise the error that says how an ended run failed; nothing for one that succeeded.

    Raises:
        ScriptFailed, InstallError, AgentError, Cancelled, MachineGone: by who has to act.
    """
    if run.outcome is None or run.outcome is Outcome.SUCCEEDED:
        return
    events = str(rt.state_dir / "runs" / run.id)
    if run.error is not None:
        named = {**run.error.get("facts", {}), "run": run.name}
        raise worded({**run.error, "facts": named}).add_context(events=events)
    facts = {"run": run.name, "script": run.script, "reason": run.reason, "events": events}
    if run.outcome is Outcome.CANCELLED:
        raise known("run-cancelled", **facts)
    if run.outcome is Outcome.PREEMPTED:
        raise known("run-preempted", **facts)
    how = f"signal {run.signal}" if run.signal else f"exit status {run.exit_code}"
    raise known("script-failed", how=how, **facts)
