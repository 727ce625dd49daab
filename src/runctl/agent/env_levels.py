"""The store as a source of environments, told: what is asked, what comes, and why it is built after all."""

from __future__ import annotations

import os

from runctl.agent.env_restore import Restore, Unrestorable
from runctl.agent.env_story import STEP, process_start
from runctl.agent.failure import AgentFailure
from runctl.agent.home import write_json
from runctl.agent.store import open_store
from runctl.s3.patience import Patience, Stopped

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runctl.agent.env_recipe import Recipe
    from runctl.agent.journal import Teller

ATTEMPTS, SECONDS = (
    3,
    20.0,
)  # of asking the store for one object: an index may be quicker than a store that is away


class FromStore:
    """One try to restore an environment, under its lock. ``more`` is what a build after it writes into its marker."""

    def __init__(
        self,
        recipe: Recipe,
        access: Mapping[str, Any],
        *,
        journal: Teller,
        cancelled: Callable[[], bool],
    ) -> None:
        self._recipe, self._journal, self._cancelled = recipe, journal, cancelled
        self._store = open_store(access, patience=Patience(ATTEMPTS, SECONDS, stopped=cancelled))
        self._restore = Restore(recipe, self._store, told=self._told, cancelled=cancelled)
        self.more: dict[str, Any] = {}
        self.summary = ""

    def bring(self) -> bool:
        """Whether it is there now, complete; otherwise nothing of it is.

        Raises:
            AgentFailure: ``cancelled``, ``disk-full``.
        """
        try:
            return self._bring()
        except Unrestorable as error:
            if error.damaged:
                self.more = {"replaces": self._restore.manifest_digest}
            self._say("the environment in the store is not used: %s; building it" % error)
        except Stopped as error:
            raise AgentFailure("cancelled", step=STEP) from error
        except AgentFailure as error:
            if error.code in ("cancelled", "disk-full"):
                raise
            detail = error.facts.get("detail") or error.code
            self._say("the environment cannot be taken from the store: %s; building it" % detail)
        finally:
            self._store.close()
            try:
                os.unlink(self._recipe.place.state)
            except OSError:
                pass  # nothing was restored, or the disk is full
        return False

    def _bring(self) -> bool:
        if not self._restore.find():
            return False
        self._restore.check_worth()
        self._told(0, self._restore.manifest["packed"])
        self._restore.work()
        known, seconds = self._restore.manifest, self._restore.seconds
        self.summary = "restored from the store: %d package%s, %s at %s/s, Python %s" % (
            known["packages"],
            "" if known["packages"] == 1 else "s",
            _size(known["bytes"]),
            _size(known["bytes"] / max(seconds, 0.001)),
            known["python"],
        )
        return True

    def _told(self, done: int, total: int) -> None:
        """Progress, for the client and for whoever waits for the lock."""
        event = {"done": done, "total": total, "unit": "bytes", "item": "restoring"}
        self._journal.emit("step.progress", step=STEP, **event)
        me = os.getpid()
        state = {"state": "restoring", "builder": [me, process_start(me)], "reason": "", "progress": event}
        try:
            write_json(self._recipe.place.state, state)
        except OSError:
            pass  # a full disk fails the restore itself, with its own words

    def _say(self, text: str) -> None:
        self._journal.emit("notice", level="warning", text=text)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return "%.3g %s" % (count, unit)
        count /= 1000
    return "%.1f GB" % count
