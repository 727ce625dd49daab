"""Runs that their store remembers: watched, ended and looked at whether their machine answers or not."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import together
from runctl.core.errors import AccessError, RunctlError, UnreachableError, UsageError
from runctl.core.events import Notice, Output
from runctl.core.model import RunState, run_from_json
from runctl.engine.follow import Follower
from runctl.engine.follow_both import FollowBoth, preempted
from runctl.engine.observe import absorb
from runctl.engine.store_reader import EVENTS, OUTPUT, StoreReader, tail_offset

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from runctl.api.runtime import Runtime
    from runctl.core.events import Event, Position
    from runctl.core.model import Run
    from runctl.engine.records import Recorder

SEE_AT_ONCE = 8  # stores or objects asked side by side
FOLLOW_POLL = 1.0  # seconds between two looks at the output of a run whose machine does not answer
SAVED_POLL, GONE_POLL = 0.5, 10.0  # seconds between two looks at the store, and two questions to the provider
RECORDS = "records/"


def reader(rt: Runtime, run: Run) -> StoreReader:
    """The store's side of the run's latest attempt."""
    return StoreReader(rt.store(run.store), run.id, run.attempt)


def follow(
    rt: Runtime, run: Run, recorder: Recorder, *, from_start: bool, after: Position | None
) -> dict[str, Any]:
    """Emit output and events of the run until its attempt has ended; its last status.

    Args:
        from_start: all of the output; otherwise only what comes from now on.
        after: only what comes after this.
    """
    aside = replace(rt, emit=lambda event: rt.emit(_in_passing(event)))
    follower = Follower(
        aside.agent(run.endpoint, emit=recorder),
        run.id,
        emit=rt.emit,
        clock=rt.clock,
        on_event_lines=recorder.machine,
    )
    follower.begin(after, attempt=run.attempt, recorded=recorder.machine_offset())
    stored = reader(rt, run)
    if not from_start:
        follower.output = stored.length(OUTPUT, rt.cancel)
    both = FollowBoth(follower, stored, gone=lambda: gone(rt, run), clock=rt.clock)
    return both.follow(cancel=rt.cancel)


def _in_passing(event: Event) -> Event:
    """What a transport tells, where the store tells of the run meanwhile: that it has to wait is a detail."""
    if isinstance(event, Notice) and event.level == "info":
        return replace(event, level="detail")
    return event


def gone(rt: Runtime, run: Run) -> str | None:
    """Why the run's machine is no more, by its provider's word; None while it exists, or when nobody can tell."""
    if not run.machine:
        return "its machine was never bought"
    try:
        found = [each for each in rt.provider(run.provider).machines(rt.cancel) if each.id == run.machine]
    except RunctlError:
        return None
    alive = [each for each in found if each.state in ("pending", "running")]
    if alive:
        return None
    told = found[0].notes.get("reason", "") if found else ""
    return f"the machine {run.machine} is gone{': ' + told if told else ''}"


def status(rt: Runtime, run: Run) -> dict[str, Any] | None:
    """How the run stands by its store, and its provider where the machine can no longer say; None: not begun yet."""
    found = reader(rt, run).json("status.json", rt.cancel)
    if found is not None and found["state"] == RunState.ENDED:
        return found
    reason = gone(rt, run)
    if reason is None:
        return found
    last = reader(rt, run).last_seen(rt.cancel)
    return preempted({"run": run.id, "attempt": run.attempt, **(found or {})}, reason, last_seen=last)


def await_saved(rt: Runtime, run: Run) -> bool:
    """Wait until all that an ended run left is in its store; whether it is: its machine may be gone before that.

    The machine bounds it: when nothing more can be stored for a whole lease it goes down by itself. Read-only, safe to
    repeat. Raises ``Cancelled``: the machine goes on storing, and then goes back.
    """
    stored = reader(rt, run)
    ask_at = rt.clock.monotonic()
    over = False
    while (stored.json("heartbeat.json", rt.cancel) or {}).get("phase") != "done":
        if over:
            return False
        if rt.clock.monotonic() >= ask_at:
            ask_at = rt.clock.monotonic() + GONE_POLL
            over = gone(rt, run) is not None  # its last words may have come meanwhile: one more look
            continue
        rt.clock.sleep(SAVED_POLL, rt.cancel)
    return True


def refreshed(rt: Runtime, runs: Iterable[Run]) -> list[Run]:
    """The runs as they stand now, asked side by side."""
    waiting = list(runs)
    answers: dict[str, Run] = {}

    def ask(mine: list[Run]) -> None:
        for run in mine:
            found = status(rt, run)
            answers[run.id] = run if found is None else absorb(run, found)

    with together(rt.cancel) as scope:
        for first in range(min(SEE_AT_ONCE, len(waiting))):
            scope.start("ask-store", lambda first=first: ask(waiting[first::SEE_AT_ONCE]))  # type: ignore[misc]
    return [answers[run.id] for run in waiting]


def logs(rt: Runtime, run: Run, *, on_output: Callable[[Output], None], wait: bool, tail: int | None) -> None:
    """Hand over the output that the store has, from the last ``tail`` lines on; with ``wait`` until the run has ended."""
    found = reader(rt, run)
    offset = 0 if tail is None else tail_offset(found, tail, rt.cancel)
    while True:
        now = found.json("status.json", rt.cancel) if wait else None
        for at, data in found.read(OUTPUT, offset, rt.cancel):
            on_output(Output(at, data))
            offset = at + len(data)
        if not wait or (now is not None and now["state"] == RunState.ENDED) or gone(rt, run) is not None:
            return
        rt.clock.sleep(FOLLOW_POLL, rt.cancel)


def copy_events(rt: Runtime, run: Run, recorder: Recorder) -> None:
    """Copy the machine's events to the run's record here. Safe to repeat."""
    for offset, lines in reader(rt, run).read(EVENTS, recorder.machine_offset(), rt.cancel):
        recorder.machine(offset, lines)


def ask_to_end(rt: Runtime, run: Run, *, grace: float | None, reason: str) -> None:
    """Ask through the store: the machine looks every few seconds. Safe to repeat."""
    wish = json.dumps({"grace": grace, "reason": reason, "attempt": run.attempt}).encode()
    rt.store(run.store).put(f"runs/{run.id}/cancel.json", wish, cancel=rt.cancel)


def checkpoints(rt: Runtime, run: Run) -> dict[str, Any]:
    """What ``api.checkpoints`` answers, from the store: complete ones of all attempts, newest attempt first."""
    store = rt.store(run.store)
    found: list[Mapping[str, Any]] = []
    for attempt in range(run.attempt, 0, -1):
        listing = StoreReader(store, run.id, attempt).json("checkpoints.json", rt.cancel) or {}
        place = f"{run.store}/runs/{run.id}/{attempt}/checkpoints"
        found += [
            {"tensors": None, **each, "attempt": attempt, "place": place}
            for each in listing.get("checkpoints", ())
        ]
    return {"checkpoints": found, "incomplete": [], "directory": f"{run.store}/runs/{run.id}"}


def remove(rt: Runtime, run: Run) -> int:
    """Delete what the store keeps of the run; the bytes freed. Safe to repeat."""
    store = rt.store(run.store)
    keys = {stored.key: stored.size for stored in store.list(f"runs/{run.id}/", cancel=rt.cancel)}
    store.delete([*keys, f"{RECORDS}{run.id}.json"], rt.cancel)
    return sum(keys.values())


def elsewhere(rt: Runtime, *, but: Collection[str] = ()) -> list[Run]:
    """The runs that the target's store knows, from whatever computer they were started, newest first.

    Those whose ids are in ``but`` are left out. Nothing where the target has no store, or it cannot be asked.
    """
    try:
        url = rt.provider(rt.config.text("target")).store()
    except RunctlError:
        return []
    if not url:
        return []
    store = rt.store(url)
    found: dict[str, Run] = {}

    def read(keys: list[str]) -> None:
        for key in keys:
            with suppress(ValueError, UsageError):  # one a newer version wrote, or that was deleted just now
                found[key] = run_from_json(json.loads(store.get(key, cancel=rt.cancel)))

    with suppress(AccessError, UnreachableError, UsageError):
        keys = [stored.key for stored in store.list(RECORDS, cancel=rt.cancel)]
        wanted = [key for key in keys if key.removeprefix(RECORDS).removesuffix(".json") not in but]
        with together(rt.cancel) as scope:
            for first in range(min(SEE_AT_ONCE, len(wanted))):
                scope.start("records", partial(read, wanted[first::SEE_AT_ONCE]))
    return [found[key] for key in sorted(found, reverse=True)]
