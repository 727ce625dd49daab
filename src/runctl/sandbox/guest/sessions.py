"""The kinds of sessions: a command with pipes, a terminal, a TCP port."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING, Any

from runctl.core import ssm_frames
from runctl.sandbox.guest import piped
from runctl.sandbox.guest.piped import READ_SIZE, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runctl.core.ssm_frames import Frame
    from runctl.sandbox.guest.channel import DataChannel


def fill(value: Any, parameters: dict[str, Any]) -> Any:
    """A document's properties with `{{ name }}` replaced by parameters."""
    if isinstance(value, dict):
        return {name: fill(each, parameters) for name, each in value.items()}
    if isinstance(value, str):
        for name, given in parameters.items():
            for written in (f"{{{{ {name} }}}}", f"{{{{{name}}}}}"):
                value = value.replace(written, str(given))
    return value


async def run(
    channel: DataChannel, content: dict[str, Any], environment: dict[str, str], *, version: str
) -> Outcome:
    """Run one session to its end. The client has everything that was sent when this returns, or it is gone."""
    document = content.get("DocumentContent", {})
    kind = str(document.get("sessionType", ""))
    properties = fill(document.get("properties", {}), content.get("Parameters", {}))
    handler = _KINDS.get(kind)
    if handler is None:
        return "Failed", f"session type {kind!r} is not known"
    if await channel.handshake(kind, properties, version) is None:
        return "Success", ""
    outcome = await handler(channel, properties, environment)
    await channel.flushed()
    return outcome


# --- a terminal -----------------------------------------------------------------------------------------------


async def _shell(channel: DataChannel, _properties: Any, environment: dict[str, str]) -> Outcome:
    return await _terminal(channel, ["sh"], environment)


async def _interactive(channel: DataChannel, properties: Any, environment: dict[str, str]) -> Outcome:
    return await _terminal(channel, ["sh", "-c", properties["linux"]["commands"]], environment)


async def _terminal(channel: DataChannel, argv: list[str], environment: dict[str, str]) -> Outcome:
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**environment, "TERM": "xterm-256color"},
        start_new_session=True,
        preexec_fn=_own_terminal,
    )
    os.close(follower)
    os.set_blocking(leader, False)
    listener = asyncio.ensure_future(_type(channel, leader, process))
    try:
        while piece := await _read(leader):
            await channel.send(piece)
        await process.wait()
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        os.close(leader)
    return "Success", ""


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def _ready(register: Callable[..., Any], unregister: Callable[[int], Any], fd: int) -> None:
    ready = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    register(fd, tell)
    try:
        await ready
    finally:
        unregister(fd)


async def _read(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, READ_SIZE)
        except BlockingIOError:
            await _ready(loop.add_reader, loop.remove_reader, fd)
        except OSError:  # EIO: nobody holds the other end any more
            return b""


async def _write(fd: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            await _ready(loop.add_writer, loop.remove_writer, fd)


async def _type(channel: DataChannel, leader: int, process: asyncio.subprocess.Process) -> None:
    while (frame := await channel.inputs.get()) is not None:
        if frame.payload_type == ssm_frames.SIZE:
            _resize(leader, frame)
        elif frame.payload_type == ssm_frames.DATA:
            with contextlib.suppress(OSError):
                await _write(leader, frame.payload)
        elif _flag(frame) == ssm_frames.TERMINATE_SESSION:
            break
    await piped.end_group(process)


def _resize(leader: int, frame: Frame) -> None:
    with contextlib.suppress(ValueError, KeyError, TypeError, struct.error):
        size = json.loads(frame.payload)
        fcntl.ioctl(
            leader, termios.TIOCSWINSZ, struct.pack("HHHH", int(size["rows"]), int(size["cols"]), 0, 0)
        )


def _flag(frame: Frame) -> int:
    return int.from_bytes(frame.payload[:4], "big") if frame.payload_type == ssm_frames.FLAG else 0


# --- a port ----------------------------------------------------------------------------------------------------


class _Port:
    """One TCP connection at a time, carried over the channel as it is: no multiplexing (smux) on top.

    The version we give in the handshake is from before the genuine agent multiplexed, so clients do not try.
    """

    def __init__(self, channel: DataChannel, properties: dict[str, Any]) -> None:
        self._channel = channel
        self._host = str(properties.get("host") or "127.0.0.1")
        self._port = int(properties.get("portNumber") or 22)
        self._again = properties.get("type") == "LocalPortForwarding"
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Future[None] | None = None
        self._over = asyncio.Event()

    async def run(self) -> Outcome:
        """Until the channel closes, or for SSH the connection."""
        if not await self._connect() and not self._again:
            return "Failed", f"cannot connect to port {self._port}"
        listener = asyncio.ensure_future(self._listen())
        waiter = asyncio.ensure_future(self._over.wait())
        await asyncio.wait([listener, waiter], return_when=asyncio.FIRST_COMPLETED)
        for task in (listener, waiter):
            task.cancel()
        await asyncio.gather(listener, waiter, return_exceptions=True)
        self._disconnect()
        return "Success", ""

    async def _connect(self) -> bool:
        try:
            reader, self._writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            await self._tell(ssm_frames.CONNECT_ERROR)
            return False
        self._pump = asyncio.ensure_future(self._carry(reader, self._writer))
        return True

    def _disconnect(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    async def _tell(self, flag: int) -> None:
        await self._channel.send(flag.to_bytes(4, "big"), ssm_frames.FLAG)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(READ_SIZE):
                await self._channel.send(piece)
        if self._writer is writer:
            self._writer = None
        writer.close()
        if not self._again:
            self._over.set()
        else:  # the genuine agent leaves the client to guess; ours says that the server hung up
            await self._tell(ssm_frames.DISCONNECT_PORT)

    async def _listen(self) -> None:
        while (frame := await self._channel.inputs.get()) is not None:
            if _flag(frame) == ssm_frames.TERMINATE_SESSION:
                return
            if _flag(frame) == ssm_frames.DISCONNECT_PORT:
                self._disconnect()
            elif (
                frame.payload_type == ssm_frames.DATA
                and (self._writer or await self._connect())
                and self._writer
            ):
                with contextlib.suppress(OSError):
                    self._writer.write(frame.payload)
                    await self._writer.drain()


async def _port(channel: DataChannel, properties: Any, _environment: dict[str, str]) -> Outcome:
    return await _Port(channel, properties).run()


_KINDS: dict[str, Callable[[DataChannel, Any, dict[str, str]], Awaitable[Outcome]]] = {
    "Standard_Stream": _shell,
    "InteractiveCommands": _interactive,
    "NonInteractiveCommands": piped.run,
    "Port": _port,
}
