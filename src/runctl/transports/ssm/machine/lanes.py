"""The ways from the relay to its client, and what the client has not acknowledged of what went over them."""

from __future__ import annotations

import binascii
import os

from runctl.transports.ssm.machine import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FULL = (
    128 << 10
)  # bytes waiting in a lane above which streams are not read: what comes in drops gathers in its pipe


class Lane:
    """Bytes on their way out of one descriptor."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.waiting = bytearray()

    def write(self) -> None:
        """As much as goes now; a lane that is broken is emptied, its reader will be missed elsewhere."""
        try:
            del self.waiting[: os.write(self.file.fileno(), self.waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self.waiting.clear()


class Lanes:
    """Frames in order over the lane of the moment, kept until they are acknowledged; states over the slow one."""

    def __init__(self, fast: Any) -> None:
        self.fast = Lane(fast)
        self.slow: Lane | None = None  # once the client has come, and while it is there
        self.use_fast = True
        self._next = 1
        self._unacked: dict[int, bytes] = {}

    @property
    def room(self) -> bool:
        """Whether the lane of the moment takes more."""
        lane = self.fast if self.use_fast else self.slow
        return lane is not None and len(lane.waiting) < FULL

    def line(self, text: bytes) -> None:
        """A line of the fast lane, unless it is stuck."""
        if len(self.fast.waiting) < 4 * FULL:
            self.fast.waiting += text

    def pong(self, number: int) -> None:
        """Answer a ping over both lanes: each shows that it works."""
        self.say(wire.PING, number)
        self.line(wire.MARK + binascii.b2a_base64(wire.frame(wire.PING, 0, number)))

    def send(self, kind: int, stream: int, payload: bytes = b"") -> None:
        """In order, and again when it is missed."""
        body = wire.frame(kind, self._next, stream, payload)
        self._unacked[self._next] = body
        self._next += 1
        self._queue(body)

    def say(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
        """A state, over the slow lane."""
        if self.slow is not None:
            body = wire.frame(kind, 0, stream, payload)
            self.slow.waiting += wire.LENGTH.pack(len(body)) + body

    def acknowledged(self, expected: int) -> None:
        """All before this sequence number has arrived."""
        for sequence in [each for each in self._unacked if each < expected]:
            del self._unacked[sequence]

    def again(self, expected: int) -> None:
        """Send what is missed from this sequence number on once more."""
        self.acknowledged(expected)
        for body in self._unacked.values():
            self._queue(body)

    def _queue(self, body: bytes) -> None:
        if self.use_fast:
            self.fast.waiting += wire.MARK + binascii.b2a_base64(body)
        elif self.slow is not None:
            self.slow.waiting += wire.LENGTH.pack(len(body)) + body
