"""Bytes in and out of a command: one request line, then raw input; one reply line, or frames."""

from __future__ import annotations

import json
import os

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

CHUNK = 1 << 20  # bytes a read asks for
REQUEST_LIMIT = 256 << 20  # bytes; a tree of a million files is about 150 MB


class Input:
    """Stdin, buffered here and nowhere else, so that a line can be followed by raw bytes."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._buffer = b""

    def line(self, limit: int) -> bytes:
        """The next line without its newline; empty at the end of input.

        Raises:
            AgentFailure: ``agent-request`` when the line is longer than ``limit`` bytes.
        """
        parts = []
        length = 0
        while True:
            head, newline, rest = self._buffer.partition(b"\n")
            parts.append(head)
            length += len(head)
            if length > limit:
                raise AgentFailure("agent-request", detail="a line of more than %d bytes" % limit)
            if newline:
                self._buffer = rest
                return b"".join(parts)
            self._buffer = os.read(self._fd, CHUNK)
            if not self._buffer:
                return b"".join(parts)

    def some(self, limit: int) -> bytes:
        """At least one byte and at most ``limit``; empty at the end of input."""
        if not self._buffer:
            return os.read(self._fd, min(limit, CHUNK))
        head, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return head


def request(source: Input) -> dict[str, Any]:
    """The command's request.

    Raises:
        AgentFailure: ``agent-request`` when it is not one JSON object on one line.
    """
    line = source.line(REQUEST_LIMIT)
    try:
        value = json.loads(line)
    except ValueError as error:
        raise AgentFailure("agent-request", detail="not JSON: %s" % error) from error
    if not isinstance(value, dict):
        raise AgentFailure("agent-request", detail="not an object")
    return value


def field(value: dict[str, Any], name: str, kind: Any) -> Any:
    """``value[name]``, which must be of ``kind`` (a type or a tuple of types; a bool is never a number).

    Raises:
        AgentFailure: ``agent-request`` when it is missing or of another type.
    """
    found = value.get(name)
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise AgentFailure("agent-request", detail="%s is %r" % (name, found))
    return found


def send(data: bytes, fd: int = 1) -> None:
    """Write all of ``data``; raises ``BrokenPipeError`` when nobody reads any more."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def reply(value: dict[str, Any]) -> None:
    """Answer with one JSON object on one line."""
    send(json.dumps(value, separators=(",", ":")).encode() + b"\n")
