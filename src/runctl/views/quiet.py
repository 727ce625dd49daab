"""Nothing on stderr but errors; the script's output on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.core import events
from runctl.views.base import name_in
from runctl.views.errors import block, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runctl.core.errors import RunctlError
    from runctl.views.streams import Streams
    from runctl.views.style import Style


class Quiet:
    """Errors and output only.

    Args:
        streams: where bytes and lines go.
        style: colour on stderr.
        columns: how wide lines may be now.
        debug: whether tracebacks are shown.
    """

    def __init__(
        self, streams: Streams, *, style: Style, columns: Callable[[], int], debug: bool = False
    ) -> None:
        self.run = ""
        self._streams = streams
        self._style = style
        self._columns = columns
        self._debug = debug
        self._shown: set[tuple[str, str]] = set()

    def emit(self, event: events.Event) -> None:
        """Pass on output, show failures. Raises ``BrokenPipeError`` when nobody reads stdout any more."""
        match event:
            case events.Output(data=data):
                self._streams.output(data)
            case events.Failed(error=error):
                self._show(in_words(error), traceback=None)
            case events.RunPlanned(plan=plan):
                self.run = name_in(plan) or self.run

    def error(self, error: RunctlError, *, traceback: str | None) -> None:
        """Show why the command ends."""
        self._show(error.to_json(), traceback=traceback)

    def _show(self, error: Mapping[str, Any], *, traceback: str | None) -> None:
        key = (str(error["code"]), str(error["what"]))
        traceback = traceback if self._debug else None
        if key in self._shown and not traceback:
            return
        self._shown.add(key)
        self._streams.flush()
        self._streams.say(block(error, width=self._columns(), style=self._style, traceback=traceback))

    def settle(self) -> None:
        """Leave the cursor at a line start."""
        self._streams.flush()

    def close(self) -> None:
        """Leave stdout as the script left it: ``--quiet`` adds nothing."""
