"""Structured logs: one JSON object a line with level and timing; and the view that feeds several views."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from runctl.core import events
from runctl.core.catalogue import known
from runctl.views import text
from runctl.views.base import name_in
from runctl.views.errors import in_words
from runctl.views.streams import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runctl.core.errors import RunctlError
    from runctl.views.base import View

LEVELS = ("debug", "info", "warning", "error")
_DEBUG = (events.StepProgress, events.InstallerOutput, events.Output, events.Unknown)


def level_of(event: events.Event) -> str:
    """How much an event matters: progress and raw output are ``debug``, failures ``error``, the rest ``info``."""
    match event:
        case events.Notice(level=level):
            return {"warning": "warning", "detail": "debug"}.get(level, "info")
        case events.Failed() | events.StepFailed():
            return "error"
    return "debug" if isinstance(event, _DEBUG) else "info"


def record_of(event: events.Event) -> dict[str, Any]:
    """An event's fields as a log keeps them: seconds as ``dur_ms``, output only as its place and length."""
    match event:
        case events.Output(offset=offset, data=data):
            return {"offset": offset, "bytes": len(data)}
        case events.Unknown(raw=raw):
            return {"raw": raw}
        case events.Failed(error=error):
            return {"error": in_words(error)}
    record = {field.name: getattr(event, field.name) for field in fields(event)}
    for own in ("ts", "level"):  # stand in the log's own fields
        record.pop(own, None)
    if "seconds" in record:
        record["dur_ms"] = round(record.pop("seconds") * 1000)
    return record


class LogFile:
    """Appends events to a file only its owner can read. A full disk loses log lines, never the run.

    Args:
        path: created with its folders when missing; appended to otherwise.
        level: the least level that is kept.
        now: seconds since the epoch, for ``ts``.

    Raises:
        UsageError: ``log-unwritable``.
    """

    def __init__(self, path: Path, *, level: str = "info", now: Callable[[], float] = time.time) -> None:
        self.run = ""
        self._now = now
        self._least = LEVELS.index(level)
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise known("log-unwritable", path=str(path), detail=error.strerror or repr(error)) from error

    def emit(self, event: events.Event) -> None:
        """Append one event."""
        if isinstance(event, events.RunPlanned):
            self.run = name_in(event.plan) or self.run
        kind = event.raw.get("kind", event.kind) if isinstance(event, events.Unknown) else event.kind
        self._append(level_of(event), str(kind), lambda: record_of(event), ts=event.ts)

    def error(self, error: RunctlError, *, traceback: str | None) -> None:
        """Append why the command ends; its traceback, where there is one, as a line of level ``debug``."""
        self._append("error", events.Failed.kind, lambda: {"error": error.to_json()})
        if traceback:
            self._append("debug", "traceback", lambda: {"code": error.code, "text": traceback})

    def settle(self) -> None:
        """Nothing is drawn live."""

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def _append(self, level: str, event: str, more: Callable[[], dict[str, Any]], *, ts: str = "") -> None:
        if LEVELS.index(level) < self._least:
            return
        record = {
            "ts": ts or text.timestamp(self._now()),
            "level": level,
            "event": event,
            "run": self.run,
            **more(),
        }
        line = json.dumps(record, separators=(",", ":"), default=str).encode() + b"\n"
        with self._lock, suppress(OSError):
            if self._fd >= 0:
                write_all(self._fd, line)


class Tee:
    """Feeds several views. One that raises does not keep an event from the others; what it raised follows."""

    def __init__(self, *views: View) -> None:
        self._views: Sequence[View] = views

    @property
    def run(self) -> str:
        """The name of the run, as the first view knows it."""
        return self._views[0].run

    @run.setter
    def run(self, name: str) -> None:
        for view in self._views:
            view.run = name

    def emit(self, event: events.Event) -> None:
        """Hand on one event."""
        self._each(lambda view: view.emit(event))

    def error(self, error: RunctlError, *, traceback: str | None) -> None:
        """Hand on why the command ends."""
        self._each(lambda view: view.error(error, traceback=traceback))

    def settle(self) -> None:
        """Let what is drawn stand."""
        self._each(lambda view: view.settle())

    def close(self) -> None:
        """Close them all. Safe to repeat."""
        self._each(lambda view: view.close())

    def _each(self, call: Callable[[View], None]) -> None:
        failure: OSError | None = None
        for view in self._views:
            try:
                call(view)
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure
