"""Compare two runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runctl.api.watching import get_run
from runctl.engine import kept_trees, run_diff
from runctl.engine.cost import cost
from runctl.engine.folders import read_plan

if TYPE_CHECKING:
    from runctl.api.runtime import Runtime
    from runctl.core.model import Run
    from runctl.engine.run_diff import Files, Row


@dataclass(frozen=True)
class Compared:
    """Two runs side by side. ``files`` is None when the code is the same, or one of the trees was not kept."""

    one: Run
    other: Run
    rows: tuple[Row, ...]
    files: Files | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: what differs, and nothing that is the same."""
        return {
            "one": self.one.name,
            "other": self.other.name,
            "differs": [asdict(row) for row in self.rows if row.differs],
            "files": None if self.files is None else asdict(self.files),
        }


def compare(rt: Runtime, one: str, other: str) -> Compared:
    """What differs between two recorded runs. Reads only; asks no machine.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``.
    """
    found = get_run(rt, one), get_run(rt, other)
    with rt.index(read_only=True) as index:
        first, second = ((run.to_json(), read_plan(index.folder(run.id))) for run in found)
    rows = run_diff.rows(first, second)
    now = rt.clock.now()
    rows += [run_diff.Row(what, *(find(run, now) for run in found)) for what, find in _SPENT]
    files = None
    if found[0].code != found[1].code:
        trees = [kept_trees.read(rt.state_dir, run.code) for run in found]
        if trees[0] is not None and trees[1] is not None:
            files = run_diff.files(trees[0], trees[1])
    return Compared(found[0], found[1], tuple(rows), files)


def _seconds(run: Run, now: datetime) -> float | None:
    if run.started_at is None:
        return None
    end = now if run.ended_at is None else datetime.fromisoformat(run.ended_at)
    return round((end - datetime.fromisoformat(run.started_at)).total_seconds(), 3)


def _cost(run: Run, now: datetime) -> str:
    return str(cost(run.machines, now=now))


_SPENT = (("seconds", _seconds), ("cost", _cost))
