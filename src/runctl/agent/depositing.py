"""A keeper's duty: the environment its run was given goes to the store, once, while the script has the machine.

The run never waits for it. When the run has ended first, the machine is held a little longer for it, unless it has to go.
"""

from __future__ import annotations

import time

from runctl.agent import env_deposit, env_object
from runctl.agent.beginning import epoch
from runctl.agent.env_parts import Unpackable
from runctl.agent.env_recipe import Place
from runctl.agent.failure import AgentFailure
from runctl.agent.home import read_json
from runctl.s3.patience import Passing, Stopped

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import Home, RunFolder
    from runctl.agent.journal import Journal
    from runctl.agent.store import Store

LOOK = 0.5  # seconds between two looks for an environment that is complete
AFTERWARDS = 60.0  # seconds a machine is held for it after all else of the run is stored
TRIES = 3  # when the store does not answer


class Depositing:
    """One run's. ``over``: nothing of it is left to do. On one thread, but for ``step``'s workers."""

    def __init__(
        self,
        store: Store,
        *,
        run: RunFolder,
        home: Home,
        journal: Journal,
        progress: Callable[[int], Any],
        leaves: Callable[[], bool],
        ended: Callable[[], bool],
    ) -> None:
        """Make it; nothing is done yet.

        Args:
            store: where to.
            run: whose environment; only read.
            home: where environments are.
            journal: what is to be said.
            progress: is told of bytes that arrived.
            leaves: whether the machine or the run has to go at once.
            ended: whether the run is over as it truly is: a supervisor that was killed, or never was, writes no end.
        """
        self._store, self._run, self._home, self._journal = store, run, home, journal
        self._progress, self._leaves, self._ended = progress, leaves, ended
        self._tries = 0
        self._since = 0.0
        self.over = False

    def step(self) -> float:
        """One look; the seconds until the next, for a ``Duty``."""
        if self._leaves():
            return self._end()
        ended = self._ended()
        status = read_json(self._run.status) or {}
        place = Place(self._home.path, str(status["env_key"])) if status.get("env_key") else None
        record = read_json(place.marker) if place is not None else None
        if place is None or record is None:
            return self._end() if ended else LOOK
        try:
            self._deposit(place, record, status)
        except Passing:
            self._tries += 1
            if self._tries < TRIES:
                raise
            self._say("warning", "the environment is not stored: the store cannot be reached")
        except Unpackable as error:
            self._say("info", "the environment is not stored: %s" % error)
        except AgentFailure as error:
            again = "; `runctl aws setup` gives the right" if error.code == "store-denied" else ""
            why = error.facts.get("detail") or error.code
            self._say("warning", "the environment is not stored: %s%s" % (why, again))
        return self._end()

    def patient(self) -> bool:
        """Whether the machine should still be held for it, all else being done."""
        self._since = self._since or time.monotonic()
        return not self.over and not self._leaves() and time.monotonic() - self._since < AFTERWARDS

    def _deposit(self, place: Place, record: dict[str, Any], status: dict[str, Any]) -> None:
        if record.get("restored"):
            if record["created_at"] >= epoch(status["started_at"]):  # by this run, not by an earlier one
                seconds = float(record["restored"]["seconds"])
                env_object.add_time(self._store, place.key, "restore", seconds)
            return
        if not record.get("request"):
            return  # built by a version that stored none
        done = env_deposit.deposit(
            place, self._store, home=self._home.path, told=self._progress, stopped=self._check
        )
        if done is not None:
            text = "environment stored for the next machine: %.1f MB of %.1f MB in %.1f s" % (
                done["packed"] / 1e6,
                done["bytes"] / 1e6,
                done["seconds"],
            )
            self._say("info", text)

    def _check(self) -> None:
        if self._leaves():
            raise Stopped

    def _say(self, level: str, text: str) -> None:
        self._journal.emit("notice", level=level, text=text)

    def _end(self) -> float:
        self.over = True
        return -1.0
