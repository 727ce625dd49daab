"""What the views that speak to people share: their lines, errors shown once, and the closing block at the end."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from runctl.core import events
from runctl.views import text
from runctl.views.base import name_in
from runctl.views.errors import block, in_words
from runctl.views.progress import QUIET, Step, Steps
from runctl.views.summary import closing
from runctl.views.talk import remark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runctl.core.errors import RunctlError
    from runctl.views.streams import Streams
    from runctl.views.style import Style


class Spoken(ABC):
    """Base of the terminal and the plain view; they decide how a step looks.

    Args:
        streams: where bytes and lines go.
        style: colour and signs on stderr.
        columns: how wide lines may be now.
        verbose: whether commands and intermediate results are shown.
        debug: whether tracebacks are shown, and lines carry the seconds since the start.
        quiet_after: seconds without news of a step before "still working".
        clock: monotonic seconds.
        now: seconds since the epoch, for events that carry their own time.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        style: Style,
        columns: Callable[[], int],
        verbose: bool = False,
        debug: bool = False,
        quiet_after: float = QUIET,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.run = ""
        self._streams = streams
        self._style = style
        self._columns = columns
        self._verbose = verbose or debug
        self._debug = debug
        self._quiet_after = quiet_after
        self._clock = clock
        self._now = now
        self._begun = clock()
        # Re-entrant: a signal handler may speak while its own thread is inside. Never held while writing output,
        # so a reader of stdout that stands still does not stop the rest.
        self._lock = threading.RLock()
        self._steps = Steps()
        self._checkpoints: list[events.CheckpointSeen] = []
        self._ended: events.RunEnded | None = None
        self._cost: events.RunCost | None = None
        self._shown: set[tuple[str, str]] = set()

    def emit(self, event: events.Event) -> None:
        """Show one event. Raises ``BrokenPipeError`` when nobody reads stdout any more."""
        if isinstance(event, events.Output):
            self._output(event)
            return
        with self._lock:
            self._take(event)

    def _take(self, event: events.Event) -> None:
        match event:
            case events.RunPlanned(plan=plan):
                self.run = name_in(plan) or self.run
            case events.RunEnded():
                self._ended = event  # said at the end: the last of the output may still be on its way
            case events.RunCost():
                self._cost = event
            case events.Failed(error=error):
                self._show_error(in_words(error), traceback=None)
            case _:
                if isinstance(event, events.CheckpointSeen):
                    self._checkpoints.append(event)
                step = self._steps.apply(event, self._clock() - self._age(event), self._at(event))
                if step is not None:
                    self._step(step, event)
                elif line := self._remark(event):
                    self._line(line)

    def error(self, error: RunctlError, *, traceback: str | None) -> None:
        """Show why the command ends, below the closing block if there is one."""
        with self._lock:
            self._finish()
            self._show_error(error.to_json(), traceback=traceback)

    def settle(self) -> None:
        """Make room for other writers."""
        self._streams.flush()

    def close(self) -> None:
        """Say how it ended, if that has not been said. Safe to repeat."""
        with self._lock:
            self._finish()

    def _age(self, event: events.Event) -> float:
        """Seconds ago a step began, for a run attached to later; small differences are clocks that disagree."""
        if not (event.ts and isinstance(event, events.StepStarted)):
            return 0.0
        then = text.seconds(event.ts)
        age = 0.0 if then is None else self._now() - then
        return age if age > 2 else 0.0

    def _at(self, event: events.Event) -> float:
        """When an event happened, seconds since the epoch, by the clock of where it happened."""
        then = text.seconds(event.ts) if event.ts else None
        return self._now() if then is None else then

    def _output(self, event: events.Output) -> None:
        self._streams.output(event.data)

    @abstractmethod
    def _step(self, step: Step, event: events.Event) -> None:
        """Show that ``event`` changed ``step``."""

    def _remark(self, event: events.Event) -> str | None:
        return remark(event, style=self._style, verbose=self._verbose, debug=self._debug)

    def _line(self, line: str) -> None:
        self._streams.say(self._stamped(line))

    def _stamped(self, line: str) -> str:
        return f"+{self._clock() - self._begun:.3f}s {line}" if self._debug else line

    def _show_error(self, error: Mapping[str, Any], *, traceback: str | None) -> None:
        key = (str(error["code"]), str(error["what"]))
        traceback = traceback if self._debug else None
        if key in self._shown and not traceback:
            return
        self._shown.add(key)
        self.settle()
        self._streams.say(block(error, width=self._columns(), style=self._style, traceback=traceback))

    def _finish(self) -> None:
        self.settle()
        ended, self._ended = self._ended, None
        if ended is not None:
            self._streams.say(self._closing(ended))

    def _closing(self, ended: events.RunEnded) -> str:
        return closing(
            ended,
            run=self.run,
            steps=self._steps,
            checkpoints=self._checkpoints,
            cost=self._cost,
            width=self._columns(),
            style=self._style,
        )
