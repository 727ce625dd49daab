"""One JSON object per event on stdout, and nothing else there. The schema is docs/reference/events.md."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

from runctl.core import events
from runctl.views import text
from runctl.views.base import name_in
from runctl.views.errors import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.core.errors import RunctlError
    from runctl.views.streams import Streams

LARGEST = 64 * 1024  # bytes of output in one object: readers that take a line at a time stay small


class OutputCutter:
    """Cuts output into pieces of at most ``LARGEST`` bytes that do not end inside a UTF-8 character.

    The start of a character at the end of a chunk is kept until the next chunk brings the rest. Pieces come in order
    and their bytes are exactly the bytes that were fed.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._kept = b""
        self._offset = 0  # of the first kept byte

    def feed(self, chunk: events.Output) -> list[events.Output]:
        """The pieces that are complete now."""
        pieces = []
        if self._kept and chunk.offset != self._offset + len(self._kept):
            pieces = self.flush()  # another place of the file: the rest will not come
        data, offset = self._kept + chunk.data, chunk.offset - len(self._kept)
        start = 0
        while len(data) - start > self._largest:
            end = start + self._largest
            end -= _unfinished(data[end - 4 : end])
            pieces.append(events.Output(offset + start, data[start:end]))
            start = end
        end = len(data) - _unfinished(data[-4:])
        if end > start:
            pieces.append(events.Output(offset + start, data[start:end]))
        else:
            end = start
        self._kept, self._offset = data[end:], offset + end
        return pieces

    def flush(self) -> list[events.Output]:
        """What was kept, when nothing follows."""
        kept, self._kept = self._kept, b""
        return [events.Output(self._offset, kept)] if kept else []


def _unfinished(tail: bytes) -> int:
    """How many bytes at the end of ``tail`` (at most 4) begin a UTF-8 character without finishing it."""
    for length in range(1, min(3, len(tail)) + 1):
        first = tail[-length]
        if first < 0x80:
            return 0
        if first >= 0xC0:  # the first byte of a character of 2, 3 or 4 bytes
            return length if length < (2 if first < 0xE0 else 3 if first < 0xF0 else 4) else 0
    return 0


class JsonLines:
    """Events as lines of JSON, each written and flushed at once.

    Args:
        streams: its stdout takes the lines.
        debug: whether an error carries its traceback.
        alone: stdout belongs to one JSON value that the command itself prints; of the events only warnings are
            shown, on stderr, and errors.
        now: seconds since the epoch, for ``ts``.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        debug: bool = False,
        alone: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.run = ""
        self._streams = streams
        self._debug = debug
        self._alone = alone
        self._now = now
        self._lock = threading.RLock()
        self._cutter = OutputCutter()
        self._shown: set[tuple[Any, Any]] = set()

    def emit(self, event: events.Event) -> None:
        """Write one event; output may become several or wait for the rest of a character.

        Raises ``BrokenPipeError`` when nobody reads.
        """
        with self._lock:
            if self._alone and not isinstance(event, events.Failed):
                if isinstance(event, events.Notice) and event.level == "warning":
                    self._streams.say(f"warning: {event.text}")
                return
            match event:
                case events.Output():
                    for piece in self._cutter.feed(event):
                        self._write(piece)
                    return
                case events.RunPlanned(plan=plan):
                    self.run = name_in(plan) or self.run
                case events.RunEnded():
                    self._flush()
                case events.Failed(error=error):
                    self._fail(dict(in_words(error)))
                    return
            self._write(event)

    def error(self, error: RunctlError, *, traceback: str | None) -> None:
        """Write the error as an event of kind ``error``; under ``--debug`` it has a ``traceback``."""
        with self._lock:
            record = error.to_json()
            if traceback and self._debug:
                record["traceback"] = traceback
            self._fail(record)

    def _fail(self, error: dict[str, Any]) -> None:
        key = (error["code"], error["what"])
        if key in self._shown and "traceback" not in error:
            return
        self._shown.add(key)
        self._flush()
        self._write(events.Failed(error))

    def settle(self) -> None:
        """Nothing is drawn live."""

    def close(self) -> None:
        """Write what waited for the rest of a character. Safe to repeat."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        for piece in self._cutter.flush():
            self._write(piece)

    def _write(self, event: events.Event) -> None:
        record = events.to_json(event, ts=text.timestamp(self._now()), run=self.run)
        # ASCII escapes: names that are not text (surrogates) survive, whatever the reader's encoding is.
        self._streams.output(json.dumps(record, separators=(",", ":"), default=str).encode() + b"\n")
