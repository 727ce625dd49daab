"""The same facts as lines, for pipes, CI and terminals that cannot move their cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core import events
from runctl.views.spoken import Spoken
from runctl.views.streams import Ticker
from runctl.views.talk import quiet_line, step_line

if TYPE_CHECKING:
    from runctl.views.progress import Step

EVERY = 10.0  # seconds between two lines on the progress of one step
AT_ONCE = 1.0  # seconds; of a step that is over sooner, its end is all there is to say


class Plain(Spoken):
    """Lines on stderr; the script's bytes on stdout. Arguments as ``Spoken``.

    Call ``start`` for the "still working" lines to come by themselves; ``beat`` makes those that are due.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._told: dict[str, float] = {}  # when a step was last spoken of
        self._unsaid: dict[str, Step] = {}  # steps whose start has not been said yet
        self._ticker = Ticker(1.0, self.beat)

    def start(self) -> Plain:
        """Begin to watch for silence."""
        self._ticker.start()
        return self

    def beat(self) -> None:
        """Say which steps are still working, and let out lines that waited for the script's output."""
        with self._lock:
            now = self._clock()
            for step in [step for step in self._unsaid.values() if now - step.started >= AT_ONCE]:
                self._say(step, now)
            for step in self._steps.running():
                if min(step.silent(now), now - self._told.get(step.name, step.started)) >= self._quiet_after:
                    self._told[step.name] = now
                    self._line(quiet_line(step, now=now))
        self._streams.tick()

    def close(self) -> None:
        """Stop watching and say how it ended. Safe to repeat."""
        self._ticker.stop()
        super().close()

    def _step(self, step: Step, event: events.Event) -> None:
        now = self._clock()
        if isinstance(event, events.StepStarted) and not self._verbose:
            self._unsaid[step.name] = step
            return
        lately = now - self._told.get(step.name, step.started) < EVERY
        if lately and isinstance(event, events.StepProgress):
            return
        self._say(step, now)

    def _say(self, step: Step, now: float) -> None:
        self._unsaid.pop(step.name, None)
        self._told[step.name] = now
        self._line(step_line(step, now=now, style=self._style))
