"""What differs between two runs: code, command, environment, machine, and what came of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Record = Mapping[str, Any]  # Run.to_json
    Plan = Mapping[str, Any]  # plan_json.to_json, or nothing

_NOTHING: Final[dict[str, Any]] = {}


@dataclass(frozen=True)
class Row:
    """One thing of both runs, as plain values; None where it is not known."""

    what: str
    one: Any
    other: Any

    @property
    def differs(self) -> bool:
        """Whether the two are known to be different."""
        return bool(self.one != self.other)


@dataclass(frozen=True)
class Files:
    """Paths by what happened to them from the first run to the second."""

    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def _of(plan: Plan, section: str, name: str) -> Any:
    return (plan.get(section) or _NOTHING).get(name) or None


def _environment(record: Record, plan: Plan) -> Any:
    """What names the packages: the request where both machines may name it differently, else the key."""
    return _of(plan, "environment", "digest") or record["env_key"] or None


def _gpu(_record: Record, plan: Plan) -> Any:
    found = _of(plan, "machine", "gpus")
    if isinstance(found, list):
        return ", ".join(str(each.get("name")) for each in found) or None
    return _of(plan, "offer", "gpu")


# what is compared, in the order of the page: name, and how it is found in a record and its plan
_ROWS: Final[tuple[tuple[str, Callable[[Record, Plan], Any]], ...]] = (
    ("script", lambda record, _plan: record["script"]),
    ("arguments", lambda record, _plan: record["args"]),
    ("project", lambda record, _plan: record["project"]),
    ("code", lambda record, _plan: record["code"]),
    ("environment", _environment),
    ("python", lambda _record, plan: _of(plan, "environment", "python")),
    ("variables", lambda _record, plan: plan.get("variables")),
    ("data", lambda _record, plan: plan.get("data")),
    ("resumed from", lambda _record, plan: plan.get("resume_from") or None),
    ("target", lambda record, plan: plan.get("target", record["provider"])),
    ("machine type", lambda _record, plan: _of(plan, "offer", "machine_type")),
    ("region", lambda _record, plan: _of(plan, "offer", "region")),
    ("spot", lambda _record, plan: _of(plan, "offer", "spot")),
    ("GPU", _gpu),
    ("cores", lambda _record, plan: _of(plan, "machine", "cpus") or _of(plan, "offer", "cpus")),
    ("machine", lambda record, _plan: record["machine"]),
    ("outcome", lambda record, _plan: record["outcome"] or record["state"]),
    ("exit code", lambda record, _plan: record["exit_code"]),
    ("attempts", lambda record, _plan: record["attempt"]),
)


def rows(one: tuple[Record, Plan | None], other: tuple[Record, Plan | None]) -> list[Row]:
    """Everything that can be compared without reading a file, the same or not."""
    return [
        Row(what, find(one[0], one[1] or _NOTHING), find(other[0], other[1] or _NOTHING))
        for what, find in _ROWS
    ]


def files(one: Mapping[str, str], other: Mapping[str, str]) -> Files:
    """Which files differ between two trees, as ``kept_trees`` has them."""
    return Files(
        tuple(sorted(path for path in one.keys() & other.keys() if one[path] != other[path])),
        tuple(sorted(other.keys() - one.keys())),
        tuple(sorted(one.keys() - other.keys())),
    )
