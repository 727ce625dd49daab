"""What is known of the steps, from their events: how far, how fast, how long still, how long silent. No output.

Time is the view's monotonic clock, handed in with each event.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runctl.core import events

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET = 15.0  # seconds without an event after which a step is said to be still working
WINDOW = 8.0  # seconds of progress a rate is taken from: long enough to be calm, short enough to be current
SPACING = 0.25  # seconds between two kept samples
SETTLED = 3.0  # seconds of history before an estimate is honest, and without news before it no longer is
STEADY = 1.6  # how much faster one half of the window may be than the other in a steady rate


@dataclass
class Step:
    """One step as far as it is known. ``state``: running, done, warned, skipped, failed."""

    name: str
    title: str
    where: str
    started: float
    state: str = "running"
    done: int = 0
    total: int | None = None
    unit: str = ""  # empty until there was progress
    item: str = ""
    heard: float = 0.0  # when the last event came
    seconds: float = 0.0  # as the event said, once it has ended
    summary: str = ""  # of a failed step: what failed
    over: float = 0.0  # when it ended, seconds since the epoch by the clock of where it ran
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def progress(self, event: events.StepProgress, now: float) -> None:
        """Take in how far it is. Progress may go back (a retry, another phase); the rate then starts anew."""
        if event.done < self.done or event.unit != self.unit:
            self.samples.clear()
        self.done, self.total, self.unit = event.done, event.total, event.unit
        self.item = event.item or self.item
        self.heard = now
        # The newest sample may move; the ones before it stay at their spacing.
        if len(self.samples) > 1 and self.samples[-1][0] - self.samples[-2][0] < SPACING:
            self.samples.pop()
        self.samples.append((now, event.done))
        while len(self.samples) > 2 and now - self.samples[1][0] > WINDOW:
            self.samples.popleft()

    def rate(self, now: float) -> float:
        """Units a second over the window, counting the time since the last news; 0 when it is too early to say."""
        if len(self.samples) < 2:
            return 0.0
        (first, before), (_, after) = self.samples[0], self.samples[-1]
        span = now - first
        return (after - before) / span if span >= 1 else 0.0

    def remaining(self, now: float) -> float | None:
        """Seconds left, or None unless the total is known and the rate has been steady for a while."""
        if self.total is None or not 0 < self.done < self.total or len(self.samples) < 4:
            return None
        first, last = self.samples[0][0], self.samples[-1][0]
        if last - first < SETTLED or now - last > SETTLED:
            return None
        middle = min(self.samples, key=lambda sample: abs(sample[0] - (first + last) / 2))
        slower, faster = sorted((_speed(self.samples[0], middle), _speed(middle, self.samples[-1])))
        if slower <= 0 or faster > slower * STEADY:
            return None
        return (self.total - self.done) / self.rate(now)

    def silent(self, now: float) -> float:
        """Seconds since anything was heard of it."""
        return now - self.heard

    def end(self, state: str, seconds: float, summary: str, now: float) -> None:
        """It ended; what it said last makes room for the summary."""
        self.state, self.seconds, self.summary, self.heard = state, seconds, summary, now
        self.samples.clear()


def _speed(one: tuple[float, int], other: tuple[float, int]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0]) if other[0] > one[0] else 0.0


class Steps:
    """All steps of a run, in the order they began."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps.values())

    def __len__(self) -> int:
        return len(self._steps)

    def running(self) -> list[Step]:
        """The steps that have not ended."""
        return [step for step in self if step.state == "running"]

    def apply(self, event: events.Event, now: float, at: float = 0.0) -> Step | None:
        """Take in an event; the step it is about, or None when it is about none.

        ``at`` is when it happened, seconds since the epoch, by the clock of where it happened.

        Events of a step whose start was not seen (a client that attached late) begin it. A step that starts again
        (a retry) keeps its place.
        """
        match event:
            case events.StepStarted(step=name, title=title, where=where):
                step = Step(name, title, where, now, heard=now)
                self._steps[name] = step
                return step
            case events.StepProgress():
                step = self._named(event.step, now)
                step.progress(event, now)
                return step
            case events.StepFinished(step=name):
                step = self._named(name, now)
                state = "skipped" if event.skipped else "warned" if event.warned else "done"
                step.end(state, event.seconds, event.summary, now)
                step.over = at
                return step
            case events.StepFailed(step=name):
                step = self._named(name, now)
                step.end("failed", event.seconds, event.what, now)
                step.over = at
                return step
        return None

    def _named(self, name: str, now: float) -> Step:
        return self._steps.setdefault(name, Step(name, name, "machine", now, heard=now))
