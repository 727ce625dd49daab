"""Decide what apply will do. A plan is a value; making one writes nothing, here or on the machine.

``make`` asks the project, the provider and (where the machine exists already) its agent, and puts the answers into a
``Plan``; ``lines`` and ``to_json`` say it to people and to programs. Apply does these lines and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runctl.core.model import DepsMode
from runctl.core.quantities import count, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runctl.core.events import Event
    from runctl.core.model import Offer, RunSpec
    from runctl.project.snapshot import Snapshot


@dataclass(frozen=True)
class PlanLine:
    """One thing apply does or that matters to it.

    ``symbol``: ``+`` create or write, ``>`` send, ``=`` reuse, ``%`` command, ``$`` price, ``-`` left out, ``!`` warning.
    """

    symbol: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A path that does not travel, and the rule that says so."""

    path: str
    rule: str


@dataclass(frozen=True)
class CodePlan:
    """The files that travel. Sizes in bytes. ``missing`` are the digests the machine lacks, ``sends`` their paths."""

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
    """The environment of the script: how it is named, whether it is there, and what would be run to build it."""

    request: Mapping[str, Any] | None
    why: str
    mode: DepsMode
    key: str = ""
    cached: bool = False
    installer: str = ""
    python: str = ""
    commands: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything apply will do, decided."""

    run_id: str
    name: str
    spec: RunSpec
    offer: Offer
    exclusive: bool
    machine: Mapping[str, Any]  # the agent's Facts
    code: CodePlan
    environment: EnvironmentPlan
    variables: Mapping[str, str] = field(repr=False, default_factory=dict)
    secret_variables: tuple[str, ...] = ()  # names among them whose values are never written anywhere
    resume_from: str | None = None
    warnings: tuple[str, ...] = ()
    told: tuple[Event, ...] = field(repr=False, default=())  # what happened while it was made, for the record

    @property
    def home(self) -> str:
        """$RUNCTL_HOME on the machine."""
        return str(self.machine["home"])

    @property
    def command(self) -> tuple[str, ...]:
        """The training's own command: the environment's interpreter, or the machine's own where none is installed."""
        own = self.machine.get("script_python", "python3")
        python = f"{self.home}/envs/{self.environment.key}/bin/python" if self.environment.key else own
        script = str(self.spec.script)
        return (python, "./" + script if script.startswith("-") else script, *self.spec.args)

    def lines(self) -> tuple[PlanLine, ...]:
        """The plan, line by line, in the order apply works."""
        run = f"{self.home}/runs/{self.run_id}"
        out = [
            PlanLine("=", f"machine {self.offer.machine_type}", _machine_detail(self.machine)),
            PlanLine(
                "$", f"{self.offer.price_per_hour} {self.offer.currency} an hour", _price_detail(self.offer)
            ),
            *self._code_lines(),
            *self._environment_lines(),
            PlanLine("+", f"run folder {run}", "code, output, events, checkpoints"),
            PlanLine("+", f"record of {self.name}", "in the state folder of this computer"),
            PlanLine("%", " ".join(_quoted(self.command)), f"in {run}/code"),
        ]
        if self.variables:
            out.append(PlanLine("+", "variables", ", ".join(sorted(self.variables)) + " (values not shown)"))
        if self.resume_from:
            out.append(PlanLine("=", f"resume from {self.resume_from}", "RUNCTL_RESUME_PATH"))
        if self.spec.limits.max_hours is not None:
            grace = f"then TERM, {self.spec.limits.grace_seconds:g} s grace, KILL"
            out.append(PlanLine("!", f"ends after {self.spec.limits.max_hours:g} h at the latest", grace))
        out += [PlanLine("!", warning) for warning in self.warnings]
        return tuple(out)

    def _code_lines(self) -> list[PlanLine]:
        snapshot = self.code.snapshot
        sends = len(self.code.sends)
        out = [PlanLine("=", f"project {self.code.root}", self.code.why_root)]
        travels = f"{count(snapshot.files, 'files')}, {size(snapshot.bytes)}; tree {snapshot.digest[:12]}"
        if sends:
            out.append(
                PlanLine(">", f"send {count(sends, 'files')}, {size(self.code.send_bytes)}", f"of {travels}")
            )
            out += [PlanLine(">", f"  {path}", size(length)) for path, length in self.code.sends]
        else:
            out.append(PlanLine("=", "nothing to send", f"the machine has all of {travels}"))
        out += [PlanLine("-", left.path, left.rule) for left in self.code.left_out]
        guard = "looks like a secret; name it under `secrets` in .runctl.toml if it has to travel"
        out += [PlanLine("!", f"left out: {path}", guard) for path in self.code.secrets]
        return out

    def _environment_lines(self) -> list[PlanLine]:
        env = self.environment
        if env.request is None:
            return [PlanLine("=", "nothing to install", f"{env.why}; the machine's own Python")]
        where = f"{self.home}/envs/{env.key}"
        if env.cached:
            return [PlanLine("=", f"environment {env.key} is there", f"{env.why}; python {env.python}")]
        waits = (
            "the script starts meanwhile" if env.mode is DepsMode.BACKGROUND else "before the script starts"
        )
        return [
            PlanLine("+", f"environment {where}", f"{env.why}; {env.installer}, {waits}"),
            *(PlanLine("%", " ".join(_quoted(argv))) for argv in env.commands),
        ]

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values, for ``--dry-run --json`` and for the record. Holds no value of a variable."""
        snapshot, env = self.code.snapshot, self.environment
        return {
            "v": 1,
            "run_id": self.run_id,
            "name": self.name,
            "script": str(self.spec.script),
            "args": list(self.spec.args),
            "target": self.spec.target,
            "machine": dict(self.machine),
            "offer": {
                "provider": self.offer.provider,
                "machine_type": self.offer.machine_type,
                "region": self.offer.region,
                "spot": self.offer.spot,
                "price_per_hour": str(self.offer.price_per_hour),
                "currency": self.offer.currency,
            },
            "code": {
                "root": str(self.code.root),
                "why_root": self.code.why_root,
                "tree": snapshot.digest,
                "files": snapshot.files,
                "bytes": snapshot.bytes,
                "send_files": len(self.code.sends),
                "send_bytes": self.code.send_bytes,
                "sends": [{"path": path, "bytes": size} for path, size in self.code.sends],
                "left_out": [{"path": left.path, "rule": left.rule} for left in self.code.left_out],
                "secrets_left_out": list(self.code.secrets),
            },
            "environment": {
                "why": env.why,
                "deps": str(env.mode),
                "key": env.key,
                "cached": env.cached,
                "installer": env.installer,
                "python": env.python,
                "commands": [list(argv) for argv in env.commands],
            },
            "command": list(self.command),
            "variables": sorted(self.variables),
            "resume_from": self.resume_from,
            "max_hours": self.spec.limits.max_hours,
            "grace_seconds": self.spec.limits.grace_seconds,
            "writes": [line.what for line in self.lines() if line.symbol == "+"],
            "warnings": list(self.warnings),
        }

    def request(self) -> dict[str, Any]:
        """The ``RunRequest`` the agent is launched with."""
        return {
            "v": 1,
            "run": self.run_id,
            "name": self.name,
            "attempt": 1,
            "tree": list(self.code.snapshot.entries),
            "tree_digest": self.code.snapshot.digest,
            "script": str(self.spec.script),
            "args": list(self.spec.args),
            "env": dict(self.variables),
            "secret_env": list(self.secret_variables),
            "environment": None if self.environment.request is None else dict(self.environment.request),
            "deps": str(self.environment.mode),
            "max_hours": self.spec.limits.max_hours,
            "grace": self.spec.limits.grace_seconds,
            "exclusive": self.exclusive,
            "resume_from": self.resume_from,
        }


def what_is_sent(entries: Sequence[Mapping[str, Any]], missing: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The paths whose content travels, each content under its first path, with sizes in bytes; largest first."""
    lacking = set(missing)
    sends: dict[str, tuple[str, int]] = {}
    for entry in entries:
        if entry["type"] == "file" and entry["digest"] in lacking:
            sends.setdefault(entry["digest"], (entry["path"], entry["size"]))
    return tuple(sorted(sends.values(), key=lambda item: (-item[1], item[0])))


def _machine_detail(machine: Mapping[str, Any]) -> str:
    gpus = ", ".join(gpu["name"] for gpu in machine.get("gpus", [])) or "no GPU"
    memory, disk = size(machine.get("memory_bytes", 0)), size(machine.get("disk_free_bytes", 0))
    return f"{machine.get('cpus', '?')} cores, {memory} memory, {disk} disk free, {gpus}"


def _price_detail(offer: Offer) -> str:
    return "nothing is bought" if not offer.price_per_hour else ("spot" if offer.spot else "on demand")


def _quoted(argv: Sequence[str]) -> list[str]:
    import shlex  # noqa: PLC0415 - only when a plan is shown

    return [shlex.quote(word) for word in argv]
