"""WebSockets (RFC 6455) on asyncio streams, many messages at a time.

The gateway relays tens of thousands of small messages a second and the agent inside an instance wants a quick start,
so both use this and not a general library: a read gives every whole message that has arrived.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
MESSAGE_LIMIT = 16 * 1024 * 1024  # bytes; far above any frame of the service
READ_SIZE = 256 * 1024
LINGER = 2.0  # seconds for the other side to answer a goodbye
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

Message = tuple[int, bytes]


class SocketClosed(ConnectionError):
    """The other side closed the websocket, or the connection is gone."""


class HandshakeRefused(ConnectionError):
    """The server did not answer 101; `status` is what it answered."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status} to the websocket handshake")
        self.status = status


def accept_key(key: str) -> str:
    """What a server answers to a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def mask(payload: bytes, key: bytes) -> bytes:
    """A payload XORed with a key of four bytes; the same again gives the payload back."""
    size = len(payload)
    stretched = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")


def frame_bytes(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """One whole message as it goes over the wire."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + mask(payload, key)


class Parser:
    """Bytes in, whole messages out; fragments are joined. Raises SocketClosed at what breaks the protocol."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._opcode = 0

    def feed(self, data: bytes) -> list[Message]:
        """Every message that is whole now, control messages included, in order."""
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        at, have = 0, len(buffer)
        while have - at >= 2:
            size = buffer[at + 1] & 0x7F
            body = at + 2
            if size > 125:
                wide = 2 if size == 126 else 8
                if have - body < wide:
                    break
                size = int.from_bytes(buffer[body : body + wide], "big")
                body += wide
            if size > MESSAGE_LIMIT:
                raise SocketClosed(f"a message of {size} bytes")
            masked = buffer[at + 1] & 0x80
            end = body + size + (4 if masked else 0)
            if have < end:
                break
            payload = (
                mask(bytes(buffer[body + 4 : end]), bytes(buffer[body : body + 4]))
                if masked
                else bytes(buffer[body:end])
            )
            self._take(buffer[at], payload, messages)
            at = end
        del buffer[:at]
        return messages

    def _take(self, first: int, payload: bytes, messages: list[Message]) -> None:
        opcode, final = first & 0x0F, first & 0x80
        if opcode >= CLOSE or (final and opcode != CONTINUATION):
            messages.append((opcode, payload))
        else:
            if opcode != CONTINUATION:
                self._opcode, self._parts = opcode, []
            self._parts.append(payload)
            if sum(map(len, self._parts)) > MESSAGE_LIMIT:
                raise SocketClosed("a message in fragments that is too long")
            if final:
                messages.append((self._opcode, b"".join(self._parts)))
                self._parts = []


class WebSocket:
    """One open websocket. Reading is for one task; sending for any number of them on the same loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._client = client
        self._parser = Parser()
        self._goodbye = False  # the other side's has been read
        self._cut: asyncio.TimerHandle | None = None
        self.closed = False

    async def receive(self) -> list[Message]:
        """The messages that have arrived, at least one; pings are answered here. Raises SocketClosed."""
        while True:
            if self._goodbye:
                await self.close()
                self._end()
                raise SocketClosed("closed by the other side")
            try:
                data = await self._reader.read(READ_SIZE)
            except OSError as error:
                self.abort()
                raise SocketClosed(str(error)) from error
            if not data:
                self.abort()
                raise SocketClosed("the connection ended")
            messages: list[Message] = []
            for opcode, payload in self._parser.feed(data):
                if opcode == PING:
                    self.send(payload, opcode=PONG)
                elif opcode == CLOSE:  # what came before it still counts; the next call says so
                    self._goodbye = True
                    break
                elif opcode != PONG:
                    messages.append((opcode, payload))
            if messages:
                return messages

    def send(self, payload: bytes, *, opcode: int = BINARY) -> None:
        """Queue one message; nothing happens when the socket is closed."""
        if not self.closed:
            self._writer.write(frame_bytes(opcode, payload, masked=self._client))

    def send_many(self, messages: Iterable[Message]) -> None:
        """Queue several messages with one write."""
        if not self.closed:
            self._writer.write(b"".join(frame_bytes(o, p, masked=self._client) for o, p in messages))

    async def drain(self) -> None:
        """Wait until enough of what was queued has left. Raises SocketClosed."""
        if self.closed:
            raise SocketClosed("closed")
        try:
            await self._writer.drain()
        except OSError as error:
            self.abort()
            raise SocketClosed(str(error)) from error

    async def close(self, code: int = 1000) -> None:
        """Say goodbye; safe to repeat. Nothing more is sent, and who receives goes on until the other side answers.

        The connection is not closed before: what the other side sent meanwhile would come back to it as a reset,
        which takes away what it has not read yet, the goodbye included.
        """
        if self.closed:
            return
        self.send(code.to_bytes(2, "big"), opcode=CLOSE)
        self.closed = True
        self._cut = asyncio.get_running_loop().call_later(LINGER, self.abort)

    def abort(self) -> None:
        """Cut the connection without a goodbye; safe to repeat."""
        self.closed = True
        self._end()
        self._writer.transport.abort()

    def _end(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
        with contextlib.suppress(OSError):
            self._writer.close()


async def connect(url: str, *, headers: Mapping[str, str] | None = None, seconds: float = 10) -> WebSocket:
    """Open a websocket to a `ws` or `wss` URL. Raises HandshakeRefused, OSError, TimeoutError."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port, ssl=secure or None, limit=1024 * 1024)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = {
            "Host": parts.netloc,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            writer.close()
            raise ConnectionError("the server did not answer the websocket handshake") from error
    status = int(head.split(b" ", 2)[1])
    if status != 101:
        writer.close()
        raise HandshakeRefused(status)
    if accept_key(key).encode() not in head:
        writer.close()
        raise HandshakeRefused(status)
    return WebSocket(reader, writer, client=True)
