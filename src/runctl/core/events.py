"""What happens, as values. The engine emits them, views show them, the agent writes the same lines on its side.

One JSON object per event, schema version ``SCHEMA``::

    {"v": 1, "kind": "step.progress", "ts": "2026-11-23T18:00:00.123Z", "run": "brave-otter-7k2m", ...fields}

The agent writes lines of this very shape into ``events.jsonl`` (it imports nothing of this module; the shape is
the contract, held by a test). An unknown kind from a newer agent decodes to ``Unknown`` and is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1


@dataclass(frozen=True)
class Event:
    """Base of all events. ``ts`` is when it happened (ISO 8601, UTC); empty: now, as whoever shows it reads the clock.

    The events of a machine carry their own time, so that a run attached to later shows when things were, and ``end``:
    where their line ends in its ``events.jsonl``, -1 for what happened on this side. No line has it in itself.
    """

    kind: ClassVar[str] = ""
    ts: str = field(default="", kw_only=True)
    end: int = field(default=-1, kw_only=True, repr=False, compare=False)


@dataclass(frozen=True)
class StepStarted(Event):
    """A named stretch of apply began. ``where`` is ``here`` (the client) or ``machine``."""

    kind = "step.started"
    step: str
    title: str
    where: str = "here"


@dataclass(frozen=True)
class StepProgress(Event):
    """How far a step is. ``total`` is None when nobody honestly knows. ``unit``: bytes, files, packages."""

    kind = "step.progress"
    step: str
    done: int
    total: int | None = None
    unit: str = "bytes"
    item: str = ""  # what it is working on right now


@dataclass(frozen=True)
class StepFinished(Event):
    """A step ended well. ``skipped``: nothing had to be done (a cached environment, an unchanged tree).

    ``warned``: it ended well, and ``summary`` is something somebody should look at.
    """

    kind = "step.finished"
    step: str
    seconds: float
    summary: str = ""
    skipped: bool = False
    warned: bool = False


@dataclass(frozen=True)
class StepFailed(Event):
    """A step failed; the error itself follows as ``Failed`` or is raised."""

    kind = "step.failed"
    step: str
    seconds: float
    code: str
    what: str


@dataclass(frozen=True)
class Notice(Event):
    """Something the user should read. ``level``: info or warning; ``detail`` is for --verbose alone."""

    kind = "notice"
    level: str
    text: str


@dataclass(frozen=True)
class CommandRun(Event):
    """A command that was executed, for ``--verbose``; ``where`` is ``here`` or ``machine``; argv carries no secret."""

    kind = "command"
    argv: tuple[str, ...]
    where: str
    seconds: float
    exit_code: int | None


@dataclass(frozen=True)
class InstallerOutput(Event):
    """A raw line of the installer (uv, pip), for ``--verbose`` and for the record."""

    kind = "installer.output"
    step: str
    text: str


@dataclass(frozen=True)
class RunPlanned(Event):
    """The plan, complete, as ``Plan.to_json`` gives it."""

    kind = "run.planned"
    plan: dict[str, Any]


@dataclass(frozen=True)
class RunChanged(Event):
    """The run's state changed; ``pid`` is the script's, once there is one."""

    kind = "run.changed"
    state: str
    pid: int | None = None


@dataclass(frozen=True)
class RunReceipt(Event):
    """What the script was started with, as its machine saw it. Names of variables, never their values.

    ``code``: digest of the tree, which the machine compared; ``environment``: key, request digest, Python, packages,
    platform, installer, or None where there is none (yet: with ``--deps background`` a second receipt has it);
    ``machine``: hostname, platform, kernel, cpus, memory in bytes; ``data``: the addresses that were brought.
    """

    kind = "run.receipt"
    attempt: int
    code: str
    files: int
    command: tuple[str, ...]
    environment: dict[str, Any] | None
    machine: dict[str, Any]
    variables: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    resumed_from: str = ""


@dataclass(frozen=True)
class Output(Event):
    """A chunk of the script's own output: bytes ``[offset, offset+len(data))`` of ``output.log``, untouched."""

    kind = "output"
    offset: int
    data: bytes


