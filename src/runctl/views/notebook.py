"""The steps as a table that is drawn over in a notebook's cell; the script's output is the cell's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core import events
from runctl.views import html
from runctl.views.rows import tree
from runctl.views.spoken import Spoken
from runctl.views.streams import Streams
from runctl.views.style import Style

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.views.progress import Step

FRAME = 0.25  # seconds between two drawings: a notebook keeps up with that over a slow line, too
_WIDTH = 80


class Notebook(Spoken):
    """One display of a cell. Whoever feeds it calls ``beat`` now and then, so that the clocks of its steps go on.

    Args:
        show: shows, or shows anew, the same thing as ``text/html`` and as ``text/plain``.
        write: takes the bytes of the script's output.
        options: as ``Spoken``.
    """

    def __init__(
        self, show: Callable[[dict[str, str]], None], write: Callable[[bytes], object], **options: Any
    ) -> None:
        streams = Streams(write, lambda _words: None, shared=False)
        super().__init__(streams, style=Style(), columns=lambda: _WIDTH, **options)
        self._show = show
        self._lines: list[str] = []
        self._drawn = 0.0
        self._changed = False

    def emit(self, event: events.Event) -> None:
        """Show one event. Raises what the cell's stdout raises."""
        super().emit(event)
        if isinstance(event, events.RunPlanned):
            self._changed = True
        self.beat()

    def beat(self) -> None:
        """Draw, where something changed or a clock goes on, and not too often."""
        with self._lock:
            now = self._clock()
            if now - self._drawn >= FRAME and (self._changed or self._steps.running()):
                self._draw(now)

    def close(self) -> None:
        """Draw the last frame, with how it ended. Safe to repeat."""
        super().close()
        with self._lock:
            if self._changed or self._steps.running():
                self._draw(self._clock())

    def _draw(self, now: float) -> None:
        self._drawn, self._changed = now, False
        plain = tree(self._steps, now=now, width=_WIDTH, style=self._style, beat=None)
        words = "\n".join([*([self.run] if self.run else []), *plain, *self._lines])
        self._show(
            {"text/html": html.progress(self.run, self._steps, self._lines, now=now), "text/plain": words}
        )

    def _step(self, step: Step, event: events.Event) -> None:
        del step, event
        self._changed = True

    def _line(self, line: str) -> None:
        self._lines += line.split("\n")
        self._changed = True

    def _finish(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._line(self._closing(ended))
