"""The agent's end of a data channel: numbered frames, acknowledgements, repetition, and a new connection when one is lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
import uuid
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from runctl.core import ssm_frames
from runctl.core.ssm_stream import Inbox, Outbox
from runctl.sandbox.ssm.websocket import BINARY, TEXT, HandshakeRefused, SocketClosed, WebSocket, connect

if TYPE_CHECKING:
    from runctl.core.ssm_frames import Frame
    from runctl.sandbox.guest.aws import Identity

log = logging.getLogger("runctl.sandbox.guest")

WINDOW = 4_096  # frames on their way; the genuine agent keeps 100,000, which only costs memory
RESEND_TICK = 0.1
RECONNECT_SECONDS = (0.2, 5.0)  # the first pause, and the longest


async def open_channel(identity: Identity, endpoint: str, kind: str, name: str) -> WebSocket:
    """Ask for a token and open a channel of the gateway with it. Raises OSError."""
    path = f"{endpoint}/v1/{kind}/{name}"
    asked = {"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "ClientId": str(uuid.uuid4())}
    headers = {"Content-Type": "application/json"}
    answer = await identity.call(
        "POST", path, service="ssmmessages", body=json.dumps(asked).encode(), headers=headers
    )
    token = next((each.text for each in ET.fromstring(answer).iter() if each.tag.endswith("TokenValue")), "")  # noqa: S314 - the gateway is ours
    query = "?role=subscribe&stream=input" if kind == "control-channel" else "?role=publish_subscribe"
    url = f"{path}{query}"
    signed = identity.sign("GET", url, service="ssmmessages", digest=hashlib.sha256(b"").hexdigest())
    socket = await connect("ws" + url.removeprefix("http"), headers=signed)
    opening = {"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "TokenValue": token}
    socket.send(json.dumps(opening).encode(), opcode=TEXT)
    return socket


class DataChannel:
    """One session's channel. `inputs` gives the client's payloads in order; None once the channel is closed."""

    def __init__(self, identity: Identity, endpoint: str, session: str) -> None:
        self._identity = identity
        self._endpoint = endpoint
        self.session = session
        self.inputs: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._socket: WebSocket | None = None
        self._outbox = Outbox(ssm_frames.OUTPUT)
        self._inbox = Inbox()
        self._room = asyncio.Event()
        self._paused = False
        self.closed = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._hold()), asyncio.ensure_future(self._repeat())]

    @property
    def active(self) -> bool:
        """Whether the client is there, as far as the gateway said."""
        return not self._paused

    # --- sending ------------------------------------------------------------------------------------------

    async def send(
        self, payload: bytes, payload_type: int = ssm_frames.DATA, *, limit: int = ssm_frames.PAYLOAD_LIMIT
    ) -> None:
        """Send bytes, cut into frames; waits while too many are not acknowledged. Nothing happens once it is closed."""
        for start in range(0, len(payload), limit * 64):
            while len(self._outbox) >= WINDOW and not self.closed.is_set():
                self._room.clear()
                await self._room.wait()
            if self.closed.is_set():
                return
            now = time.monotonic()
            stretch = payload[start : start + limit * 64]
            frames = [
                (BINARY, self._outbox.add(stretch[at : at + limit], payload_type, now=now))
                for at in range(0, len(stretch), limit)
            ]
            if self._socket is not None and not self._paused:
                self._socket.send_many(frames)
                try:
                    await self._socket.drain()
                except SocketClosed:
                    continue  # the frames are kept: they go over the next connection

    async def flushed(self) -> None:
        """Wait until the client has acknowledged everything, or the channel is closed."""
        while len(self._outbox) and not self.closed.is_set():
            self._room.clear()
            await self._room.wait()

    async def _repeat(self) -> None:
        while not self.closed.is_set():
            await asyncio.sleep(RESEND_TICK)
            if self._socket is not None and not self._paused:
                self._socket.send_many([(BINARY, data) for data in self._outbox.due(now=time.monotonic())])

    # --- receiving ----------------------------------------------------------------------------------------

    async def _hold(self) -> None:
        pause = RECONNECT_SECONDS[0]
        while not self.closed.is_set():
            try:
                self._socket = await open_channel(
                    self._identity, self._endpoint, "data-channel", self.session
                )
                self._paused = False  # the gateway says so again when the client is away
                self._socket.send_many(
                    [(BINARY, data) for data in self._outbox.everything(now=time.monotonic())]
                )
                pause = RECONNECT_SECONDS[0]
                while True:
                    self._take(await self._socket.receive())
            except HandshakeRefused as error:
                log.info("session %s: %s", self.session, error)
            except OSError as error:
                log.info("session %s: %s", self.session, error)
                if getattr(error, "status", 0) == 404:  # the gateway knows the session no more
                    self._end()
            self._socket = None
            if not self.closed.is_set():
                await asyncio.sleep(pause)
                pause = min(pause * 2, RECONNECT_SECONDS[1])

    def _take(self, messages: list[tuple[int, bytes]]) -> None:
        answers: list[bytes] = []
        for _, data in messages:
            try:
                answers += self._answers(ssm_frames.decode(data))
            except ssm_frames.FrameError as error:
                log.warning("session %s: %s", self.session, error)
        if answers and self._socket is not None:
            self._socket.send_many([(BINARY, each) for each in answers])
        self._room.set()

    def _answers(self, frame: Frame) -> list[bytes]:
        """Act on one frame; what has to be sent because of it. Raises FrameError."""
        now = time.monotonic()
        if frame.type == ssm_frames.ACKNOWLEDGE:
            self._outbox.acknowledged(ssm_frames.acknowledged_sequence(frame), now=now)
        elif frame.type == ssm_frames.INPUT:
            owed, ready = self._inbox.accept(frame)
            for each in ready:
                self.inputs.put_nowait(each)
            return [ssm_frames.encode(ssm_frames.acknowledge(frame))] if owed else []
        elif frame.type == ssm_frames.PAUSE:
            self._paused = True
        elif frame.type == ssm_frames.START:
            self._paused = False
            return self._outbox.everything(now=now)
        elif frame.type == ssm_frames.CHANNEL_CLOSED:
            self._end()
        return []

    def _end(self) -> None:
        self.closed.set()
        self._room.set()
        self.inputs.put_nowait(None)

    async def close(self) -> None:
        """Leave the channel; safe to repeat."""
        self._end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    # --- the handshake --------------------------------------------------------------------------------------

    async def handshake(
        self, session_type: str, properties: Any, agent_version: str
    ) -> dict[str, Any] | None:
        """Agree with the client on the kind of session; what the client answered, None when it never did."""
        began = time.monotonic_ns()
        # a port's properties are told to the client, those of a command are not
        action = {"SessionType": session_type, "Properties": properties if session_type == "Port" else None}
        asked = {
            "AgentVersion": agent_version,
            "RequestedClientActions": [{"ActionType": "SessionType", "ActionParameters": action}],
        }
        whole = json.dumps(asked).encode()  # one frame, whatever its length
        await self.send(whole, ssm_frames.HANDSHAKE_REQUEST, limit=len(whole))
        while (frame := await self.inputs.get()) is not None:
            if frame.payload_type == ssm_frames.HANDSHAKE_RESPONSE:
                done = {"HandshakeTimeToComplete": time.monotonic_ns() - began, "CustomerMessage": ""}
                await self.send(json.dumps(done).encode(), ssm_frames.HANDSHAKE_COMPLETE)
                return dict(json.loads(frame.payload))
        return None
