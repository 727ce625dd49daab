"""Brings a run that is described in the store onto this machine: waits for its request, fetches its code, launches it."""

from __future__ import annotations

import json
import time
import traceback

from runctl.agent import wire
from runctl.agent.failure import AgentFailure, disk_failure
from runctl.agent.prepare import Step
from runctl.agent.store import open_store
from runctl.s3.patience import Passing, Patience, Stopped

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import Home
    from runctl.agent.journal import Journal
    from runctl.agent.launcher import Launcher

FIRST_LOOK, SLOWEST_LOOK = 0.1, 1.0  # seconds between two looks for something that is to come
CODE_SECONDS = 120.0  # how long the code may be missing after somebody last said that it is on its way


class Boot:
    """One run's way onto the machine. Repeating it is safe: what arrived is there, what was launched is not again."""

    def __init__(
        self,
        request: dict[str, Any],
        *,
        home: Home,
        journal: Journal,
        launcher: Launcher,
        stopped: Callable[[], bool],
    ) -> None:
        """``stopped``: whether the run is not wanted any more."""
        self._asked = request
        self._store = open_store(request["store"], patience=Patience(stopped=stopped))
        self._home, self._journal, self._launcher = home, journal, launcher
        self._prefix = "runs/%s/" % request["run"]
        self._word = b""
        self._word_at = time.monotonic()
        self._called = False
        self.failure = AgentFailure("agent-crashed", detail="the launch ended without a word")

    def called(self) -> bool:
        """Whether something moved since the last time this was asked: code arrives, or somebody says that it will."""
        called, self._called = self._called, False
        return called

    def work(self) -> float:
        """All of it, for a ``Duty``: -1 at the end. ``failure`` says what went wrong when there is no run then.

        Raises:
            Stopped: the run is not wanted any more.
        """
        try:
            self._bring()
        except Stopped:
            raise
        except AgentFailure as error:
            self.failure = error
        except Exception as error:
            detail = "%s: %s" % (type(error).__name__, error)
            crash = AgentFailure("agent-crashed", detail=detail, traceback=traceback.format_exc())
            self.failure = disk_failure(error, self._home.path) or crash
        return -1.0

    def _bring(self) -> None:
        with Step(self._journal, "request", "wait for the run's description"):
            request = self._request()
        request["cache"] = self._cache() if request.get("cache_volume") else ""
        with Step(self._journal, "fetch", "fetch the code from the store") as step:
            request["tree"] = self._code(request, step)
        self._launcher.launch(request)

    def _request(self) -> dict[str, Any]:
        key = "%s%d/request.json" % (self._prefix, self._asked["attempt"])
        data = self._awaited(key)
        try:
            wanted: dict[str, Any] = dict(
                json.loads(data), attempt=self._asked["attempt"], store=self._asked["store"]
            )
        except (ValueError, TypeError) as error:
            raise AgentFailure("agent-request", detail="%s: %s" % (key, error)) from error
        if wanted.get("run") != self._asked["run"]:
            raise AgentFailure("agent-request", detail="%s is of the run %r" % (key, wanted.get("run")))
        wire.field(wanted, "env", dict)
        wire.field(wanted, "tree_digest", str)
        secret = set(wanted.get("secret_env") or ())
        wanted["env"] = {name: value for name, value in wanted["env"].items() if name not in secret}
        return wanted

    def _awaited(self, key: str) -> bytes:
        """The object once it is there; only the machine's own deadline ends the wait."""
        pause = FIRST_LOOK
        while True:
            try:
                return self._store.get(key)
            except AgentFailure as error:
                if error.code != "store-missing" and not isinstance(error, Passing):
                    raise
            self._listen()
            self._store.patience.rest(pause)
            pause = min(pause * 1.5, SLOWEST_LOOK)

    def _cache(self) -> str:
        """The folder of the cache volume; empty when the run goes on without one."""
        from runctl.agent import cache_volume  # noqa: PLC0415 - few runs have one

        found = cache_volume.CacheVolume(self._home, self._home.run(self._asked["run"]), self._journal)
        return found.bring(self._store, "%s%d/cache.json" % (self._prefix, self._asked["attempt"]))

    def _code(self, request: dict[str, Any], step: Step) -> list[dict[str, Any]]:
        """The tree's entries, once all of its contents are here; the tree is written last, so it may be on its way."""
        from runctl.agent import fetch  # noqa: PLC0415 - compiled when there is something to fetch

        def progress(done: int, total: int) -> None:
            self._called = True
            step.progress(done, total, unit="bytes")

        pause = FIRST_LOOK
        self._word_at = time.monotonic()
        while True:
            try:
                found = fetch.fetch(
                    request["tree_digest"],
                    self._store,
                    home=self._home,
                    progress=progress,
                    cache=request["cache"],
                )
            except AgentFailure as error:
                late = time.monotonic() - self._word_at > CODE_SECONDS
                if error.code != "store-missing" or late:
                    raise
            else:
                step.summary = "%d file%s, %d new%s" % (
                    len(found.entries),
                    "" if len(found.entries) == 1 else "s",
                    found.files,
                    ", %d from the cache volume" % found.kept if found.kept else "",
                )
                return found.entries
            self._listen()
            self._store.patience.rest(pause)
            pause = min(pause * 1.5, SLOWEST_LOOK)

    def _listen(self) -> None:
        """Whoever sends the code says so by writing ``lease.json`` anew."""
        try:
            data = self._store.get(self._prefix + "lease.json")
        except AgentFailure:
            return
        if data != self._word:
            self._word, self._word_at, self._called = data, time.monotonic(), True
