"""A session's data channel: numbered frames both ways, acknowledged, repeated, put in order, and carried on after a cut."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from runctl.aws.errors import code_of
from runctl.core import ssm_frames
from runctl.core.cancel import SLICE, CancelToken
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, RunctlError
from runctl.core.ssm_stream import Inbox, Outbox
from runctl.transports.ssm.gateway import Disconnected

if TYPE_CHECKING:
    from runctl.core.ssm_frames import Frame
    from runctl.transports.ssm.gateway import Gateway, Opening

TICK = 0.1  # seconds between looks at what has to be sent again
WINDOW = 1024  # frames on their way to the agent
DEAF_SECONDS = 8.0  # a connection over which nothing is acknowledged for so long is dead
RESUME_SECONDS = 60.0  # for how long a lost connection is made anew
RESUME_PAUSE = (0.1, 3.0)  # seconds between two tries: the first, the longest
SEPARATES = "1.2.650.0"  # the client's version that gets stdout, stderr and the exit code apart
ONE_CONNECTION = "1.1.69.0"  # from before ports were multiplexed: the bytes of one connection, as they are

_SUCCEEDED, _FAILED = 1, 2  # of an action in the handshake


@dataclass(frozen=True)
class Ending:
    """How a channel ended: the service's words, or the error when it could not be carried on."""

    words: str = ""
    error: RunctlError | None = None


class Listener(Protocol):
    """Who hears a channel; called on its thread, so nothing may wait in here."""

    def heard(self, kind: int, payload: bytes) -> None:
        """A payload that is no part of the handshake, in order, each once."""

    def lost(self) -> None:
        """The connection broke; it is being made anew."""

    def resumed(self) -> None:
        """The connection is there again."""

    def ended(self, ending: Ending) -> None:
        """Nothing more will come. Called once, unless the channel was closed from here."""


