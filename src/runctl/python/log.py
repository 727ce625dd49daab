"""What happened to a run as far as one handle has seen it: kept in order, read from any place by any thread."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from runctl.core.events import Output, Position

if TYPE_CHECKING:
    from runctl.core.events import Event


class EventLog:
    """Events in the order they came. The bytes of the script's output stand in a temporary file without a name."""

    def __init__(self) -> None:
        self.begins = Position()  # what came before was not asked for
        self._position = Position()
        self._entries: list[tuple[Event, Position, tuple[int, int]]] = []
        self._changed = threading.Condition()
        self._bytes: IO[bytes] | None = None
        self._length = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def position(self) -> Position:
        """How far it goes."""
        return self._position

    def begin(self, position: Position) -> None:
        """Start behind ``position``; for a log with nothing in it."""
        self.begins = self._position = position

    def attempt(self, number: int) -> None:
        """What comes now is of that attempt."""
        if number != self._position.attempt:
            self._position = Position(number)

    def append(self, event: Event) -> None:
        """Keep one more. Raises ``OSError`` when there is no room for output."""
        with self._changed:
            self._position = self._position.after(event)
            place = (0, 0)
            if isinstance(event, Output):
                place = self._put(event.data)
                event = replace(event, data=b"")
            self._entries.append((event, self._position, place))
            self._changed.notify_all()

    def _put(self, data: bytes) -> tuple[int, int]:
        if self._bytes is None:
            self._bytes = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - goes with the log
            weakref.finalize(self, self._bytes.close)
        place = (self._length, len(data))
        self._bytes.write(data)
        self._length += len(data)
        return place

    def at(self, index: int, *, wait: float = 0.0) -> tuple[Event, Position] | None:
        """The event at ``index`` and the position after it; None when it has not come within ``wait`` seconds."""
        with self._changed:
            if index >= len(self._entries):
                self._changed.wait(wait)
            if index >= len(self._entries):
                return None
            event, position, (start, length) = self._entries[index]
        if isinstance(event, Output) and self._bytes is not None:
            event = replace(event, data=os.pread(self._bytes.fileno(), length, start))
        return event, position

    def index_after(self, position: Position) -> int:
        """Behind the event that led to ``position``. What this side told next has no position: it comes again."""
        if position <= self.begins:
            return 0
        for index, (_, there, _) in enumerate(self._entries):
            if there >= position:
                return index + (there == position)
        return len(self._entries)
