"""One conversation with one machine: a relay there, two sessions that carry it, and any number of commands at once.

Opening it takes two sessions (half a second on a real line); a command then costs one trip there and back. What the
relay sends is put in order and acknowledged here, so a lane may fail: the fast one is left for the slow one when it
is silent, and used again when it speaks; the slow one is made anew. When the relay itself is gone, the link is cut.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE, CancelToken
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.transports.ssm import channel as channels
from runctl.transports.ssm.channel import Channel
from runctl.transports.ssm.lanes import FastLane, SlowLane
from runctl.transports.ssm.machine import wire
from runctl.transports.ssm.programs import NO_PYTHON, line, program
from runctl.transports.ssm.streams import Stream

if TYPE_CHECKING:
    from runctl.transports.ssm.channel import Ending
    from runctl.transports.ssm.gateway import Gateway

COMMAND, PORT = "AWS-StartNonInteractiveCommand", "AWS-StartPortForwardingSession"
PROGRAMS = ("wire", "lanes", "streams", "relay")
OPEN_SECONDS = 30.0  # for the relay to say where it is, and for the way to it
PING_SECONDS = 5.0
QUIET_SECONDS = (
    6.0  # a lane over which nothing came for so long after a ping, however many follow, is not used
)
RENEW_SECONDS = 1.0  # between two slow lanes, at least
TICK = 0.25
ACK_BYTES = 256 << 10  # acknowledged at least so often, and at each tick
LEAVE_SECONDS = 1.5  # for telling the service that a session is over


class Link:
    """Open it with ``open``; then it may be used from several threads until ``close`` or until ``error`` is set."""

    def __init__(self, gateway: Gateway, python: str) -> None:
        self.error: RunctlError | None = None
        self.instance = gateway.instance
        self._gateway = gateway
        self._python = python
        self._changed = threading.Condition()
        self._streams: dict[int, Stream] = {}
        self._numbers = 0
        self._outgoing: deque[bytes] = deque()
        self._unacked: dict[int, bytes] = {}
        self._next = 1
        self._expected = 1
        self._ahead: dict[int, tuple[int, int, int, bytes]] = {}
        self._unsaid = 0  # bytes that came since the last acknowledgement
        self._hello: tuple[int, bytes] | None = None  # the relay's port and secret
        self._fast: Channel | None = None
        self._slow: Channel | None = None
        self._use_fast = True
        self._renewed = 0.0
        self._pings = 0
        self._pinged = 0.0
        self._awaits_fast = self._awaits_slow = math.inf  # since when the lane owes the answer to a ping
        self._closed = CancelToken()

    # --- opening and closing ------------------------------------------------------------------------------------

    def open(self, cancel: CancelToken) -> None:
        """Start the relay and both lanes.

        Raises:
            RunctlError: what AWS refuses, as ``AwsCalls`` says it; ``machine-no-python``, ``session-refused``,
                ``session-encrypted``, ``session-cut``.
            Cancelled: the token was set; nothing is left there.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            command = line(program(self._python, PROGRAMS))
            parameters = {"command": command, "separateOutputStream": "true"}
            opening = self._gateway.start(COMMAND, parameters, cancel)
            self._fast = Channel(self._gateway, opening, FastLane(self), version=channels.SEPARATES)
            self._await_relay(cancel)
            self._open_slow(cancel)
            for work in (self._write, self._watch):
                threading.Thread(target=work, name="ssm link", daemon=True).start()
            undo.pop_all()

    def _await_relay(self, cancel: CancelToken) -> None:
        limit = time.monotonic() + OPEN_SECONDS
        with self._changed:
            while self._hello is None:
                if self.error is not None:
                    raise self.error
                if time.monotonic() > limit:
                    raise self.cut("the program there did not begin in time")
                self._changed.wait(SLICE)
                cancel.check()

    def _open_slow(self, cancel: CancelToken) -> None:
        """A new slow lane; what the relay has not acknowledged goes over it again."""
        assert self._hello is not None
        port, secret = self._hello
        opening = self._gateway.start(PORT, {"portNumber": str(port)}, cancel)
        lane = SlowLane(self)
        slow = lane.channel = Channel(self._gateway, opening, lane, version=channels.ONE_CONNECTION)
        limit = time.monotonic() + OPEN_SECONDS
        with contextlib.ExitStack() as undo:
            undo.callback(self._leave, slow)
            while not slow.ready.wait(SLICE):
                cancel.check()
                if time.monotonic() > limit:
                    raise self.cut("the way to the program there did not open in time")
            before = self._take(slow, secret)
            undo.pop_all()
        if before is not None:
            self._leave(before)

    def _take(self, slow: Channel, secret: bytes) -> Channel | None:
        """Use a lane that is open from now on; gives the one before. Raises Cancelled once the link is closed."""
        with self._changed:
            self._closed.check()
            before, self._slow = self._slow, slow
            self._awaits_slow = math.inf
            self._outgoing.clear()
            self._outgoing.append(secret + wire.LENGTH.pack(self._expected))
            self._outgoing += [_sized(body) for body in self._unacked.values()]
            for stream in self._streams.values():
                self._say(wire.CREDIT, stream.number, wire.COUNT.pack(stream.taken))
            self._say(
                wire.SLOW, self._expected
            )  # also when it was said before: that may be lost with the lane
            if self._use_fast:
                self._say(wire.FAST)
            return before

    def close(self) -> None:
        """End what still runs there, and both sessions; returns within two seconds. Safe to repeat."""
        with self._changed:
            if self._closed.cancelled:
                return
            if self.error is None:
                self._put(wire.BYE, 0)
        limit = time.monotonic() + 0.3
        while self._slow is not None and not self.error and self._busy() and time.monotonic() < limit:
            time.sleep(0.01)  # the goodbye is on its way
        with self._changed:  # a lane that opens meanwhile is taken before this, or left by whoever opened it
            self._closed.cancel("closed")
            lanes = [lane for lane in (self._fast, self._slow) if lane is not None]
        if self._fast is not None:
            self._fast.send(b"\x03")  # the agent interrupts the relay, should it not have heard
        leaving = [threading.Thread(target=self._leave, args=(lane,), daemon=True) for lane in lanes]
        for each in leaving:
            each.start()
        for each in leaving:
            each.join(LEAVE_SECONDS)
        self.fail(self.cut("it was closed here"))

    def _busy(self) -> bool:
        assert self._slow is not None
        return bool(self._outgoing) or self._slow.busy

    def _leave(self, lane: Channel) -> None:
        """End a session on both sides; one that cannot be reached now ends when it is idle.

        A lane that is over is ended too: the far program may have hung up without the service having heard of it.
        """
        lane.close()
        limited = CancelToken()
        timer = threading.Timer(LEAVE_SECONDS, limited.cancel)
        timer.daemon = True
        timer.start()
        with contextlib.suppress(RunctlError):
            self._gateway.terminate(lane.session, limited)
        timer.cancel()

    def cut(self, detail: str) -> RunctlError:
        """The error of a link that is no more."""
        return known("session-cut", instance=self._gateway.instance, detail=detail)

    def fail(self, error: RunctlError) -> None:
        """The link is no more; whoever waits for something of it is told. The first reason stays."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    # --- using it -----------------------------------------------------------------------------------------------

    def start(self, argv: list[str]) -> Stream:
        """Begin a command there. Raises the error of a link that is cut."""
        return self._begin(wire.START, wire.line(argv))

    def connect(self, host: str, port: int) -> Stream:
        """Begin a TCP connection from there. Raises the error of a link that is cut."""
        return self._begin(wire.CONNECT, wire.line([host, str(port)]))

    def _begin(self, kind: int, payload: bytes) -> Stream:
        with self._changed:
            if self.error is not None:
                raise self.error
            self._numbers += 1
            stream = self._streams[self._numbers] = Stream(self, self._numbers, self._changed)
            self._put(kind, stream.number, payload)
        return stream

    def put(self, kind: int, stream: Stream, payload: bytes = b"") -> None:
        """Say something of a stream, in order; never waits."""
        with self._changed:
            self._put(kind, stream.number, payload)

    def say(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        """Say a state; never waits. It may be lost with a lane, and is said again."""
        with self._changed:
            self._say(kind, number, payload)

    def _put(self, kind: int, number: int, payload: bytes = b"") -> None:
        body = wire.frame(kind, self._next, number, payload)
        self._unacked[self._next] = body
        self._next += 1
        self._outgoing.append(_sized(body))
        self._changed.notify_all()

    def _say(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        self._outgoing.append(_sized(wire.frame(kind, 0, number, payload)))
        self._changed.notify_all()

    # --- threads of its own -------------------------------------------------------------------------------------

    def _write(self) -> None:
        """What goes to the machine, over the slow lane of the moment."""
        while not self._closed.cancelled:
            with self._changed:
                while not self._outgoing and not self._closed.cancelled:
                    self._changed.wait(SLICE)
                data = b"".join(self._outgoing)
                self._outgoing.clear()
                slow = self._slow
            if slow is not None:
                slow.send(data)

    def _watch(self) -> None:
        """Acknowledge, ask for signs of life, and keep the lanes."""
        while not self._closed.wait(TICK) and self.error is None:
            now = time.monotonic()
            with self._changed:
                if self._unsaid:
                    self._acknowledge()
                if self._use_fast and now - self._awaits_fast > QUIET_SECONDS:
                    self._leave_fast()
                if now - self._pinged > PING_SECONDS:
                    self._pings += 1
                    self._pinged = now
                    self._awaits_fast = min(self._awaits_fast, now)
                    self._awaits_slow = min(self._awaits_slow, now)
                    self._say(wire.PING, self._pings)
                silent_slow = now - self._awaits_slow > QUIET_SECONDS
                renew = self._slow is None or self._slow.over or (silent_slow and self._slow.connected)
            if renew and now - self._renewed > RENEW_SECONDS:
                self._renewed = now
                try:
                    self._open_slow(self._closed)
                except RunctlError as error:
                    if not self._closed.cancelled and not error.transient:
                        self.fail(error)

    def _acknowledge(self) -> None:
        self._unsaid = 0
        self._say(wire.ACK, self._expected)

    def _leave_fast(self) -> None:
        self._use_fast = False
        self._say(wire.SLOW, self._expected)

    # --- what lanes tell ----------------------------------------------------------------------------------------

    def relay_began(self, port: int, secret: bytes) -> None:
        """The relay runs."""
        with self._changed:
            self._hello = (port, secret)
            self._changed.notify_all()

    def came(self, frame: tuple[int, int, int, bytes], *, fast: bool) -> None:
        """One frame of the relay."""
        kind, sequence, number, payload = frame
        with self._changed:
            if fast:
                self._awaits_fast = math.inf
            else:
                self._awaits_slow = math.inf
            if sequence:
                self._in_order(frame)
                self._unsaid += len(payload) + 1
                if self._unsaid > ACK_BYTES:
                    self._acknowledge()
            elif kind == wire.ACK:
                for each in [each for each in self._unacked if each < number]:
                    del self._unacked[each]
            elif kind == wire.CREDIT and number in self._streams:
                self._streams[number].credit_locked(wire.COUNT.unpack(payload)[0])
            elif kind == wire.PING and fast and not self._use_fast and number == self._pings:
                self._use_fast = True
                self._say(wire.FAST)
            self._changed.notify_all()

    def _in_order(self, frame: tuple[int, int, int, bytes]) -> None:
        if frame[1] < self._expected:
            return
        self._ahead[frame[1]] = frame
        while (ready := self._ahead.pop(self._expected, None)) is not None:
            self._expected += 1
            kind, _, number, payload = ready
            stream = self._streams.get(number)
            if stream is not None:
                stream.arrived_locked(kind, payload)
                if stream.over:
                    del self._streams[number]

    def fast_lost(self) -> None:
        """The fast lane broke, or a stretch of it is missing: what was under way on it comes over the slow one."""
        with self._changed:
            if self._use_fast and self._hello is not None:
                self._leave_fast()

    def slow_hung_up(self, channel: Channel | None) -> None:
        """A slow lane that leads nowhere any more; the next look makes a new one."""
        if channel is not None:
            channel.close()

    def fast_ended(self, ending: Ending, *, code: int | None, noise: bytes) -> None:
        """The session in which the relay runs is over, and so is the relay."""
        if ending.error is not None:
            self.fail(ending.error)
        elif self._hello is not None:
            self.fail(self.cut(ending.words or "the session was ended"))
        elif code == NO_PYTHON:
            self.fail(known("machine-no-python", instance=self._gateway.instance, python=self._python))
        else:
            told = noise.decode(errors="replace").strip()[-500:] or ending.words or "no reason was given"
            self.fail(known("session-refused", instance=self._gateway.instance, detail=told))


def _sized(body: bytes) -> bytes:
    return wire.LENGTH.pack(len(body)) + body
