"""Live sessions: two websockets, one of the agent and one of the client, and what passes between them.

The gateway does not look into the stream: numbers, acknowledgements and repetition are the ends' own business. It says
three things of its own: that the client is away (`pause_publication`), is back (`start_publication`), or that all is
over (`channel_closed`).
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from runctl.core import ssm_frames
from runctl.sandbox.ssm.agents import new_id, token_of
from runctl.sandbox.ssm.websocket import BINARY, Message, SocketClosed, WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("runctl.sandbox.ssm")

Side = Literal["agent", "client"]
HELD_LIMIT = 2_000  # messages kept for a side that has not come yet; the ends send again what is dropped
HISTORY_LIMIT = 1_000  # ended sessions remembered


@dataclass
class Session:
    """One session. Times are seconds since the epoch, `active` is monotonic."""

    id: str
    target: str
    document: str
    owner: str
    reason: str
    started: float
    mark: str = ""  # of its owner, in the tag that policies know a session by
    agent_token: str = ""
    client_token: str = ""
    agent: WebSocket | None = None
    client: WebSocket | None = None
    held: dict[Side, list[Message]] = field(default_factory=lambda: {"agent": [], "client": []})
    paused: bool = False
    ended: float | None = None
    ending: str = ""  # Terminated, Failed or TimedOut once it has ended
    output: str = ""
    active: float = 0.0
    seen: set[Side] = field(default_factory=set)

    def socket(self, side: Side) -> WebSocket | None:
        """The open websocket of a side."""
        found = self.agent if side == "agent" else self.client
        return None if found is None or found.closed else found

    @property
    def status(self) -> str:
        """What DescribeSessions says."""
        if self.ended is not None:
            return self.ending
        return "Connected" if self.client is not None else "Connecting"


class Sessions:
    """Every session by id. `on_end(session)` is called when one ends."""

    def __init__(self, *, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._now = now
        self._monotonic = monotonic
        self._sessions: dict[str, Session] = {}
        self.tamper: Callable[[Side, bytes], list[bytes]] | None = (
            None  # tests lose and reorder messages with it
        )

    def get(self, session_id: str) -> Session | None:
        """A session that lives or is still remembered."""
        return self._sessions.get(session_id)

    def every(self) -> list[Session]:
        """All of them, newest first."""
        return sorted(self._sessions.values(), key=lambda each: each.started, reverse=True)

    def start(
        self, target: str, document: str, *, user: str, reason: str, owner: str, mark: str = ""
    ) -> Session:
        """A session that nobody has joined yet, with a token for the client."""
        session = Session(
            f"{user}-{secrets.token_hex(9)[:17]}", target, document, owner, reason, self._now(), mark
        )
        session.client_token = secrets.token_urlsafe(64)
        session.active = self._monotonic()
        self._sessions[session.id] = session
        self._forget_old()
        return session

    def _forget_old(self) -> None:
        ended = [each for each in self._sessions.values() if each.ended is not None]
        for each in sorted(ended, key=lambda each: each.ended or 0)[: max(0, len(ended) - HISTORY_LIMIT)]:
            del self._sessions[each.id]

    def agent_token(self, session: Session) -> str:
        """A token for the agent's side; the last one given counts."""
        session.agent_token = secrets.token_urlsafe(48)
        return session.agent_token

    def client_token(self, session: Session) -> str:
        """A new token for the client's side (ResumeSession); the last one given counts."""
        session.client_token = secrets.token_urlsafe(64)
        return session.client_token

    # --- the data channel -------------------------------------------------------------------------------

    async def serve(self, session: Session, socket: WebSocket) -> None:
        """Hold one side's websocket until it closes; its first message says which side it is, by its token."""
        side: Side | None = None
        try:
            messages = await socket.receive()
            side = self._admit(session, token_of(messages.pop(0)))
            if side is None or session.ended is not None:
                await socket.close(1008)  # policy violation
                return
            self._join(session, side, socket)
            while True:
                if messages:
                    await self._pass(session, side, messages)
                messages = await socket.receive()
        except SocketClosed as error:
            log.info("data channel of %s (%s): %s", session.id, side, error)
        finally:
            self._leave(session, side, socket)

    def _admit(self, session: Session, token: str) -> Side | None:
        if token and secrets.compare_digest(token, session.client_token):
            return "client"
        if token and secrets.compare_digest(token, session.agent_token):
            return "agent"
        return None

    def _join(self, session: Session, side: Side, socket: WebSocket) -> None:
        before = session.socket(side)
        if before is not None:
            before.abort()
        if side == "agent":
            session.agent = socket
        else:
            session.client = socket
        session.active = self._monotonic()
        session.seen.add(side)
        held, session.held[side] = session.held[side], []
        socket.send_many(held)
        if side == "agent" and session.paused:
            self._say(session, "agent", ssm_frames.PAUSE, {"SchemaVersion": 1, "SessionId": session.id})
        if side == "client" and session.paused:
            session.paused = False
            self._say(session, "agent", ssm_frames.START, {"SchemaVersion": 1, "SessionId": session.id})

    def _leave(self, session: Session, side: Side | None, socket: WebSocket) -> None:
        if side == "agent" and session.agent is socket:
            session.agent = None
        elif side == "client" and session.client is socket:
            session.client = None
            if session.ended is None:
                session.paused = True
                self._say(session, "agent", ssm_frames.PAUSE, {"SchemaVersion": 1, "SessionId": session.id})

    async def _pass(self, session: Session, side: Side, messages: list[Message]) -> None:
        session.active = self._monotonic()
        other: Side = "client" if side == "agent" else "agent"
        if self.tamper is not None:
            tamper = self.tamper
            messages = [(BINARY, data) for _, payload in messages for data in tamper(side, payload)]
        there = session.socket(other)
        if there is None:
            if other not in session.seen:  # it is still on its way; later the ends send again what is lost
                session.held[other] = (session.held[other] + messages)[:HELD_LIMIT]
            return
        there.send_many(messages)
        try:
            await there.drain()
        except SocketClosed:
            return  # its own task finds out and says so

    def _say(self, session: Session, side: Side, kind: str, body: dict[str, Any]) -> None:
        socket = session.socket(side)
        if socket is not None:
            socket.send(ssm_frames.encode(ssm_frames.new(kind, json.dumps(body).encode())))

    # --- the end ----------------------------------------------------------------------------------------

    async def end(self, session: Session, *, ending: str, output: str = "") -> None:
        """Tell both sides that it is over, and close. Safe to repeat."""
        if session.ended is not None:
            return
        session.ended, session.ending, session.output = self._now(), ending, output
        body = {
            "MessageType": ssm_frames.CHANNEL_CLOSED,
            "MessageId": new_id(),
            "DestinationId": session.target,
            "SessionId": session.id,
            "SchemaVersion": 1,
            "CreatedDate": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.ended)),
            "Output": output,
        }
        sides: tuple[Side, ...] = ("agent", "client")
        for side in sides:
            self._say(session, side, ssm_frames.CHANNEL_CLOSED, body)
            socket = session.socket(side)
            if socket is not None:
                await socket.close()

    def living(self) -> list[Session]:
        """The sessions that have not ended."""
        return [each for each in self._sessions.values() if each.ended is None]

    def idle(self, seconds: float) -> list[Session]:
        """The sessions that live and had no message for so long."""
        limit = self._monotonic() - seconds
        return [each for each in self.living() if each.active < limit]

    def close(self) -> None:
        """Cut every channel."""
        for session in self._sessions.values():
            for socket in (session.agent, session.client):
                if socket is not None:
                    socket.abort()
