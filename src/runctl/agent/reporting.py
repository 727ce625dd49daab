"""What a run says, on its way to the store: output, events, status, and a sign of life."""

from __future__ import annotations

import json
import time

from runctl.agent.journal import timestamp
from runctl.agent.segments import Segments

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runctl.agent.home import RunFolder
    from runctl.agent.store import Store

EVERY = 1.0  # seconds between two writes of the same thing
HEARTBEAT_EVERY = 10.0
VOLATILE = ("output_bytes",)  # of a status: changes all the time, and the segments say it too


class Reporting:
    """Writes below ``runs/<run>/<attempt>/``.

    A status is written after the output and the events it speaks of: who reads one that says ``ended`` finds all.
    """

    def __init__(self, store: Store, attempt: str, run: RunFolder, progress: Callable[[int], Any]) -> None:
        """``progress`` is called whenever something arrived."""
        self._store, self._attempt, self._progress = store, attempt, progress
        self._output = Segments(store, attempt + "output/", run.output)
        self._events = Segments(store, attempt + "events/", run.events)
        self._wrote = {"output": 0.0, "events": 0.0}
        self._status: dict[str, Any] = {}
        self._beat: dict[str, Any] = {}
        self._beat_at = 0.0
        self._hurry = False

    @property
    def said_end(self) -> bool:
        """Whether the store has a status that says ``ended``, and so all the output."""
        return self._status.get("state") == "ended"

    def said(self, phase: str) -> bool:
        """Whether the store has a sign of life of that phase."""
        return self._beat.get("phase") == phase

    def hurry(self) -> None:
        """Write everything at once from now on."""
        self._hurry = True

    def report(self, status: Mapping[str, Any] | None, heartbeat: Mapping[str, Any]) -> None:
        """Write what has changed and is due. Raises ``AgentFailure``; safe to repeat.

        Args:
            status: as it was observed before this call; None before there is a run.
            heartbeat: what to say beside the time; written every ten seconds, and at once when it changes.
        """
        now = time.monotonic()
        ended = status is not None and status["state"] == "ended"
        at_once = ended or self._hurry
        self._grow("output", self._output, now, at_once=at_once)
        self._grow("events", self._events, now, at_once=at_once)
        if status is not None:
            told = {name: value for name, value in status.items() if name not in VOLATILE or ended}
            if told != self._status:
                self._put("status.json", dict(status))
                self._status = told
        if dict(heartbeat) != self._beat or now - self._beat_at >= HEARTBEAT_EVERY:
            self._put("heartbeat.json", {"v": 1, "at": timestamp(), **heartbeat})
            self._beat, self._beat_at = dict(heartbeat), now

    def _grow(self, name: str, segments: Segments, now: float, *, at_once: bool) -> None:
        if (at_once or now - self._wrote[name] >= EVERY) and segments.store():
            self._wrote[name] = now
            self._progress(0)

    def _put(self, name: str, value: dict[str, Any]) -> None:
        self._store.put(self._attempt + name, json.dumps(value, separators=(",", ":")).encode())
        self._progress(0)
