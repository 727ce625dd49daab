"""A live tree of steps, then the script's own output, then how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core import events
from runctl.views import text
from runctl.views.region import Region
from runctl.views.rows import tree
from runctl.views.spoken import Spoken
from runctl.views.streams import Ticker
from runctl.views.style import Style
from runctl.views.talk import remark, step_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.views.progress import Step

FRAME = 0.1  # seconds: ten frames a second are alive enough and still calm
_OUTPUT = "script output"


class Terminal(Spoken):
    """The tree on stderr, drawn over in place until the script's first output; from then on, lines.

    Where stdout leads elsewhere (``> log``), the tree stays and the output is one more row of it.

    Args:
        args: as ``Spoken``.
        size: columns and rows of the terminal now.
        options: as ``Spoken``.
    """

    def __init__(self, *args: Any, size: Callable[[], tuple[int, int]], **options: Any) -> None:
        super().__init__(*args, columns=lambda: size()[0] - 1, **options)
        self._size = size
        self._region = Region()
        self._live = True  # drawing now
        self._over = False  # the script's output has begun: no more drawing
        self._settled: set[str] = set()  # steps whose last row stands above
        self._beats = 0
        self._drawn: tuple[list[str], int] | None = None
        self._ticker = Ticker(FRAME, self.beat)

    def start(self) -> Terminal:
        """Begin to draw."""
        self._ticker.start()
        return self

    def beat(self) -> None:
        """Draw the next frame, or let out lines that waited for the script's output."""
        with self._lock:
            if self._live:
                self._beats += 1
                self._draw()
        self._streams.tick()

    def settle(self) -> None:
        """Draw the last frame, whole. The next step begins a new tree below it, until there is output."""
        with self._lock:
            if self._live:
                self._draw(last=True)
                if self._drawn is not None:
                    self._streams.say("")
                self._region.forget()
                self._live, self._drawn = False, None
            super().settle()

    def close(self) -> None:
        """Stop drawing and say how it ended. Safe to repeat."""
        self._ticker.stop()
        super().close()

    def _output(self, event: events.Output) -> None:
        with self._lock:
            if not self._streams.shared:
                self._count(event)
            elif not self._over:
                self.settle()
                self._over = True
        super()._output(event)

    def _count(self, event: events.Output) -> None:
        if all(step.name != _OUTPUT for step in self._steps):
            self._take(events.StepStarted(_OUTPUT, _OUTPUT, "machine"))
        self._take(events.StepProgress(_OUTPUT, event.offset + len(event.data)))

    def _finish(self) -> None:
        for step in self._steps.running():
            if step.name == _OUTPUT:
                now = self._clock()
                step.end("done", now - step.started, text.size(step.done), now)
        self.settle()
        if self._ended is not None and self._over:
            self._streams.say("")
        super()._finish()

    def _step(self, step: Step, event: events.Event) -> None:
        if isinstance(event, events.StepStarted) and not self._live and not self._over:
            self._settled = {other.name for other in self._steps if other.state != "running"}
            self._live = True
        if not self._live:
            if not isinstance(event, events.StepProgress):
                self._line(step_line(step, now=self._clock(), style=self._style))
        elif self._drawn is None:
            self._draw()  # the first sign of life comes at once

    def _remark(self, event: events.Event) -> str | None:
        return remark(
            event, style=self._style, verbose=self._verbose, debug=self._debug, width=self._columns()
        )

    def _line(self, line: str) -> None:
        """A line above the tree, or below what has been settled."""
        if not self._live:
            super()._line(line)
            return
        columns = self._size()[0]
        self._streams.draw(
            self._region.clear(columns=columns) + self._stamped(line).replace("\n", "\r\n") + "\r\n"
        )
        self._drawn = None
        self._draw()

    def _draw(self, *, last: bool = False) -> None:
        columns, rows = self._size()
        lines = self._frame(columns, rows, self._style, last=last)
        if not lines and self._drawn is None:
            return
        if self._drawn == (lines, columns):
            return
        self._drawn = (lines, columns)
        plain = self._frame(columns, rows, Style(color=False, unicode=self._style.unicode), last=last)
        self._streams.draw(self._region.paint(lines, plain=plain, columns=columns))

    def _frame(self, columns: int, rows: int, style: Style, *, last: bool) -> list[str]:
        """The tree as it fits: a region taller than the screen could not be drawn over, so its top is left out."""
        lines = tree(
            [step for step in self._steps if step.name not in self._settled],
            now=self._clock(),
            width=columns - 1,
            style=style,
            beat=None if last else self._beats,
            quiet_after=self._quiet_after,
        )
        room = rows - 1
        if last or len(lines) <= room:
            return lines
        hidden = len(lines) - room + 1
        return [style.paint(f"{style.ellipsis} {hidden} more above", "dim"), *lines[hidden:]]
