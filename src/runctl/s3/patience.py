"""Trying again what may go better next time: how often, for how long, how far apart."""

from __future__ import annotations

import random
import time

from runctl.s3.failure import KnownFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Result = TypeVar("Result")

FIRST, LONGEST = 0.2, 8.0  # seconds: the most the first pause takes, and any later one
SLICE = 0.2  # seconds between two looks at whether somebody wants us to stop


class Passing(KnownFailure):
    """A failure that may be gone when the same is tried again: a cut, a throttle, a server's bad moment."""


class Stopped(Exception):
    """Somebody wants what is going on to end: no failure, and nothing to report."""


class Patience:
    """How long to go on: so many attempts, and no new one when the time is over. Full jitter between them."""

    def __init__(
        self, attempts: int = 6, seconds: float = 120.0, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """``stopped`` is asked again and again; once it is true ``Stopped`` is raised."""
        self._attempts = attempts
        self._seconds = seconds
        self._stopped = stopped

    def check(self) -> None:
        """Raise ``Stopped`` when somebody wants us to."""
        if self._stopped():
            raise Stopped

    def persist(self, action: Callable[[], Result], progress: Callable[[], int] = lambda: 0) -> Result:
        """What ``action`` returns, tried again while it raises ``Passing``.

        Args:
            action: safe to repeat.
            progress: a number that grows as ``action`` gets on; a failure after some progress is a first failure.

        Raises:
            KnownFailure: the last failure, when patience is at its end, or one that is not passing.
            Stopped: we were told to.
        """
        reached, tried, limit = progress(), 0, time.monotonic() + self._seconds
        while True:
            self.check()
            try:
                return action()
            except Passing:
                if progress() != reached:
                    reached, tried, limit = progress(), 0, time.monotonic() + self._seconds
                tried += 1
                pause = random.random() * min(LONGEST, FIRST * 2.0**tried)
                if tried >= self._attempts or time.monotonic() + pause > limit:
                    raise
                self.rest(pause)

    def rest(self, seconds: float) -> None:
        """Wait that long. Raises ``Stopped``."""
        until = time.monotonic() + seconds
        self.check()
        while time.monotonic() < until:
            time.sleep(max(0.0, min(until - time.monotonic(), SLICE)))
            self.check()
