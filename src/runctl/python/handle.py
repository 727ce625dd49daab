"""A run as an object: how it stands, what happens to it, its output and checkpoints, and the way to end it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runctl import api
from runctl.core.cancel import SLICE
from runctl.core.errors import Cancelled
from runctl.core.events import Event, Position
from runctl.core.model import Outcome, RunState
from runctl.python.attend import HURRY, Face
from runctl.python.log import EventLog
from runctl.python.place import as_warning
from runctl.python.work import Work, call, explained
from runctl.views.farewell import detached

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from runctl.api import Runtime
    from runctl.core import model
    from runctl.engine.plan import Plan
    from runctl.python.place import Place

T = TypeVar("T")


class Events(Iterator[Event]):
    """What happens to a run, one event after the other, until it has ended; made by ``Run.events``.

    ``position`` is how far it has come: ``run.events(after=position)`` goes on there, in another program too. Ctrl+C
    while it waits ends the watching, as on the command line; the run goes on and its handle can be used.

    Raises:
        RunctlError: the run could not be begun, or cannot be watched any more. How it ended is its last event.
    """

    def __init__(self, run: Run, index: int, position: Position) -> None:
        self.position = position
        self._run = run
        self._index = index
        self._work = run._watched()  # noqa: SLF001 - made by it

    def __next__(self) -> Event:
        log = self._run._log  # noqa: SLF001 - as above
        while True:
            done = self._work.done
            try:
                found = log.at(self._index, wait=0.0 if done else SLICE)
            except KeyboardInterrupt:
                self._run._let_go(self._work, None)  # noqa: SLF001 - as above
                raise
            if found is not None:
                self._index += 1
                event, self.position = found
                return event
            if done:
                if self._work.result().state is RunState.ENDED:
                    raise StopIteration
                self._work = self._run._watched()  # noqa: SLF001 - handed over: now it is followed


class Run:
    """A run, started by this program, by another, or on another computer that shares its store. Safe from any thread.

    ``status``, ``outcome``, ``exit_code`` and ``record`` ask its machine until it has ended, and raise what asking may
    raise; ``name`` and ``id`` are always there.
    """

    def __init__(self, place: Place, last: model.Run, *, log: EventLog | None = None) -> None:
        self._place = place
        self._last = last
        self._log = log or EventLog()
        self._shown = len(self._log)  # events that somebody was shown
        self._starts: list[model.Run] = [last] if log is None else []  # as its machines took it
        self._work: Work[model.Run] | None = None
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """Its name, as `runctl runs` has it."""
        return self._last.name

    @property
    def id(self) -> str:
        """Its id."""
        return self._last.id

    @property
    def status(self) -> RunState:
        """Where it stands: pending, preparing, running, ended or lost."""
        return self._now().state

    @property
    def outcome(self) -> Outcome | None:
        """How it ended: succeeded, failed, preempted or cancelled; None until then."""
        return self._now().outcome

    @property
    def exit_code(self) -> int | None:
        """The script's exit status; None until it has ended, and where a signal ended it."""
        return self._now().exit_code

    @property
    def record(self) -> dict[str, Any]:
        """All that is recorded of it, as plain JSON values: its object in ``runctl runs --json``."""
        return self._now().to_json()

    @property
    def output(self) -> bytes:
        """What the script has printed so far, byte for byte."""
        return self._output(None)

    def log(self, *, tail: int | None = None) -> str:
        """The output as text, or its last ``tail`` lines; what is no UTF-8 comes as replacement characters."""
        return self._output(tail).decode(errors="replace")

    def events(self, *, after: Position | None = None) -> Events:
        """What happens, live until it has ended: from its beginning as this handle knows it, or ``after`` a position.

        A handle of ``train`` knows of planning and handing over, too; any other begins with what the machine tells.
        """
        if len(self._log) and (after or Position()) < self._log.begins:
            return Run(self._place, self._last).events(after=after)
        if after is None:
            return Events(self, 0, self._log.begins)
        if not len(self._log):
            self._log.begin(after)
        return Events(self, self._log.index_after(after), after)

    def wait(self, *, check: bool = True, quiet: bool = False) -> Run:
        """Follow it to its end and show what happens, as ``runctl attach`` does; gives the handle itself.

        Ctrl+C ends the watching, says how to come back, and is raised; the run goes on. Safe to repeat.

        Args:
            check: raise the error that says how it ended, if not well.
            quiet: show nothing.

        Raises:
            RunctlError: it could not be begun or watched; with ``check`` ``ScriptFailed``, ``InstallError``,
                ``MachineGone``, ``Cancelled`` by how it ended.
        """
        with Face(self._place, quiet=quiet, run=self.name) as face:
            self._followed(face)
        if check:
            self._check()
        return self

    def cancel(self, *, grace: float | None = None, wait: bool = True) -> Run:
        """End it and every process it started: TERM, ``grace`` seconds (setting: grace_seconds), KILL. Safe to repeat.

        One that its machine does not have yet is taken back; nothing of it stays.

        Raises:
            AgentError: ``cancel-slow`` when it has not ended some seconds after its grace.
        """
        work = self._work
        if work is not None and not self._starts:
            work.let_go("cancelled by its owner")
            if not self._starts:
                if not isinstance(work.error, Cancelled | None):
                    raise explained(work.error)
                return self

        def end(rt: Runtime) -> model.Run:
            now = api.get_run(rt, self.id)
            return now if now.state is RunState.ENDED else api.cancel(rt, now, grace=grace, wait=wait)[0]

        self._last = call(self._place, end, as_warning)
        return self

    def checkpoints(self) -> list[dict[str, Any]]:
        """The complete ones, newest first: path, format, size, step and what else ``checkpoint list --json`` tells."""
        found: list[dict[str, Any]] = self._ask(api.checkpoints)["checkpoints"]
        return found

    def pull(self, checkpoint: str = "", *, to: str | os.PathLike[str] = ".", quiet: bool = False) -> Path:
        """Copy a checkpoint here, the newest or the one of that path, into the folder ``to``; where it is now.

        Raises:
            UsageError: ``checkpoint-not-found``, ``checkpoint-unknown``.
            AgentError: ``checkpoint-torn`` when what arrived is not what the machine had.
        """
        folder = Path.cwd() / Path(to).expanduser()

        def fetch(rt: Runtime) -> Path:
            now = api.get_run(rt, self.id)
            listed = api.checkpoints(rt, now)
            chosen = api.choose_checkpoint(self.name, checkpoint, listed)
            return api.pull_checkpoint(rt, now, {"directory": listed["directory"], **chosen}, folder)

        with Face(self._place, quiet=quiet, run=self.name) as face:
            return face.shown(fetch, EventLog())

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self._last.outcome or self._last.state}>"

    def _repr_html_(self) -> str:
        """The page of ``runctl show``, as it was last seen; asks nobody."""
        from runctl.python.pages import of_run  # noqa: PLC0415 - only where it is shown

        self._absorb()
        return of_run(self._place, self._last)

    # --- what the rest of the package does with it

    def _begin(self, plan: Plan, *, detach: bool, allow: Callable[[model.Offer, model.Offer], bool]) -> None:
        """Apply the plan it was made of."""
        log, starts = self._log, self._starts

        def started(run: model.Run) -> None:
            log.attempt(run.attempt)
            starts.append(run)

        self._work = Work(
            self._place,
            lambda rt: api.train(rt, plan, detach=detach, on_start=started, allow=allow),
            log.append,
            may_end=lambda: bool(starts),
        )

    def _followed(self, face: Face) -> None:
        """Show what happens until the run has ended."""
        while self._attended(face).state is not RunState.ENDED:
            pass

    def _handed_over(self, face: Face) -> None:
        """Wait until its machine has it."""
        self._attended(face)
        face.say(f"{self.name} goes on without this program. Follow it with:\n  runctl attach {self.name}")

    def _attended(self, face: Face) -> model.Run:
        """Show what happens until what is at work has ended; the run as it is then. Raises what that raised."""
        work = self._watched()
        try:
            self._shown = face.attend(work, self._log, self._shown)
        except KeyboardInterrupt:
            self._let_go(work, face)
            raise
        except BaseException:  # nobody reads stdout any more; the run goes on
            work.let_go("its output cannot be shown")
            raise
        self._absorb()
        return work.result()

    def _watched(self) -> Work[model.Run]:
        """What follows it to its end; begun, or begun again, where nothing does."""
        with self._lock:
            work = self._work
            if work is not None and (not work.done or not self._starts):
                return work
            if work is not None and work.error is None and work.result().state is RunState.ENDED:
                return work
            self._work = work = Work(self._place, _following(self.id, self._log), self._log.append)
            weakref.finalize(self, work.cancel.cancel, "nobody looks any more")
            return work

    def _let_go(self, work: Work[model.Run], face: Face | None) -> None:
        """Ctrl+C: end what this program does with the run, and say what that means. Raises what may be owed."""
        if face is not None:
            face.say(HURRY)
        work.let_go("Ctrl+C")
        self._absorb()
        if work.error is not None and not isinstance(work.error, Cancelled):
            raise explained(work.error)
        if face is not None and self._last.state is not RunState.ENDED:
            face.settle()
            face.say(detached((self._starts or [self._last])[-1]))

    def _absorb(self) -> None:
        """Take over what the work has come to."""
        work = self._work
        if work is None or not work.done:
            return
        if work.error is None:
            self._last = work.result()
        elif not self._starts:
            how = Outcome.CANCELLED if isinstance(work.error, Cancelled) else Outcome.FAILED
            reason = f"not begun: {work.error}"
            self._last = replace(self._last, state=RunState.ENDED, outcome=how, reason=reason)

    def _now(self) -> model.Run:
        self._absorb()
        if self._starts and self._last.state is not RunState.ENDED:
            self._last = call(self._place, lambda rt: api.get_run(rt, self.id), as_warning)
        return self._last

    def _check(self) -> None:
        last = self._last
        call(self._place, lambda rt: api.raise_for_outcome(rt, last), as_warning)

    def _ask(self, verb: Callable[[Runtime, model.Run], T]) -> T:
        return call(self._place, lambda rt: verb(rt, api.get_run(rt, self.id)), as_warning)

    def _output(self, tail: int | None) -> bytes:
        found = bytearray()
        self._ask(
            lambda rt, run: api.logs(rt, run, on_output=lambda chunk: found.extend(chunk.data), tail=tail)
        )
        return bytes(found)


def _following(run_id: str, log: EventLog) -> Callable[[Runtime], model.Run]:
    """Follow from where the log ends. Knows nothing of the handle: without it, nobody reads the log."""

    def follow(rt: Runtime) -> model.Run:
        now = api.get_run(rt, run_id)
        seen = log.position
        log.attempt(now.attempt)
        return api.attach(rt, now, after=seen)

    return follow
