"""Time as an argument: engine code never reads a clock or sleeps by itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from runctl.core.cancel import CancelToken


class Clock(Protocol):
    """Wall time for records, monotonic time for durations, and a sleep that a cancel ends."""

    def now(self) -> datetime:
        """The wall time, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    def sleep(self, seconds: float, cancel: CancelToken) -> None:
        """Wait ``seconds``; raises ``Cancelled`` at once when the token is cancelled."""


class SystemClock:
    """The real clock."""

    def now(self) -> datetime:
        """The wall time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float, cancel: CancelToken) -> None:
        """Wait ``seconds``; raises ``Cancelled`` at once when the token is cancelled."""
        if cancel.wait(seconds):
            cancel.check()
