"""The two ways from the relay to its link: lines of base64 in a command's output, and the bytes of a port."""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import TYPE_CHECKING

from runctl.core import ssm_frames
from runctl.transports.ssm.machine import wire

if TYPE_CHECKING:
    from runctl.transports.ssm.channel import Channel, Ending
    from runctl.transports.ssm.link import Link

HELLO = wire.HELLO.partition(b"%")[0]
NOISE_KEPT = 4096  # bytes of what the session says besides the relay


class FastLane:
    """Hears the session in which the relay runs."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._parts: list[bytes] = []  # of a line whose end has not come yet
        self._noise = b""
        self._code: int | None = None

    def heard(self, kind: int, payload: bytes) -> None:
        """Lines of the relay; anything else tells why it cannot run."""
        if kind == ssm_frames.DATA:
            *ends, rest = payload.split(b"\n")
            for end in ends:
                self._line(b"".join([*self._parts, end]))
                self._parts = []
            self._parts.append(rest)
        elif kind == ssm_frames.STDERR:
            self._noise = (self._noise + payload)[-NOISE_KEPT:]
        elif kind == ssm_frames.EXIT_CODE:
            with contextlib.suppress(ValueError):
                self._code = int(payload.rpartition(b":")[2])

    def _line(self, text: bytes) -> None:
        if not text.startswith(wire.MARK):
            self._noise = (self._noise + text + b"\n")[-NOISE_KEPT:]
        elif text.startswith(HELLO):
            _, port, secret = text.split()
            self._link.relay_began(int(port), secret)
        elif len(text) > 1:
            try:
                body = base64.b64decode(text[1:], validate=True)
            except binascii.Error:  # a stretch is missing, as after a cut: it comes again over the other lane
                self._link.fast_lost()
                return
            self._link.came((*wire.HEAD.unpack_from(body), body[wire.HEAD.size :]), fast=True)

    def lost(self) -> None:
        """What was on its way has to come over the other lane."""
        self._parts = []
        self._link.fast_lost()

    def resumed(self) -> None:
        """Whether the agent still reads shows when the relay answers."""

    def ended(self, ending: Ending) -> None:
        """The relay is gone."""
        self._link.fast_ended(ending, code=self._code, noise=self._noise)


class SlowLane:
    """Hears the session that carries a connection to the relay's port."""

    def __init__(self, link: Link) -> None:
        self.channel: Channel | None = None  # set by the link
        self._link = link
        self._buffer = bytearray()

    def heard(self, kind: int, payload: bytes) -> None:
        """Bytes of the relay."""
        if kind == ssm_frames.DATA:
            self._buffer += payload
            for frame in wire.take(self._buffer):
                self._link.came(frame, fast=False)
        elif kind == ssm_frames.FLAG:  # the agent could not connect, or the relay hung up
            self._link.slow_hung_up(self.channel)

    def lost(self) -> None:
        """The connection on the machine is held: nothing is missing once the channel is back."""

    def resumed(self) -> None:
        """It goes on where it was."""

    def ended(self, ending: Ending) -> None:
        """The link makes a new one."""
