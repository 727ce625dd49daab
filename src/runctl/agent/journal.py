"""Appends events to a run's ``events.jsonl``, in the shape ``runctl.core.events`` reads."""

from __future__ import annotations

import json
import os
import threading
import time

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 1


def timestamp(seconds: float | None = None) -> str:
    """ISO 8601, UTC, milliseconds; of now unless ``seconds`` since the epoch are given."""
    seconds = time.time() if seconds is None else seconds
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return "%s.%03dZ" % (whole, int(seconds % 1 * 1000))


class Teller:
    """Makes events; where their lines go is its subclass's business."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._lock = threading.Lock()

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell one event; one that cannot be told is lost, nothing else is."""
        record = {"v": SCHEMA, "kind": kind, "ts": timestamp(), "run": self._run}
        record.update(fields)
        self._send(json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def _send(self, line: bytes) -> None:
        raise NotImplementedError


class Journal(Teller):
    """One writer's handle on ``events.jsonl``; each event is one ``write`` of one whole line (O_APPEND)."""

    def __init__(self, path: str, run: str) -> None:
        super().__init__(run)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _send(self, line: bytes) -> None:
        with self._lock:
            try:
                os.write(self._fd, line)
            except OSError:
                pass  # a full disk loses the event, not the run

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
