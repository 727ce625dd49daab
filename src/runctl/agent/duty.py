"""A piece of work that is done again and again on a thread of its own, whatever goes wrong in between."""

from __future__ import annotations

import os
import random
import threading
import time
import traceback

from runctl.agent.failure import AgentFailure
from runctl.s3.patience import Stopped

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST, LONGEST = 0.5, 10.0  # seconds between two tries of what failed


class Duty:
    """Calls ``step``, waits as many seconds as it returns, and again, until it returns a negative number."""

    def __init__(self, name: str, step: Callable[[], float]) -> None:
        self.name = name
        self._step = step
        self._ring = threading.Event()
        self._failures = 0
        self.trouble = ""  # why it fails now; empty while it does not
        self.since = 0.0  # when that began, on the monotonic clock
        self.over = False

    def start(self) -> None:
        """Begin. The thread ends with the process."""
        threading.Thread(target=self._work, name=self.name, daemon=True).start()

    def hurry(self) -> None:
        """Do not wait out a pause."""
        self._ring.set()

    def _work(self) -> None:
        while not self.over:
            pause = self._once()
            if pause < 0:
                self.over = True
            elif pause:
                self._ring.wait(pause)
            self._ring.clear()

    def _once(self) -> float:
        try:
            pause = self._step()
        except Stopped:
            return -1.0
        except AgentFailure as failure:
            return self._failed("%s: %s" % (failure.code, failure.facts.get("detail", failure.facts)))
        except Exception as error:
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
            return self._failed("%s: %s" % (type(error).__name__, error))
        self._failures, self.trouble = 0, ""
        return pause

    def _failed(self, why: str) -> float:
        if not self.trouble:
            self.since = time.monotonic()
        self.trouble = why
        self._failures += 1
        return random.uniform(SHORTEST, min(LONGEST, SHORTEST * 2.0 ** min(self._failures, 8)))
