"""The values everything else speaks in. Immutable; no input or output; money is Decimal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import PurePosixPath


class DepsMode(StrEnum):
    """What the script waits for."""

    WAIT = "wait"  # start when the environment is complete
    BACKGROUND = "background"  # start at once; an import waits for its package
    SKIP = "skip"  # install nothing; use the machine's own Python


class RunState(StrEnum):
    """Where a run stands. ``ended`` is terminal and then there is an outcome."""

    PENDING = "pending"  # recorded by the client, not yet seen by the agent
    PREPARING = "preparing"  # the agent assembles code and environment
    RUNNING = "running"  # the script is running
    ENDED = "ended"
    LOST = "lost"  # the machine or its agent does not answer, or has no such run


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, order=True)
class ProjectPath:
    """A path relative to the project root, POSIX separators, never absolute, never with ``..``.

    Because it can only be built relative to the root, ``training/train.py`` can never lose its folder.
    Names that are not UTF-8 are kept with ``surrogateescape``, as the operating system interface of Python does.
    """

    value: str

    def __post_init__(self) -> None:
        parts = self.value.split("/")
        if not self.value or self.value.startswith("/") or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"not a project-relative path: {self.value!r}")

    def __str__(self) -> str:
        return self.value

    @property
    def name(self) -> str:
        """The last component."""
        return self.value.rpartition("/")[2]

    def under(self, base: PurePosixPath) -> PurePosixPath:
        """Where this path is below ``base`` on a machine."""
        return base / self.value


@dataclass(frozen=True)
class Secret:
    """A value that refuses to be printed, joined or logged; ``reveal()`` is the one way out, and can be grepped."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """The value itself, for the one call that needs it."""
        return self._value

    def __str__(self) -> str:
        raise TypeError("a secret is not text; call reveal() where it is needed")

    def __format__(self, spec: str) -> str:
        raise TypeError("a secret is not text; call reveal() where it is needed")


@dataclass(frozen=True)
class Resources:
    """What the run needs from a machine; ``None`` and empty mean no wish.

    ``spot`` wants the cheaper market; ``fallback`` allows the dearer one when the first has nothing.
    """

    gpu: str | None = None  # its name as one says it, A10G
    gpus: int = 1  # how many of them, where ``gpu`` is named
    cpus: int | None = None
    memory_gb: float | None = None
    disk_gb: float | None = None
    machine_type: str | None = None
    machine: str = ""  # one that exists, by its id
    spot: bool = False
    fallback: bool = True
    regions: tuple[str, ...] = ()
    image: str = ""
    environment: str = ""  # the digest of what is to be installed: an image that has it is preferred
    cache_volume: str = ""  # the name of the volume that keeps caches from machine to machine; empty: none
    cache_gb: int = 0  # its size where it has to be made


@dataclass(frozen=True)
class Limits:
    """What the run may use at most. ``grace_seconds`` is the time between TERM and KILL."""

    max_hours: float | None = None
    grace_seconds: float = 30.0


@dataclass(frozen=True)
class RunSpec:
    """One request of the user, complete: everything ``plan`` needs and nothing it has to guess."""

    script: ProjectPath
    args: tuple[str, ...] = ()
    target: str = "local"
    keep: bool = False  # the machine outlives the run
    data: tuple[str, ...] = ()  # addresses to bring to the machine
    output: str = ""  # where what the script leaves is copied; empty: it stays with the run
    deps: DepsMode = DepsMode.WAIT
    image: str = ""  # of a container to run in; empty: on the machine itself
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    resume: str | None = None  # a run (name or id) or a checkpoint path on the machine
    share: bool = False
    detach: bool = False


@dataclass(frozen=True)
class Offer:
    """A machine one could have: its type, where, at what price an hour, spot or not.

    What it has (``cpus``, ``memory_gb``, ``gpu`` and how many) is zero or empty where the provider does not tell.
    ``price_source`` says where the price is from and of when: a plan never shows an old price as today's.
    """

    provider: str
    machine_type: str
    region: str = ""
    price_per_hour: Decimal = Decimal(0)
    currency: str = "USD"
    spot: bool = False
    zone: str = ""
    cpus: int = 0
    memory_gb: float = 0.0
    gpu: str = ""
    gpus: int = 0
    arch: str = ""  # x86_64, arm64
    price_source: str = ""
    image: str = ""  # what it boots from, as its provider names it
    machine: str = ""  # the id of the machine where it exists already: nothing is bought
    baked: str = ""  # the key of the environment that its image has in it


@dataclass(frozen=True)
class Held:
    """Something of ours that is billed by its size: ``kind`` is ``image``, ``volume`` or ``snapshot``; ``gb`` of a disk.

    ``price_per_month`` is None where nobody here knows it; an image's is that of its snapshots, which hold fewer bytes.
    """

    kind: str
    provider: str
    id: str
    name: str
    place: str
    state: str
    gb: int
    machine: str = ""  # where it is attached
    price_per_month: Decimal | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; money is text."""
        price = self.price_per_month
        return asdict(self) | {"price_per_month": None if price is None else str(price)}


