"""A session's command with pipes, as the genuine agent runs it, oddities included.

From the agent's published source (3.3, `agent/session/shell`): no shell looks at the command and nothing is connected to
its stdin; only control characters are taken as input, as signals. With `separateOutputStream` the two streams are read
while it runs and the exit status follows; without, which is the document's default, both come as one once it has ended.
A stream that is read while the client is away is given up, and what is sent are characters, not bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from typing import TYPE_CHECKING, Any

from runctl.core import ssm_frames

if TYPE_CHECKING:
    from runctl.sandbox.guest.channel import DataChannel

READ_SIZE = 64 * 1024
RUNE_BYTES = 4  # of the longest character
REPLACEMENT = "\ufffd".encode()
SIGNALS = {b"\x03": signal.SIGINT, b"\x1c": signal.SIGQUIT, b"\x1a": signal.SIGTSTP}  # control characters
GRACE = 0.5  # seconds between HUP and KILL

Outcome = tuple[str, str]  # final task status, words for the client


async def run(channel: DataChannel, properties: Any, environment: dict[str, str]) -> Outcome:
    """Run the command of a session to its end."""
    separate = str(properties["linux"].get("separateOutputStream", "false")).lower() == "true"
    errors = asyncio.subprocess.PIPE if separate else asyncio.subprocess.STDOUT
    try:
        argv = shlex.split(properties["linux"]["commands"])
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError):
        return "Failed", f'exec: "{argv[0]}": executable file not found in $PATH'
    except (ValueError, TypeError, OSError) as error:  # TypeError: nothing to run at all
        return "Failed", f"the command cannot be started: {error}"
    listener = asyncio.ensure_future(_signals(channel, process))
    if separate:
        await _live(channel, process)
    else:
        written = await process.stdout.read() if process.stdout else b""
        await process.wait()
        await channel.send(Runes().feed(written))
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    return "Success", ""


async def _live(channel: DataChannel, process: asyncio.subprocess.Process) -> None:
    await asyncio.gather(
        _stream(channel, process.stdout, ssm_frames.DATA), _stream(channel, process.stderr, ssm_frames.STDERR)
    )
    code = await process.wait()
    if channel.active:
        # a command ended by a signal has no status of its own: the genuine agent says 1
        await channel.send(f"EXIT_CODE: {code if code >= 0 else 1}".encode(), ssm_frames.EXIT_CODE)


async def _stream(channel: DataChannel, stream: asyncio.StreamReader | None, kind: int) -> None:
    runes = Runes()
    while stream is not None and channel.active and (piece := await stream.read(READ_SIZE)):
        await channel.send(runes.feed(piece), kind)


class Runes:
    """Bytes as the genuine agent passes them on: character by character.

    What is no UTF-8 goes through, but not as one of the last three bytes of a read: those wait for what follows, and
    are lost when nothing does. Of a U+FFFD in the output the first byte is left.
    """

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, piece: bytes) -> bytes:
        """What is sent because of `piece`."""
        if not self._kept and _plain(piece):
            return piece
        sent = bytearray()
        size = ssm_frames.PAYLOAD_LIMIT
        for start in range(0, len(piece), size):
            passed, self._kept = _characters(self._kept + piece[start : start + size])
            sent += passed
        return bytes(sent)


def _plain(piece: bytes) -> bool:
    try:
        return "\ufffd" not in piece.decode()
    except UnicodeDecodeError:
        return False


def _characters(data: bytes) -> tuple[bytes, bytes]:
    sent, at = bytearray(), 0
    while at < len(data):
        try:
            data[at:].decode()
            good = len(data)
        except UnicodeDecodeError as error:
            good = at + error.start
        found = data.find(REPLACEMENT, at, good)
        good = found if found >= 0 else good
        sent += data[at:good]
        at = good
        if len(data) - at < RUNE_BYTES:
            break
        sent += data[at : at + 1]
        at += len(REPLACEMENT) if found >= 0 else 1
    return bytes(sent), data[at:]


async def _signals(channel: DataChannel, process: asyncio.subprocess.Process) -> None:
    """Control characters become signals, all other input is dropped; a closed channel ends the command."""
    while (frame := await channel.inputs.get()) is not None:
        number = SIGNALS.get(frame.payload) if frame.payload_type == ssm_frames.DATA else None
        if number is not None:
            signal_group(process.pid, number)
    await end_group(process)


def signal_group(pid: int, number: int) -> None:
    """Signal a session's process group; one that is gone is a success."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


async def end_group(process: asyncio.subprocess.Process) -> None:
    """HUP to the group, a short grace, KILL."""
    signal_group(process.pid, signal.SIGHUP)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE)
    signal_group(process.pid, signal.SIGKILL)