@dataclass(frozen=True)
class CheckpointSeen(Event):
    """A complete checkpoint appeared. Size in bytes."""

    kind = "checkpoint"
    path: str
    format: str
    size: int
    step: int | None = None


@dataclass(frozen=True)
class CheckpointStored(Event):
    """A checkpoint is in the store, whole: it outlives the machine."""

    kind = "checkpoint.stored"
    path: str
    size: int
    step: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class RunEnded(Event):
    """The run ended. ``killed`` lists ``{"pid", "command"}`` of processes that had to be ended with it."""

    kind = "run.ended"
    outcome: str
    exit_code: int | None
    signal: str | None = None
    reason: str = ""
    seconds: float = 0.0
    killed: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class RunCost(Event):
    """What the run has cost so far, as text in ``currency``; ``machines`` as ``engine.cost`` describes them."""

    kind = "run.cost"
    cost: str
    currency: str = "USD"
    machines: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Failed(Event):
    """An error, as ``RunctlError.to_json`` gives it."""

    kind = "error"
    error: dict[str, Any]


@dataclass(frozen=True)
class Unknown(Event):
    """A kind this version does not know, kept whole."""

    kind = "unknown"
    raw: dict[str, Any]


class Position(NamedTuple):
    """How far somebody has seen a run: its attempt, and bytes of that attempt's output and of its machine's events."""

    attempt: int = 1
    output: int = 0
    events: int = 0

    def after(self, event: Event) -> Position:
        """The position of who has seen ``event``, too."""
        if isinstance(event, Output):
            return self._replace(output=event.offset + len(event.data))
        return self._replace(events=max(self.events, event.end))


Emit = Callable[[Event], None]

KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        StepStarted,
        StepProgress,
        StepFinished,
        StepFailed,
        Notice,
        CommandRun,
        InstallerOutput,
        RunPlanned,
        RunChanged,
        RunReceipt,
        Output,
        CheckpointSeen,
        CheckpointStored,
        RunEnded,
        RunCost,
        Failed,
    )
}


def to_json(event: Event, *, ts: str, run: str = "") -> dict[str, Any]:
    """The event as plain JSON values, stamped with its own time, or ``ts`` where it has none.

    Output that is valid UTF-8 travels as ``text``, anything else as ``base64``.
    """
    if isinstance(event, Unknown):
        return event.raw
    stamp = {"v": SCHEMA, "kind": event.kind, "ts": event.ts or ts, "run": run}
    record: dict[str, Any] = dict(stamp)
    if isinstance(event, Output):
        record["offset"] = event.offset
        try:
            record["text"] = event.data.decode()
        except UnicodeDecodeError:
            import base64  # noqa: PLC0415 - only for output that is not text

            record["base64"] = base64.b64encode(event.data).decode()
        return record
    fields_of = asdict(event)
    del fields_of["end"]
    return record | fields_of | stamp


def from_json(record: Mapping[str, Any]) -> Event:
    """The inverse of ``to_json``. Fields a newer writer added are dropped; a kind it added becomes ``Unknown``."""
    kind = KINDS.get(record.get("kind", ""))
    if kind is None:
        return Unknown(dict(record))
    if kind is Output:
        if "text" in record:
            return Output(record["offset"], record["text"].encode(), ts=record.get("ts", ""))
        import base64  # noqa: PLC0415

        return Output(record["offset"], base64.b64decode(record["base64"]), ts=record.get("ts", ""))
    names = {each.name for each in fields(kind)} - {"end"}
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in record.items() if key in names
    }
    make: Callable[..., Event] = kind
    try:
        return make(**values)
    except TypeError:
        return Unknown(dict(record))
