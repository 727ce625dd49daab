"""Order and repetition on a Session Manager data channel: what to deliver, what to send again. Pure: time is passed in.

Both ends do the same: number what they send, keep it until it is acknowledged, and put what arrives in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runctl.core import ssm_frames

if TYPE_CHECKING:
    from runctl.core.ssm_frames import Frame

RESEND_CEILING = 1.0  # seconds; the agent never waits longer
RESEND_FLOOR = 0.2  # seconds; below it a busy machine answers late more often than a frame is lost
BURST = 256  # frames sent again at once
AHEAD_LIMIT = 10_000  # frames kept that arrived before their turn


class _Sent(NamedTuple):
    data: bytes
    at: float
    again: bool


class Outbox:
    """Frames sent and not yet acknowledged, oldest first; how long to wait follows the measured round trip."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._next = 0
        self._waiting: dict[int, _Sent] = {}
        self._smooth = 0.0
        self._spread = 0.0
        self.timeout = RESEND_FLOOR

    def __len__(self) -> int:
        """How many frames are not acknowledged."""
        return len(self._waiting)

    def add(self, payload: bytes, payload_type: int, *, now: float) -> bytes:
        """Number a payload and keep it; the bytes to send."""
        flags = ssm_frames.SYN if self._next == 0 else 0
        frame = ssm_frames.new(
            self._kind, payload, sequence=self._next, flags=flags, payload_type=payload_type
        )
        data = ssm_frames.encode(frame)
        self._waiting[self._next] = _Sent(data, now, again=False)
        self._next += 1
        return data

    def acknowledged(self, sequence: int, *, now: float) -> bool:
        """Strike a frame; false when it was struck before or never sent. Repeated frames teach no round trip."""
        sent = self._waiting.pop(sequence, None)
        if sent is None:
            return False
        if not sent.again:
            self._learn(max(0.0, now - sent.at))
        return True

    def _learn(self, trip: float) -> None:
        if self._smooth == 0.0:
            self._smooth, self._spread = trip, trip / 2
        else:
            self._spread += (abs(trip - self._smooth) - self._spread) / 4
            self._smooth += (trip - self._smooth) / 8
        self.timeout = min(RESEND_CEILING, max(RESEND_FLOOR, self._smooth + 4 * self._spread))

    def due(self, *, now: float) -> list[bytes]:
        """Frames to send again now, oldest first, at most `BURST`; each is counted as sent now."""
        late: list[tuple[int, _Sent]] = []
        for sequence, sent in self._waiting.items():
            if len(late) == BURST or now - sent.at < self.timeout:
                break  # those behind were sent later
            late.append((sequence, sent))
        for sequence, sent in late:
            self._waiting[sequence] = _Sent(sent.data, now, again=True)
        return [sent.data for _, sent in late]

    def everything(self, *, now: float) -> list[bytes]:
        """All that is not acknowledged, for a connection that was made anew."""
        self._waiting = {
            sequence: _Sent(sent.data, now, again=True) for sequence, sent in self._waiting.items()
        }
        return [sent.data for sent in self._waiting.values()]


class Inbox:
    """Frames as they arrive, given back in their order, each once."""

    def __init__(self) -> None:
        self.expected = 0
        self._ahead: dict[int, Frame] = {}

    def accept(self, frame: Frame) -> tuple[bool, list[Frame]]:
        """Whether to acknowledge the frame, and which frames are now to be handled, in order.

        A repeated frame is acknowledged and handled no second time. One too far ahead is neither: it will come again.
        """
        if frame.sequence < self.expected:
            return True, []
        if frame.sequence > self.expected:
            if len(self._ahead) >= AHEAD_LIMIT and frame.sequence not in self._ahead:
                return False, []
            self._ahead[frame.sequence] = frame
            return True, []
        ready = [frame]
        self.expected += 1
        while (following := self._ahead.pop(self.expected, None)) is not None:
            ready.append(following)
            self.expected += 1
        return True, ready
