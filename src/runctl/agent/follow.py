"""Streams a run to a client: output and events by offset, and the status whenever it changes.

Any number of followers read the same files; none of them is in the script's way.
"""

from __future__ import annotations

import json
import os
import sys
import time

from runctl.agent import status, wire
from runctl.agent.beginning import output_offset

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home, RunFolder

CHUNK = 1 << 20  # bytes read at once: all the memory a follower needs
SOONEST, LATEST = 0.005, 0.05  # seconds between looks: after the first news, and in a steady flow or silence
HEARTBEAT = 1.0  # seconds of silence before an H frame; a dead client is noticed by it
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux; the fcntl module has it since 3.10


def follow(request: dict[str, Any], *, home: Home) -> None:
    """The command: frames as ``docs/architecture.md`` says, until the run has ended and everything was sent.

    Raises:
        AgentFailure: ``run-unknown``, before the first frame.
        BrokenPipeError: the client is gone.
    """
    run = home.run(wire.field(request, "run", str))
    first = status.known(run)
    _widen_pipe()
    _Follower(run, request, output_offset(request, run, first)).send_all(
        first, wait=bool(request.get("wait", True))
    )


class _Follower:
    def __init__(self, run: RunFolder, request: dict[str, Any], output: int | None) -> None:
        self._run = run
        self._tails = []
        self._wants_output = output is not None
        for kind, path, offset in (
            (b"E", run.events, request.get("events")),
            (b"O", run.output, output),
        ):
            if offset is not None:
                self._tails.append(Tail(kind, path, offset))
        self._stamp: Any = None
        self._sent: Any = None

    def send_all(self, current: dict[str, Any], *, wait: bool) -> None:
        """Frames until the end; ``wait`` false: what there is."""
        self._status(current)
        pause, last, before = SOONEST, time.monotonic(), False
        while True:
            # The status first: when it says "ended", what is in the files after that is all there will be.
            changed = self._changed()
            if changed is not None:
                current = changed
            ended = current["state"] == "ended"
            sent = self._drain(last=ended or not wait)
            if ended or not wait:
                self._tell_deleted(current)
                self._status(status.known(self._run) if ended else current)
                return
            if changed is not None:
                self._status(current)
                sent = True
            now = time.monotonic()
            if sent:
                # A script that prints without end is looked at calmly: its processor time is not ours to take.
                pause, last = pause if before else SOONEST, now
            elif now - last >= HEARTBEAT:
                frame(b"H", 0, b"")
                last = now
                self._stamp = None  # look again whether the supervisor lives
            before = sent
            time.sleep(pause)
            pause = min(pause * 1.5, LATEST)

    def _drain(self, *, last: bool) -> bool:
        """Send all there is now, taking turns so that events are not late behind much output."""
        any_sent = False
        while True:
            sent = [tail.send(last=last) for tail in self._tails]
            any_sent = any_sent or any(sent)
            if not any(size >= CHUNK for size in sent):
                return any_sent

    def _tell_deleted(self, current: dict[str, Any]) -> None:
        """Nothing to read is one thing, what was there and was deleted another."""
        if self._wants_output and current["pid"] is not None and not os.path.exists(self._run.output):
            _notice("output.log was deleted on the machine; what was not read yet is lost")

    def _changed(self) -> dict[str, Any] | None:
        """The status when it is another than the one sent last."""
        try:
            found = os.stat(self._run.status)
            stamp = (found.st_ino, found.st_mtime_ns)
        except OSError:
            stamp = (0, 0)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        current = status.known(self._run)
        return None if _essence(current) == self._sent else current

    def _status(self, current: dict[str, Any]) -> None:
        self._sent = _essence(current)
        frame(b"S", 0, json.dumps(current, separators=(",", ":")).encode())


def _essence(current: dict[str, Any]) -> dict[str, Any]:
    return dict(current, output_bytes=0)


class Tail:
    """One growing file, sent from an offset on. ``E`` frames hold whole lines only."""

    def __init__(self, kind: bytes, path: str, offset: int) -> None:
        self._kind = kind
        self._path = path
        self._offset = offset
        self._fd = -1
        self._checked = 0.0

    def send(self, *, last: bool) -> int:
        """Send the next chunk; how many bytes were read: 0 for nothing new, ``CHUNK`` or more when more is waiting.

        ``last``: nobody looks again, so whether the file was cut or replaced is looked at whatever the clock says.
        """
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return 0
        data = os.pread(self._fd, CHUNK, self._offset)
        read = len(data)
        if self._kind == b"E":
            size = CHUNK
            while len(data) == size and b"\n" not in data:  # one very long line
                size *= 2
                data = os.pread(self._fd, size, self._offset)
            data = data[: data.rfind(b"\n") + 1]
        if not data:
            return CHUNK if self._replaced(last=last) else 0
        frame(self._kind, self._offset, data)
        self._offset += len(data)
        return read

    def _replaced(self, *, last: bool) -> bool:
        """Somebody truncated or replaced the file: say so and go on with what it holds now."""
        now = time.monotonic()
        if not last and now - self._checked < LATEST:
            return False
        self._checked = now
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        name = os.path.basename(self._path)
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            os.close(self._fd)
            self._fd = -1
            text = "%s was replaced on the machine; going on with the new file" % name
        elif there.st_size < self._offset:
            text = "%s was truncated on the machine; what was not read yet is lost" % name
        else:
            return False
        self._offset = 0
        _notice(text)
        return True


def _notice(text: str) -> None:
    from runctl.agent.journal import timestamp  # noqa: PLC0415 - only when something is odd

    event = {"v": 1, "kind": "notice", "ts": timestamp(), "level": "warning", "text": text}
    frame(b"N", 0, json.dumps(event, separators=(",", ":")).encode() + b"\n")


def frame(kind: bytes, offset: int, data: bytes) -> None:
    """Write one frame. A small one goes out in one write."""
    header = b"%s %d %d\n" % (kind, offset, len(data))
    if len(data) < 65536:
        wire.send(header + data)
    else:
        wire.send(header)
        wire.send(data)


def _widen_pipe() -> None:
    """A wider pipe to whoever reads: fewer switches between the two at full speed. Where it is refused, no harm."""
    if sys.platform != "linux":
        return
    import fcntl  # noqa: PLC0415 - not everywhere

    try:
        fcntl.fcntl(1, SET_PIPE_SIZE, CHUNK)
    except OSError:
        pass
