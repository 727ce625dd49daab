"""The environment of a run: named by its key, shared by all runs that need the same, complete or not used at all.

``envs/<key>/`` is complete when it holds ``.runctl.json``, which is written last. Whoever builds holds an exclusive lock
on ``envs/<key>.lock``, and so does the installer it started; what a killed build left is removed and built anew. A
second run that needs the same environment waits for the first and says so.
"""

from __future__ import annotations

import os
import threading
import time

from runctl.agent import env_recipe, pythons
from runctl.agent.failure import AgentFailure, disk_failure
from runctl.agent.home import make_folder, read_json, remove_tree

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runctl.agent.env_recipe import Recipe
    from runctl.agent.journal import Teller

STEP = "environment"
SLICE = 0.1  # seconds between two looks at a lock or a cancel
STALL_AFTER = 60.0  # seconds without any move of the installer before a notice says so


class Environment:
    """What a script runs in. ``python`` and ``variables`` may be used at once; ``wait`` tells when it is complete.

    ``key`` is empty when there is none (no dependencies, or ``--deps skip``); then ``python`` is the machine's own.
    """

    def __init__(self, python: str, key: str, variables: dict[str, str]) -> None:
        self.python = python
        self.key = key
        self.variables = variables
        self._done = threading.Event()
        self._failure: BaseException | None = None

    def wait(self) -> None:
        """Block until complete; raises what the installation raised (``AgentFailure``; ``cancelled`` when cancelled)."""
        while not self._done.wait(SLICE):
            pass
        if self._failure is not None:
            raise self._failure

    @property
    def complete(self) -> bool:
        """Whether the installation has ended, well or not; ``wait`` then answers at once."""
        return self._done.is_set()

    def end(self, failure: BaseException | None = None) -> None:
        """The installation has ended."""
        self._failure = failure
        self._done.set()


def describe(request: dict[str, Any] | None, *, home: str) -> dict[str, Any] | None:
    """What ``ensure`` would do, for a plan; read-only, starts at most interpreters to ask their version.

    ``argv`` holds the commands, empty when it is cached; the code folder shows as ``CODE``, not known yet.
    """
    if request is None:
        return None
    recipe = env_recipe.Recipe(request, home=home)
    cached = is_complete(recipe.place)
    return {
        "key": recipe.place.key,
        "cached": cached,
        "installer": recipe.installer,
        "python": recipe.interpreter.text,
        "interpreter": recipe.place.python,
        "argv": [] if cached else recipe.commands("CODE"),
    }


def ensure(
    request: dict[str, Any] | None,
    *,
    home: str,
    code: str,
    journal: Teller,
    cancelled: Callable[[], bool],
    mode: str = "wait",
    stall_after: float = STALL_AFTER,
    retry_after: tuple[float, ...] | None = None,
    store: Mapping[str, Any] | None = None,
    cache: str = "",
) -> Environment:
    """The environment ``request`` asks for: the one that is there, else the store's, else built.

    Emits the events of step ``environment``. One from the store is complete when this returns, in every mode.

    Args:
        request: an EnvRequest; None, or mode ``skip``: the machine's own Python, nothing is installed, no event.
        home: $RUNCTL_HOME.
        code: the assembled project; only read.
        journal: receives the events.
        cancelled: asked at least five times a second; true ends the installer's process group.
        mode: ``wait``: complete when this returns. ``background``: returns with a bare environment whose imports
            wait; ``Environment.wait`` ends with the installation (on a thread of this process).
        stall_after: seconds of an installer's silence before a notice.
        retry_after: seconds before each further attempt after a failure of the network.
        store: a ``StoreAccess`` that may hold it.
        cache: a folder for the installers' caches; empty: where they have them.

    Raises AgentFailure: ``cancelled``, or why it cannot be built. Safe to repeat, in any number of processes.
    """
    if request is None or mode == "skip":
        bare = Environment(pythons.machine_python(), "", {})
        bare.end()
        return bare
    work = _Work(
        home,
        code,
        journal,
        cancelled,
        stall_after=stall_after,
        retry_after=retry_after,
        store=store,
        cache=cache,
    )
    return work.ensure(request, background=mode == "background")


def is_complete(place: env_recipe.Place) -> bool:
    """Whether the environment may be used: marked, and the Python it was made from is still there."""
    found = read_json(place.marker)
    return found is not None and found.get("key") == place.key and os.path.exists(place.python)


def _used(place: env_recipe.Place) -> None:
    """Note that it was of use now, for who removes what nobody uses."""
    try:
        os.utime(place.marker)
    except OSError:
        pass  # somebody else's, or removed a moment ago: then the script's start says so


