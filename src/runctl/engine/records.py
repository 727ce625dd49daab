"""Keeps what happened to a run: this machine's events as they come, a copy of the machine's own, and step timings.

The recorder never stands in the way: when the disk is full it says so once and the run goes on without a record.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.engine.folders import write_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from runctl.core.clock import Clock
    from runctl.core.events import Emit, Event
    from runctl.engine.folders import RunFolder

HERE, MACHINE = "here", "machine"
RECEIPT = b'"run.receipt"'
_STAMP = ("v", "kind", "ts", "run")


class StepTime(NamedTuple):
    """How long one step of a run took. ``where`` is ``here`` or ``machine``; ``ended_at`` ISO 8601, UTC."""

    run: str
    step: str
    where: str
    seconds: float
    ok: bool
    skipped: bool
    ended_at: str


def timestamp(moment: datetime) -> str:
    """The form of every time in a record: ISO 8601, UTC, milliseconds, ``Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Recorder:
    """An ``Emit`` that writes every event to the run's folder before it passes it on. Safe from several threads.

    Until ``begin`` it writes nothing. The script's output is not
    recorded here; it stays whole in ``output.log``.
    """

    def __init__(self, emit: Emit, *, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        self._lock = threading.Lock()
        self._folder: RunFolder | None = None
        self._run = ""
        self._attempt = 1
        self._fd = -1
        self._broken = False

    def __call__(self, event: Event) -> None:
        """Record ``event`` and pass it on. Raises only what the listener raises."""
        from runctl.core.events import Output  # noqa: PLC0415 - a list of runs does without events

        if not isinstance(event, Output):
            with self._lock:
                self._write([(timestamp(self._clock.now()), event)])
        self._emit(event)

    def begin(self, folder: RunFolder, run_id: str, *, attempt: int = 1, told: Sequence[Event] = ()) -> None:
        """Write from now on; first what was ``told`` (each with its own time) before there was a run."""
        with self._lock:
            self._run, self._attempt, self._folder = run_id, attempt, folder
            self._write([(event.ts, event) for event in told])

    def machine(self, offset: int, lines: bytes) -> None:
        """Keep the machine's event lines that stand at ``offset`` of its file. They are not passed on.

        The copy has every byte at the place it has there, so that any number of clients, again and again, may
        write what they read: nothing doubles and nothing is lost.
        """
        with self._lock:
            if self._folder is None or self._broken:
                return
            try:
                fd = os.open(
                    self._folder.machine_events(self._attempt), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                try:
                    write_all(fd, lines, offset)
                finally:
                    os.close(fd)
            except OSError as error:
                self._give_up(error)

    def machine_offset(self) -> int:
        """Where to go on asking for the machine's events: the end of the last whole line of the copy."""
        return 0 if self._folder is None else copied(self._folder.machine_events(self._attempt))

    def close(self) -> None:
        """Close the file. Safe to repeat; a later event opens it again."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _write(self, events: list[tuple[str, Event]]) -> None:
        from runctl.core.events import to_json  # noqa: PLC0415 - as above

        if self._broken or self._folder is None:
            return
        lines = [json.dumps(to_json(event, ts=ts, run=self._run), default=str) + "\n" for ts, event in events]
        try:
            if self._fd < 0:
                self._fd = _open_lines(self._folder.events)
            write_all(self._fd, "".join(lines).encode())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        from runctl.core.events import Notice  # noqa: PLC0415 - as above

        self._broken = True
        path = "" if self._folder is None else self._folder.path
        self._emit(
            Notice("warning", f"events are no longer recorded in {path}: {error.strerror}; the run goes on")
        )


def _open_lines(path: Path) -> int:
    """Open for whole lines at the end; a torn last line (a killed client, a full disk) is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"\n")
    return fd


def copied(path: Path) -> int:
    """How many bytes of the machine's events are here for sure: whole lines, before any hole a power cut left."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    hole = data.find(b"\0")
    return data.rfind(b"\n", 0, hole if hole >= 0 else len(data)) + 1


def recorded_events(folder: RunFolder) -> list[dict[str, Any]]:
    """Every event of a run, here and on its machine, in the order of their time. Torn lines are left out."""
    found = [event for path, _ in _files(folder) for event in _lines(path)]
    return sorted(found, key=lambda event: str(event.get("ts", "")))


def recorded_receipt(folder: RunFolder, attempt: int) -> dict[str, Any] | None:
    """What the attempt's machine said that it ran (``core.events.RunReceipt``), as far as that was copied here."""
    return newest_receipt(_lines(folder.machine_events(attempt), only=RECEIPT))


def newest_receipt(events: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The last receipt among events. Pure."""
    found = [dict(event) for event in events if event.get("kind") == "run.receipt"]
    return {name: value for name, value in found[-1].items() if name not in _STAMP} if found else None


def recorded_steps(folder: RunFolder, run_id: str) -> list[StepTime]:
    """The step timings in a run's recorded events: what ``Index.add_steps`` wants, any number of times."""
    steps = []
    for path, side in _files(folder):
        where: dict[str, str] = {}
        for event in _lines(path, only=b'"step.'):
            kind, step = event.get("kind"), str(event.get("step"))
            if kind == "step.started":
                where[step] = str(event.get("where") or side)
            elif kind in ("step.finished", "step.failed") and isinstance(event.get("seconds"), int | float):
                steps.append(
                    StepTime(
                        run=run_id,
                        step=step,
                        where=where.get(step, side),
                        seconds=float(event["seconds"]),
                        ok=kind == "step.finished",
                        skipped=bool(event.get("skipped")),
                        ended_at=str(event.get("ts", "")),
                    )
                )
    return sorted(steps, key=lambda step: step.ended_at)


def _files(folder: RunFolder) -> list[tuple[Path, str]]:
    return [
        (folder.events, HERE),
        *((path, MACHINE) for path in sorted(folder.path.glob("machine-events-*.jsonl"))),
    ]


def _lines(path: Path, *, only: bytes = b"") -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.splitlines():
        if only in line:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