@dataclass(frozen=True)
class CacheVolume:
    """The volume that keeps caches, as a run finds it in ``zone``: there, a copy of a snapshot, new, or not to be had.

    ``busy`` names the machine that has it; then ``volume`` is not taken from it. ``price_per_month`` is for its size.
    """

    name: str
    zone: str
    gb: int
    volume: str = ""  # empty: it has to be made
    snapshot: str = ""  # what it is made of; empty: of nothing
    busy: str = ""
    device: str = ""  # what it was attached as
    price_per_month: Decimal | None = None

    @property
    def kept(self) -> bool:
        """Whether it is there and free."""
        return bool(self.volume) and not self.busy

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; money is text."""
        price = self.price_per_month
        return asdict(self) | {"price_per_month": None if price is None else str(price)}


@dataclass(frozen=True)
class Endpoint:
    """How to reach a machine, as a value: ``transport`` names the adapter, ``address`` is its business."""

    transport: str
    address: str = ""
    python: str = "python3"  # the interpreter that runs the agent
    home: str = ""  # $RUNCTL_HOME there; empty means ~/.runctl


@dataclass(frozen=True)
class Purchase:
    """What a provider has to know to lease a machine for one attempt of a run.

    ``run_id`` and ``attempt`` name the purchase: repeating it returns the same machine. ``user_data`` is run by the
    machine at its first boot. ``expires_at`` is when it ends itself if nobody has renewed it; ``keep``: a machine
    that outlives its run, until it is released.
    """

    run_id: str
    attempt: int = 1
    name: str = ""  # for people
    user_data: bytes = b""
    disk_gb: float | None = None
    expires_at: datetime | None = None
    project: str = ""
    owner: str = ""
    keep: bool = False


@dataclass(frozen=True)
class Machine:
    """Something we can reach, leased for a run.

    ``state`` is the provider's own word where it has one (``running``, ``stopped``); ``notes`` are facts of the
    provider that a listing may show, such as why a machine ended.
    """

    id: str
    provider: str
    endpoint: Endpoint
    offer: Offer
    run_id: str = ""
    expires_at: datetime | None = None
    state: str = "running"
    started_at: datetime | None = None
    name: str = ""
    project: str = ""
    owner: str = ""
    attempt: int = 1
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A complete saved training state, as a format recognised it. Sizes in bytes."""

    path: str
    format: str
    size: int
    modified: float  # seconds since the epoch, the machine's clock
    step: int | None = None
    epoch: int | None = None
    tensors: int | None = None


@dataclass(frozen=True)
class Run:
    """One request of the user and what became of it; the record every listing shows."""

    id: str
    name: str
    state: RunState
    created_at: str  # ISO 8601, UTC
    machine: str = ""
    provider: str = ""
    endpoint: Endpoint = field(default_factory=lambda: Endpoint("local"))
    project: str = ""
    script: str = ""
    args: tuple[str, ...] = ()
    outcome: Outcome | None = None
    exit_code: int | None = None
    signal: str | None = None
    reason: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    attempt: int = 1
    price_per_hour: str = "0"
    code: str = ""  # digest of the code tree
    env_key: str = ""
    store: str = ""  # URL of the store that remembers the run; empty: its machine alone does
    machines: tuple[Mapping[str, Any], ...] = ()  # what was leased for it, as ``engine.cost`` reads it
    error: Mapping[str, Any] | None = (
        None  # the agent's {"code", "facts"} when it was not the script that failed
    )

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values; the shape ``runctl runs --json`` documents."""
        return {
            "name": self.name,
            "id": self.id,
            "state": str(self.state),
            "outcome": None if self.outcome is None else str(self.outcome),
            "exit_code": self.exit_code,
            "signal": self.signal,
            "reason": self.reason,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "attempt": self.attempt,
            "project": self.project,
            "script": self.script,
            "args": list(self.args),
            "machine": self.machine,
            "provider": self.provider,
            "transport": self.endpoint.transport,
            "address": self.endpoint.address,
            "python": self.endpoint.python,
            "home": self.endpoint.home,
            "price_per_hour": self.price_per_hour,
            "code": self.code,
            "env_key": self.env_key,
            "store": self.store,
            "machines": [dict(each) for each in self.machines],
            "error": None if self.error is None else dict(self.error),
        }


def run_from_json(record: Mapping[str, Any]) -> Run:
    """The inverse of ``Run.to_json``; raises ``record-unreadable`` for a record it cannot understand."""
    try:
        return Run(
            id=record["id"],
            name=record["name"],
            state=RunState(record["state"]),
            created_at=record["created_at"],
            machine=record["machine"],
            provider=record["provider"],
            endpoint=Endpoint(record["transport"], record["address"], record["python"], record["home"]),
            project=record["project"],
            script=record["script"],
            args=tuple(record["args"]),
            outcome=None if record["outcome"] is None else Outcome(record["outcome"]),
            exit_code=record["exit_code"],
            signal=record["signal"],
            reason=record["reason"],
            started_at=record["started_at"],
            ended_at=record["ended_at"],
            attempt=record["attempt"],
            price_per_hour=record["price_per_hour"],
            code=record["code"],
            env_key=record["env_key"],
            store=record.get("store", ""),
            machines=tuple(record.get("machines", ())),
            error=record.get("error"),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise known("record-unreadable", run=record.get("name", "?"), detail=repr(error)) from error
