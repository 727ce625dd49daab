"""Code, then environment, each a step whose events the client shows."""

from __future__ import annotations

import threading
import time

from runctl.agent import tree
from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from runctl.agent.home import Home, RunFolder
    from runctl.agent.journal import Journal
    from runctl.agent.stop import Stop
    from runctl.agent.wake import Wake

PROGRESS_EVERY = 0.2  # seconds
SLICE = 1.0  # seconds; a finished piece of work wakes us at once
ABANDON_WAIT = 30.0  # seconds an installer gets to clean up after itself


class Step:
    """A named stretch of work: its events, its time, its failure. ``summary`` and ``skipped`` are set inside."""

    def __init__(self, journal: Journal, name: str, title: str) -> None:
        self._journal = journal
        self._name = name
        self._title = title
        self._told = 0.0
        self.summary = ""
        self.skipped = False

    def __enter__(self) -> Step:  # noqa: PYI034 - Self is newer than Python 3.8
        self._begun = time.monotonic()
        self._journal.emit("step.started", step=self._name, title=self._title, where="machine")
        return self

    def progress(self, done: int, total: int, item: str = "", *, unit: str = "files") -> None:
        """How far it is; told at most five times a second."""
        now = time.monotonic()
        if now - self._told >= PROGRESS_EVERY:
            self._told = now
            self._journal.emit("step.progress", step=self._name, done=done, total=total, unit=unit, item=item)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        seconds = round(time.monotonic() - self._begun, 3)
        if error is None:
            self._journal.emit(
                "step.finished",
                step=self._name,
                seconds=seconds,
                summary=self.summary,
                skipped=self.skipped,
            )
            return
        code = error.code if isinstance(error, AgentFailure) else "agent-crashed"
        self._journal.emit(
            "step.failed", step=self._name, seconds=seconds, code=code, what=str(error) or repr(error)
        )


class Work:
    """A function on a thread of its own; its end wakes the main thread."""

    def __init__(self, function: Callable[[], Any], wake: Wake) -> None:
        self._function = function
        self._wake = wake
        self.result: Any = None
        self.error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error
        finally:
            self._done.set()  # before the wake: who wakes must find it set
            self._wake.call()

    @property
    def busy(self) -> bool:
        """Whether it still works."""
        return not self._done.is_set()

    def join(self, seconds: float) -> None:
        """Wait for it at most that long."""
        self._done.wait(seconds)


class Preparation:
    """What has to be there before the script starts."""

    def __init__(
        self, request: dict[str, Any], *, run: RunFolder, home: Home, journal: Journal, stop: Stop, wake: Wake
    ) -> None:
        self._request = request
        self._run = run
        self._home = home
        self._journal = journal
        self._stop = stop
        self._wake = wake
        self._abandoned = False
        self._installing: Work | None = None
        self.env_key = ""
        self.engine = ""  # of the run's container, where it has an image
        self.inputs: dict[str, str] = {}  # variables that say where data and checkpoint are

    def step(self, name: str, title: str) -> Step:
        """A step of this run, to be used with ``with``."""
        return Step(self._journal, name, title)

    def run(self) -> tuple[str, dict[str, str]]:
        """Assemble the code, then see to the environment; the interpreter and the variables it wants set.

        One after the other: the code comes from this machine's own disk in no time, and installers read it. Data and
        a checkpoint out of a store come beside both. Returns early, with whatever there is, when the run is to be
        stopped.

        Raises:
            AgentFailure: what failed.
        """
        work = Work(self._prepare, self._wake)
        beside = Work(self._bring, self._wake) if _wants_inputs(self._request) else None
        failed: BaseException | None = None
        while work.busy or (beside is not None and beside.busy):
            self._wake.wait(SLICE)
            failed = failed or _error_of(work) or _error_of(beside)
            self._abandoned = failed is not None  # the other one is of no use any more
        if self._stop.asked:
            return "", {}
        failed = failed or _error_of(work) or _error_of(beside)
        if failed is not None:
            raise failed
        self.inputs = {} if beside is None else beside.result
        environment = work.result
        self.env_key = environment.key
        if self._request.get("deps") == "background":
            self._installing = Work(environment.wait, self._wake)
        return environment.python, environment.variables

    @property
    def busy(self) -> bool:
        """Whether an installation goes on beside the script."""
        return self._installing is not None and self._installing.busy

    def abandon(self) -> None:
        """End an installation that goes on beside the script, and wait until it has cleaned up."""
        self._abandoned = True
        if self._installing is not None:
            self._installing.join(ABANDON_WAIT)

    def _cancelled(self) -> bool:
        return self._stop.asked or self._abandoned

    def _bring(self) -> dict[str, str]:
        from runctl.agent import inputs  # noqa: PLC0415 - as environment

        found = inputs.Inputs(
            self._request, run=self._run, home=self._home, journal=self._journal, cancelled=self._cancelled
        )
        return found.bring()

    def _prepare(self) -> Any:
        if not self._assemble():
            return None
        if self._request.get("image"):
            from runctl.agent import image  # noqa: PLC0415 - as below

            with self.step("image", "image %s" % self._request["image"]) as step:
                self.engine = image.ensure(
                    self._request["image"], step=step, run=self._run, cancelled=self._cancelled
                )
        from runctl.agent import environment  # noqa: PLC0415 - most of the agent's code hangs on it

        return environment.ensure(
            self._request.get("environment"),
            home=self._home.path,
            code=self._run.code,
            journal=self._journal,
            cancelled=self._cancelled,
            mode=self._request.get("deps", "wait"),
            store=self._request.get("store"),
            cache=str(self._request.get("cache") or ""),
        )

    def _assemble(self) -> bool:
        entries = self._request["tree"]
        with self.step("code", "assemble the code") as step:
            whole = tree.assemble(
                entries,
                digest=self._request["tree_digest"],
                target=self._run.code,
                home=self._home,
                progress=step.progress,
                cancelled=self._cancelled,
            )
            step.summary = (
                "%d file%s" % (len(entries), "" if len(entries) == 1 else "s") if whole else "stopped"
            )
        return whole


def _error_of(work: Work | None) -> BaseException | None:
    return None if work is None else work.error


def _wants_inputs(request: dict[str, Any]) -> bool:
    return bool(request.get("data") or request.get("output")) or isinstance(request.get("resume_from"), dict)
