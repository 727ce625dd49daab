"""What EC2 tells an instance about its end: the spot interruption notice, and the recommendation before it."""

from __future__ import annotations

import calendar
import json
import time

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from runctl.agent.metadata import Metadata

INTERRUPTION = "meta-data/spot/instance-action"
REBALANCE = "meta-data/events/recommendations/rebalance"


LONGEST = 120.0  # seconds before the end that AWS gives notice
LATE = 5.0  # seconds after which we know of it at the latest
RESERVE, SHARE = (
    30.0,
    3.0,
)  # of the time that is left, to store the last checkpoint: seconds, but one part in three


def grace(at: float, now: float) -> float:
    """How long the script may take to leave: the time that is left, but for what storing its checkpoint takes. Pure.

    A notice is of the next two minutes and was seen a moment after it came; a clock that says otherwise is wrong.
    """
    left = at - now
    if not 0 < left <= LONGEST:
        left = LONGEST - LATE
    return left - min(RESERVE, left / SHARE)


class Interruption:
    """The instance will be taken back: ``action`` (terminate, stop, hibernate) at ``at``, seconds since the epoch."""

    def __init__(self, action: str, at: float) -> None:
        self.action = action
        self.at = at


def interruption(metadata: Metadata) -> Interruption | None:
    """The notice, once there is one (two minutes before on AWS). Raises ``AgentFailure`` off EC2."""
    text = metadata.get(INTERRUPTION)
    if not text:
        return None
    try:
        told = json.loads(text)
        return Interruption(str(told["action"]), _epoch(told["time"]))
    except (ValueError, KeyError, TypeError):
        return Interruption("terminate", time.time() + LONGEST)


def rebalance(metadata: Metadata) -> bool:
    """Whether EC2 recommends to move elsewhere: the risk of an interruption is higher than usual."""
    return bool(metadata.get(REBALANCE))


def _epoch(stamp: str) -> float:
    return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
