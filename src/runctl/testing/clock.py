"""A clock that moves only when told to, or when somebody sleeps on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runctl.core.cancel import CancelToken


class FakeClock:
    """Starts at a fixed moment; ``sleep`` returns at once and moves it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._passed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """The wall time."""
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    def sleep(self, seconds: float, cancel: CancelToken) -> None:
        """Let time pass at once; raises ``Cancelled`` when the token is set."""
        cancel.check()
        self.slept.append(seconds)
        self._passed += seconds
