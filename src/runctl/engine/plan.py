"""What apply will do, as a value: the plan and its parts. Making one writes nothing, here or on the machine.

``plan_lines`` says it to people and ``plan_json`` to programs; ``request`` is what the machine's agent is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runctl.core.events import Event
    from runctl.core.model import CacheVolume, DepsMode, Offer, RunSpec
    from runctl.engine.stored_environments import StoredEnvironment
    from runctl.project.snapshot import Snapshot

ENVIRONMENT = "ENVIRONMENT"  # stands for the folder of an environment that only its machine can name


@dataclass(frozen=True)
class LeftOut:
    """A path that does not travel, and the rule that says so."""

    path: str
    rule: str


@dataclass(frozen=True)
class CodePlan:
    """The files that travel. Sizes in bytes. ``missing`` are the digests the other side lacks, ``sends`` their paths."""

    root: Path
    why_root: str
    snapshot: Snapshot
    missing: tuple[str, ...]
    sends: tuple[tuple[str, int], ...]
    left_out: tuple[LeftOut, ...] = ()
    secrets: tuple[str, ...] = ()
    project_name: str = ""

    @property
    def send_bytes(self) -> int:
        """Bytes that will be sent: each content once."""
        sizes = {entry["digest"]: entry["size"] for entry in self.snapshot.entries if entry["type"] == "file"}
        return sum(sizes[digest] for digest in self.missing)


@dataclass(frozen=True)
class EnvironmentPlan:
    """The environment of the script: how it is named, whether it is there, and what would be run to build it.

    A machine that has still to be bought names it itself; ``key`` is empty until then.
    """

    request: Mapping[str, Any] | None
    why: str
    mode: DepsMode
    key: str = ""
    cached: bool = False
    installer: str = ""
    python: str = ""
    commands: tuple[tuple[str, ...], ...] = ()
    stored: tuple[
        StoredEnvironment, ...
    ] = ()  # what the store has of it, for whichever Python the machine turns out to have


@dataclass(frozen=True)
class Plan:
    """Everything apply will do, decided."""

    run_id: str
    name: str
    spec: RunSpec
    offers: tuple[Offer, ...]  # in the order they are tried
    exclusive: bool
    machine: Mapping[
        str, Any
    ]  # the agent's Facts; of a machine that is still to be bought, what is known before
    code: CodePlan
    environment: EnvironmentPlan
    store: str = ""  # URL of what carries code, output and checkpoints; empty: they go through the transport
    buys: bool = False  # the machine is not there yet
    attempt: int = 1
    variables: Mapping[str, str] = field(repr=False, default_factory=dict)
    secret_variables: tuple[str, ...] = ()  # names among them whose values are never written anywhere
    resume_from: str | Mapping[str, str] | None = None  # a path on the machine, or {"store": key}
    caches: tuple[CacheVolume, ...] = ()  # the cache volume in each zone of the offers, in their order
    warnings: tuple[str, ...] = ()
    actions: tuple[
        tuple[str, tuple[str, ...]], ...
    ] = ()  # what for, and the calls of the provider's API it takes
    told: tuple[Event, ...] = field(repr=False, default=())  # what happened while it was made, for the record

    @property
    def offer(self) -> Offer:
        """The one that is tried first."""
        return self.offers[0]

    @property
    def home(self) -> str:
        """$RUNCTL_HOME on the machine."""
        return str(self.machine["home"])

    @property
    def command(self) -> tuple[str, ...]:
        """The training's own command: the environment's interpreter, or the machine's own where none is installed."""
        python = str(self.machine.get("script_python", "python3"))
        if self.spec.image:
            python = "python3"  # the image's
        elif self.environment.key:
            python = f"{self.home}/envs/{self.environment.key}/bin/python"
        elif self.environment.request is not None:
            python = f"{self.home}/envs/{ENVIRONMENT}/bin/python"
        script = str(self.spec.script)
        return (python, "./" + script if script.startswith("-") else script, *self.spec.args)

    def request(self) -> dict[str, Any]:
        """The ``RunRequest`` the agent is launched with."""
        return {
            "v": 1,
            "run": self.run_id,
            "name": self.name,
            "attempt": self.attempt,
            "tree": list(self.code.snapshot.entries),
            "tree_digest": self.code.snapshot.digest,
            "script": str(self.spec.script),
            "args": list(self.spec.args),
            "env": dict(self.variables),
            "secret_env": list(self.secret_variables),
            "environment": None if self.environment.request is None else dict(self.environment.request),
            "deps": str(self.environment.mode),
            "image": self.spec.image or None,
            "max_hours": self.spec.limits.max_hours,
            "grace": self.spec.limits.grace_seconds,
            "exclusive": self.exclusive,
            "resume_from": self.resume_from,
            "data": [{"from": address, "to": data_name(address)} for address in self.spec.data],
            "output": self.spec.output or None,
            "cache_volume": self.spec.resources.cache_volume,
        }


def data_name(address: str) -> str:
    """What data is called below RUNCTL_DATA_DIR: the last part of its address. Pure."""
    return address.rstrip("/").rpartition("/")[2] or "data"


def what_is_sent(entries: Sequence[Mapping[str, Any]], missing: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The paths whose content travels, each content under its first path, with sizes in bytes; largest first."""
    lacking = set(missing)
    sends: dict[str, tuple[str, int]] = {}
    for entry in entries:
        if entry["type"] == "file" and entry["digest"] in lacking:
            sends.setdefault(entry["digest"], (entry["path"], entry["size"]))
    return tuple(sorted(sends.values(), key=lambda item: (-item[1], item[0])))