class _Work:
    """One call of ``ensure``: its step of the journal, its lock, its builder."""

    def __init__(
        self,
        home: str,
        code: str,
        journal: Teller,
        cancelled: Callable[[], bool],
        *,
        stall_after: float,
        retry_after: tuple[float, ...] | None,
        store: Mapping[str, Any] | None,
        cache: str,
    ) -> None:
        self._home = os.path.abspath(home)
        self._code = os.path.abspath(code)
        self._journal = journal
        self._cancelled = cancelled
        self._stall_after = stall_after
        self._retry_after = retry_after
        self._store, self._cache = store, cache
        self._began = time.monotonic()

    def ensure(self, request: dict[str, Any], *, background: bool) -> Environment:
        self._journal.emit("step.started", step=STEP, title="environment", where="machine")
        lock = -1
        try:
            recipe = env_recipe.Recipe(request, home=self._home)
            environment = Environment(recipe.place.python, recipe.place.key, self._variables(recipe))
            if not is_complete(recipe.place):
                make_folder(recipe.place.envs)
                lock = self._take(recipe)
            if is_complete(recipe.place):
                _used(recipe.place)
                self._release(lock)
                self._finished("cached: Python %s" % recipe.interpreter.text, skipped=True)
                environment.end()
                return environment
            more = self._restored(recipe, lock, environment)
            if not environment.complete:
                self._build(recipe, lock, environment, background=background, more=more)
        except BaseException as error:
            if lock >= 0:
                self._release(lock)
            raise self._failed(error) from None
        return environment

    def _restored(self, recipe: Recipe, lock: int, environment: Environment) -> dict[str, Any]:
        """Take it from the store if that works: the environment is complete then. Else what a build has to note."""
        if self._store is None:
            return {}
        from runctl.agent import env_levels  # noqa: PLC0415 - a cached environment does not need them

        source = env_levels.FromStore(recipe, self._store, journal=self._journal, cancelled=self._cancelled)
        if source.bring():
            self._release(lock)
            self._finished(source.summary)
            environment.end()
        return source.more

    def _build(
        self,
        recipe: Recipe,
        lock: int,
        environment: Environment,
        *,
        background: bool,
        more: Mapping[str, Any],
    ) -> None:
        from runctl.agent import env_build, env_story  # noqa: PLC0415 - a cached environment does not need them

        story = env_story.Story(recipe.place, self._journal, stall_after=self._stall_after)
        builder = env_build.Builder(
            recipe,
            code=self._code,
            story=story,
            lock=lock,
            cancelled=self._cancelled,
            retry_after=env_build.RETRY_AFTER if self._retry_after is None else self._retry_after,
            more=more,
            cache=self._cache,
        )
        try:
            builder.bare()
            if background:
                builder.gate()
                run = threading.Thread(
                    target=self._install, args=(builder, lock, environment), name=STEP, daemon=True
                )
                run.start()
                return
            builder.install()
        except BaseException as error:
            story.flush()
            story.close()
            if not (isinstance(error, AgentFailure) and error.code == "cancelled"):
                remove_tree(
                    recipe.place.folder
                )  # a cancel must be quick; the next build removes what it left
            raise
        story.close()
        self._release(lock)
        self._finished(self._summary(builder))
        environment.end()

    def _install(self, builder: Any, lock: int, environment: Environment) -> None:
        """The rest of a build, on a thread, while the script runs."""
        failure = None
        try:
            builder.install()
        except BaseException as error:
            failure = self._failed(error)
            builder.fail(failure)
        builder.story.flush()
        builder.story.close()
        self._release(lock)
        if failure is None:
            self._finished(self._summary(builder))
        environment.end(failure)

    def _take(self, recipe: Recipe) -> int:
        """The environment's lock; while another run holds it, its progress is this run's progress."""
        import fcntl  # noqa: PLC0415 - a cached environment does not need it

        lock = os.open(recipe.place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        said: Any = None
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # held: see below
            else:
                return lock
            if self._cancelled():
                os.close(lock)
                raise AgentFailure("cancelled", step=STEP)
            state = read_json(recipe.place.state) or {}
            if said is None:
                text = "another run is installing this environment; waiting for it"
                self._journal.emit("notice", level="info", text=text)
                said = {}
            _end_orphan(state)
            if state.get("progress") not in (None, said):
                said = state["progress"]
                self._journal.emit("step.progress", step=STEP, **said)
            time.sleep(SLICE)

    @staticmethod
    def _release(lock: int) -> None:
        if lock >= 0:
            os.close(lock)

    @staticmethod
    def _summary(builder: Any) -> str:
        count = builder.story.progress.installed
        reused = max(count - builder.story.progress.fetched, 0) if builder.cached else 0
        return "%d package%s%s, Python %s" % (
            count,
            "" if count == 1 else "s",
            ", %d of them from the cache volume" % reused if reused else "",
            builder.recipe.interpreter.text,
        )

    def _finished(self, summary: str, *, skipped: bool = False) -> None:
        seconds = time.monotonic() - self._began
        self._journal.emit("step.finished", step=STEP, seconds=seconds, summary=summary, skipped=skipped)

    def _failed(self, error: BaseException) -> BaseException:
        """Tell the failure as the step's end; an operating system error about the disk becomes a known one."""
        known = error if isinstance(error, AgentFailure) else disk_failure(error, self._home)
        seconds = time.monotonic() - self._began
        code = known.code if known is not None else "agent-crashed"
        what = str(known.facts.get("reason", code)) if known is not None else repr(error)
        self._journal.emit("step.failed", step=STEP, seconds=seconds, code=code, what=what)
        return error if known is None else known

    def _variables(self, recipe: Recipe) -> dict[str, str]:
        """PATH and friends for the script; the project's own packages come from its code, not from the environment."""
        place = recipe.place
        path = os.pathsep.join(
            part for part in (os.path.join(place.folder, "bin"), os.environ.get("PATH")) if part
        )
        out = {"VIRTUAL_ENV": place.folder, "PATH": path}
        sources = [
            os.path.normpath(os.path.join(self._code, item))
            for item in recipe.request.get("source_paths") or ()
        ]
        sources += [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and sources]
        if sources:
            out["PYTHONPATH"] = os.pathsep.join(sources)
        return out


def _end_orphan(state: dict[str, Any]) -> None:
    """End an installer whose builder was killed: it holds the lock and nobody would ever mark its work complete."""
    from runctl.agent.env_story import process_start  # noqa: PLC0415 - only while waiting

    builder, installer = state.get("builder"), state.get("installer")
    if not builder or not installer or process_start(builder[0]) == builder[1]:
        return
    if installer[1] is None or process_start(installer[0]) != installer[1]:
        return
    from runctl.agent.install_process import end_group  # noqa: PLC0415

    end_group(installer[0], lambda: process_start(installer[0]) != installer[1])