class Channel:
    """One session. ``send`` may be used from several threads; ``close`` ends everything on this side."""

    def __init__(self, gateway: Gateway, opening: Opening, listener: Listener, *, version: str) -> None:
        self.session = opening.session
        self.instance = gateway.instance
        self.ready = (
            threading.Event()
        )  # the handshake is over, or something came without one, or it has ended
        self.began = False  # something came of the session
        self.trouble = ""  # why the last connection broke
        self._gateway = gateway
        self._opening = opening
        self._listener = listener
        self._version = version
        self._outbox = Outbox(ssm_frames.INPUT)
        self._inbox = Inbox()
        self._changed = threading.Condition()
        self._order = threading.Lock()  # frames go in their order, as far as that is cheap
        self._socket: Any = None
        self._acknowledged = time.monotonic()
        self._random = Random()
        self._closed = CancelToken()
        threading.Thread(target=self._run, name=f"session {self.session}", daemon=True).start()

    # --- sending ------------------------------------------------------------------------------------------------

    def send(self, payload: bytes, kind: int = ssm_frames.DATA, *, cancel: CancelToken | None = None) -> None:
        """Send bytes, cut into frames; waits while too many are on their way. Nothing happens once it has ended.

        Raises:
            Cancelled: the token was set while it waited; a part may have been sent.
        """
        for start in range(0, len(payload), ssm_frames.PAYLOAD_LIMIT):
            piece = payload[start : start + ssm_frames.PAYLOAD_LIMIT]
            with self._changed:
                while len(self._outbox) >= WINDOW and not self._closed.cancelled:
                    self._changed.wait(SLICE)
                    if cancel is not None:
                        cancel.check()
                if self._closed.cancelled:
                    return
                if not len(self._outbox):
                    self._acknowledged = time.monotonic()
                message = self._outbox.add(piece, kind, now=time.monotonic())
            self._write(message)

    def _write(self, *messages: bytes) -> None:
        """Over the connection, if there is one; what does not go stays in the outbox."""
        socket = self._socket
        if socket is not None:
            with contextlib.suppress(Exception), self._order:  # the reader finds out and makes it anew
                for message in messages:
                    socket.send(message)

    def close(self) -> None:
        """Leave, without ending the session itself. Safe to repeat."""
        self._closed.cancel("closed")
        with self._changed:
            self._changed.notify_all()
        self.ready.set()
        if self._socket is not None:
            with contextlib.suppress(Exception):
                self._socket.socket.shutdown(2)

    @property
    def busy(self) -> bool:
        """Whether something that was sent is not acknowledged."""
        return len(self._outbox) > 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._socket is not None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._closed.cancelled

    # --- the connection -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        opening: Opening | None = self._opening
        ending = Ending()
        try:
            while opening is not None:
                words = self._hold(opening)
                if words is not None:
                    ending = Ending(words)
                    break
                self._listener.lost()
                opening = self._resume()
        except Cancelled:
            return
        except RunctlError as error:
            ending = Ending(error=error)
        finally:
            left = self._closed.cancelled
            self.close()
            if not left:
                self._listener.ended(ending)

    def _hold(self, opening: Opening) -> str | None:
        """Use one connection until it is lost (None) or the session is over (the service's words).

        Raises:
            Cancelled: the channel was closed.
        """
        try:
            with self._gateway.connected(opening, version=self._version) as socket:
                with self._changed:
                    self._socket = socket
                    self._acknowledged = time.monotonic()
                    waiting = self._outbox.everything(now=time.monotonic())
                self._write(*waiting)
                if opening is not self._opening:
                    self._listener.resumed()
                return self._read(socket)
        except Disconnected as error:
            self.trouble = str(error)
            self._closed.check()
            return None
        finally:
            self._socket = None

    def _read(self, socket: Any) -> str:
        next_tick = time.monotonic() + TICK
        while True:
            self._closed.check()
            try:
                data = socket.recv(timeout=TICK)
            except TimeoutError:
                data = b""
            if isinstance(data, bytes) and data:
                with contextlib.suppress(ssm_frames.FrameError):
                    words = self._take(ssm_frames.decode(data), socket)
                    if words is not None:
                        return words
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK
                if not self._repeat():
                    raise Disconnected(f"nothing was acknowledged for {DEAF_SECONDS:.0f} s")

    def _repeat(self) -> bool:
        """Send again what is late; false when nothing has been acknowledged for too long."""
        now = time.monotonic()
        with self._changed:
            if not len(self._outbox):
                return True
            late = self._outbox.due(now=now)
        self._write(*late)
        return now - self._acknowledged < DEAF_SECONDS

    def _resume(self) -> Opening | None:
        """A new way in; None when the session has ended meanwhile. Raises Cancelled, and why it cannot be reached."""
        limit, pause = time.monotonic() + RESUME_SECONDS, RESUME_PAUSE[0]
        while True:
            try:
                return self._gateway.resume(self.session, self._closed)
            except Cancelled:
                raise
            except RunctlError as error:
                if code_of(error) == "DoesNotExistException":
                    return None
                lasting = not error.transient and code_of(error) != "TargetNotConnected"
                if lasting or time.monotonic() > limit:
                    error.add_context(connection=self.trouble)
                    raise
            if self._closed.wait(pause * (0.5 + self._random.random() / 2)):
                self._closed.check()
            pause = min(pause * 2, RESUME_PAUSE[1])

    # --- frames -------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame, socket: Any) -> str | None:
        """Act on one frame; the service's words when it says that the session is over. Raises FrameError."""
        if frame.type == ssm_frames.OUTPUT:
            owed, ready = self._inbox.accept(frame)
            for each in ready:
                self._handle(each)
            if (
                owed
            ):  # the last thing: it may find the connection broken, and what was accepted does not come again
                socket.send(ssm_frames.encode(ssm_frames.acknowledge(frame)))
        elif frame.type == ssm_frames.ACKNOWLEDGE:
            now = time.monotonic()
            with self._changed:
                if self._outbox.acknowledged(ssm_frames.acknowledged_sequence(frame), now=now):
                    self._acknowledged = now
                    self._changed.notify_all()
        elif frame.type == ssm_frames.CHANNEL_CLOSED:
            return _words(frame.payload)
        return None

    def _handle(self, frame: Frame) -> None:
        kind = frame.payload_type
        if kind == ssm_frames.HANDSHAKE_REQUEST:
            self._shake(frame.payload)
            return
        self.began = True
        self.ready.set()
        if kind != ssm_frames.HANDSHAKE_COMPLETE:
            self._listener.heard(kind, frame.payload)

    def _shake(self, payload: bytes) -> None:
        """Agree to the session's type; anything else asked for, as encryption with a key of KMS, is declined.

        Raises:
            RunctlError: ``session-encrypted``.
        """
        actions = []
        encrypted = ""
        for asked in json.loads(payload).get("RequestedClientActions", []):
            name = asked.get("ActionType")
            told = {"ActionType": name, "ActionStatus": _SUCCEEDED, "ActionResult": None, "Error": ""}
            if name != "SessionType":
                told |= {"ActionStatus": _FAILED, "Error": f"{name} is not supported"}
                encrypted = str(asked.get("ActionParameters", {}).get("KMSKeyId", "")) or "?"
            actions.append(told)
        answer = {"ClientVersion": self._version, "ProcessedClientActions": actions, "Errors": []}
        self.send(json.dumps(answer).encode(), ssm_frames.HANDSHAKE_RESPONSE)
        if encrypted:
            raise known("session-encrypted", instance=self._gateway.instance, key=encrypted)


def _words(payload: bytes) -> str:
    try:
        return str(json.loads(payload).get("Output", ""))
    except ValueError:
        return ""
