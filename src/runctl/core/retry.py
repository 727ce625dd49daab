"""When to try again: a pure decision. Whoever calls a service says what the failure was, and does the waiting.

Full jitter, as in the retry mode "standard" of the AWS SDKs: the delay is drawn between nothing and a ceiling that
doubles with each failure, so that many clients do not come back at the same moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CAP_SECONDS = 20.0  # no single delay is longer; the SDKs' own cap


class Failure(StrEnum):
    """What a failed call says about the next one."""

    TRANSIENT = "transient"  # the same call may succeed: a broken connection, a 5xx
    THROTTLED = "throttled"  # the service is there and asks for patience
    PERMANENT = "permanent"  # somebody has to act first


_FIRST_CEILING = {Failure.TRANSIENT: 0.2, Failure.THROTTLED: 1.0}  # seconds


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be with one call.

    ``attempts`` bounds how often a broken call is made; ``deadline_seconds`` bounds all of it from the first attempt,
    and is the only bound for throttling: a service that asks for patience has not failed.
    """

    attempts: int = 6
    deadline_seconds: float = 120.0

    def delay(self, failure: Failure, *, failures: int, elapsed: float, draw: float) -> float | None:
        """Seconds to wait before the next attempt; None to give up. Pure.

        Args:
            failure: what the last attempt said.
            failures: how many attempts have failed in this way, the last one included.
            elapsed: seconds since the first attempt began.
            draw: a number from 0 up to but not including 1.
        """
        if failure is Failure.PERMANENT or elapsed >= self.deadline_seconds:
            return None
        if failure is Failure.TRANSIENT and failures >= self.attempts:
            return None
        ceiling = min(CAP_SECONDS, _FIRST_CEILING[failure] * 2.0 ** min(failures - 1, 16))
        return min(draw * ceiling, self.deadline_seconds - elapsed)
