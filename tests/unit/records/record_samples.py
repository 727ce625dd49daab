"""Runs to fill an index with."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from runctl.core.model import Outcome, Run, RunState
from runctl.engine import names

if TYPE_CHECKING:
    from pathlib import Path

    from runctl.engine.index import Index

START = 1_795_000_000.0  # a Wednesday in November 2026


def a_run(number: int = 0, **changes: Any) -> Run:
    """The run of a number: always the same; later numbers are newer."""
    moment = START + number
    run_id = names.new_id(now=moment, random=lambda n: sha256(b"%d" % number).digest()[:n])
    base = Run(
        id=run_id,
        name=names.name_of(run_id),
        state=RunState.PENDING,
        created_at=iso(moment),
        machine="local",
        provider="local",
        project="/home/ann/digits",
        script="training/train.py",
        args=("--epochs", "20"),
    )
    return replace(base, **changes)


def ended(
    number: int = 0, outcome: Outcome = Outcome.SUCCEEDED, *, seconds: float = 60, **changes: Any
) -> Run:
    moment = START + number
    return a_run(
        number,
        **{
            "state": RunState.ENDED,
            "outcome": outcome,
            "exit_code": 0 if outcome is Outcome.SUCCEEDED else 1,
            "started_at": iso(moment),
            "ended_at": iso(moment + seconds),
            **changes,
        },
    )


def iso(moment: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fill(index: Index, count: int) -> list[Run]:
    runs = [ended(n) for n in range(count)]
    for run in runs:
        index.add(run)
    return runs


def files_below(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file with its inode, size and time of change."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        stat = path.lstat()
        found[str(path.relative_to(folder))] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found
