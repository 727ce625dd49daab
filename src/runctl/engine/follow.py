"""Watch a run by offset: what was seen is never asked for again, and a link that breaks costs only the asking."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.errors import RunctlError, UnreachableError
from runctl.core.events import Notice, Output, RunEnded, from_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit, Event, Position
    from runctl.engine.remote import RemoteAgent

RETRY_FIRST, RETRY_LONGEST = 0.5, 15.0  # seconds between two tries to reach the machine again
GIVE_UP_AFTER = 20 * 60.0  # seconds without any contact


@dataclass
class Frame:
    """One frame of the agent's ``follow`` stream."""

    kind: str
    offset: int
    data: bytes


class FrameReader:
    """Cuts a byte stream into frames; output is passed on as it arrives, so a frame never has to fit in memory."""

    def __init__(self, on_frame: Callable[[Frame], None]) -> None:
        self._on_frame = on_frame
        self.refusal = bytearray()  # an error object where a frame should begin, and all that follows it
        self._header = bytearray()
        self._kind = ""
        self._offset = 0
        self._left = 0
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream, however they were cut."""
        view = memoryview(chunk)
        while view:
            if not self._kind:
                view = self._take_header(view)
                continue
            taken = view[: self._left]
            view = view[len(taken) :]
            self._left -= len(taken)
            if self._kind == "O":
                self._on_frame(Frame("O", self._offset, bytes(taken)))
                self._offset += len(taken)
            else:
                self._body += taken
            self._finish_if_whole()

    def _take_header(self, view: memoryview) -> memoryview:
        if self.refusal or (not self._header and view[0] == ord("{")):
            self.refusal += view
            return view[len(view) :]
        newline = bytes(view[:128]).find(b"\n")
        end = len(view) if newline < 0 else newline + 1
        self._header += view[:end]
        if newline >= 0:
            self._kind, self._offset, self._left = _parsed(bytes(self._header))
            self._header.clear()
            self._finish_if_whole()
        return view[end:]

    def _finish_if_whole(self) -> None:
        if self._left:
            return
        if self._kind != "O":
            self._on_frame(Frame(self._kind, self._offset, bytes(self._body)))
        self._kind = ""
        self._body.clear()


def _parsed(header: bytes) -> tuple[str, int, int]:
    try:
        kind, offset, length = header.decode().split()
        return kind, int(offset), int(length)
    except ValueError as error:
        raise known("agent-reply", command="follow", detail=f"not a frame: {header[:80]!r}") from error


class Follower:
    """Follows one run on its machine to its end, across as many connections as it takes."""

    def __init__(
        self,
        agent: RemoteAgent,
        run_id: str,
        *,
        emit: Emit,
        clock: Clock,
        on_event_lines: Callable[[int, bytes], None] = lambda offset, lines: None,  # noqa: ARG005
    ) -> None:
        """``on_event_lines`` gets the agent's raw event lines with their offset, for the record."""
        self._agent = agent
        self._run_id = run_id
        self._emit = emit
        self._clock = clock
        self._on_event_lines = on_event_lines
        self.output: int | None = 0
        self.events: int | None = 0
        self.known = (
            0  # the machine's events up to here have been told: they are fetched for the record alone
        )
        self.status: dict[str, Any] = {}
        self._end: RunEnded | None = None

    def begin(self, after: Position | None, *, attempt: int, recorded: int) -> None:
        """Go on after a position in this ``attempt``; one in another attempt is none.

        ``recorded``: how much of the machine's events is kept here. The record gets no hole: what lacks is fetched,
        and told to nobody who has seen it.
        """
        if after is not None and after.attempt == attempt:
            self.output, self.known = after.output, after.events
            self.events = min(after.events, recorded)

    def follow(self, *, wait: bool, cancel: CancelToken, **more: Any) -> dict[str, Any]:
        """Emit output and events until the run has ended (or, without ``wait``, until there is no more); its status.

        Raises:
            UnreachableError: no contact for 20 minutes. The run goes on; ask again later.
            Cancelled: the token was set. The run goes on.
        """
        delay, lost_since = RETRY_FIRST, 0.0
        while True:
            seen = (self.output, self.events)
            try:
                self.once(wait=wait, cancel=cancel, **more)
            except UnreachableError as error:
                now = self._clock.monotonic()
                if (self.output, self.events) != seen or not lost_since:
                    delay, lost_since = RETRY_FIRST, now
                if now - lost_since > GIVE_UP_AFTER:
                    raise
                self._emit(Notice("warning", f"{error.what}; the run goes on; asking again in {delay:.0f} s"))
                self._clock.sleep(delay, cancel)
                delay = min(delay * 2, RETRY_LONGEST)
                if self.output != seen[0]:
                    more = {}  # where to begin was decided there; from here on we go by offset
                continue
            if not wait or self.ended:
                self.tell_end()
                return self.status

    @property
    def ended(self) -> bool:
        """Whether the run has ended, as far as was heard."""
        return self.status.get("state") == "ended"

    def tell_end(self) -> None:
        """Emit the end of the run, once, when all of its output was."""
        if self._end is not None:
            self._emit(self._end)
            self._end = None

    def end_with(self, end: RunEnded) -> None:
        """The run has ended as nobody on its machine could say any more."""
        self._end = end

    def once(
        self, *, wait: bool, cancel: CancelToken, take: Callable[[Frame], None] | None = None, **more: Any
    ) -> None:
        """One connection to the machine, until it ends; ``take`` gets the frames. Raises ``UnreachableError``."""
        request = {"run": self._run_id, "output": self.output, "events": self.events, "wait": wait, **more}
        reader = FrameReader(take or self.take)
        done = self._agent.stream("follow", request, reader.feed, cancel=cancel)
        self._agent.raise_refusal("follow", done, bytes(reader.refusal))

    def take(self, frame: Frame) -> None:
        """What one frame says."""
        if frame.kind == "O":
            self._emit(Output(frame.offset, frame.data))
            self.output = frame.offset + len(frame.data)
        elif frame.kind == "E":
            self._on_event_lines(frame.offset, frame.data)
            self.events = frame.offset + len(frame.data)
            self._tell(frame.data, frame.offset)
        elif frame.kind == "N":
            self._tell(frame.data)
        elif frame.kind == "S":
            self.status = json.loads(frame.data)

    def _tell(self, lines: bytes, offset: int = -1) -> None:
        for event in decoded(lines, offset):
            if -1 < event.end <= self.known:
                continue
            if isinstance(event, RunEnded):
                self._end = event  # its last output may still be on the way
            else:
                self._emit(event)


def decoded(lines: bytes, offset: int = -1) -> list[Event]:
    """The events in some lines of ``events.jsonl``; a line that is torn is left out (the record keeps the bytes).

    ``offset`` is where the lines begin in that file; -1: they are not of it.
    """
    events = []
    for line in lines.splitlines(keepends=True):
        offset += len(line) if offset >= 0 else 0
        try:
            events.append(replace(from_json(json.loads(line)), end=offset))
        except (ValueError, RunctlError):
            continue
    return events
