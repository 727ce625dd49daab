"""What it costs to ask runctl something small, over starting the interpreter at all."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Limit, Row, in_turns, wall
from benchmarks.world import PYTHON, RUNCTL, World, new_world
from runctl.core.model import Outcome, Run, RunState
from runctl.engine import names
from runctl.engine.index import Index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUNS = 1_000
LIMITS = {"--version": 3, "--help": 4, "runs": 5}
FOR_INFORMATION = ("runs --all", "runs --json", "show latest", "train --help", "complete runctl tr")


def rows(*, rounds: int) -> list[Row]:
    """``runctl --version``, ``--help`` and ``runs`` beside ``python -c pass``, and what has no target."""
    with new_world() as world:
        record_runs(world.state)
        work: dict[str, Callable[[], float]] = {
            "floor": lambda: wall([PYTHON, "-c", "pass"], env=world.env, cwd=world.root)
        }
        for line in (*LIMITS, *FOR_INFORMATION):
            work[line] = partial(_asked, line, world)
        found = in_turns(work, rounds=rounds, warm_up=2)
    floor = Row("python -c pass", found.pop("floor"))
    result = [floor]
    for line, samples in found.items():
        limit = Limit("ratio", LIMITS[line]) if line in LIMITS else None
        note = f"{RUNS:,} recorded runs" if line.startswith("runs") else ""
        name = line if line.startswith("complete") else f"runctl {line}"
        result.append(Row(name, samples, floor=floor.value, limit=limit, note=note))
    return result


def _asked(line: str, world: World) -> float:
    if not line.startswith("complete "):
        return wall([RUNCTL, *line.split()], env=world.env, cwd=world.root)
    typed = line.removeprefix("complete ")
    asking = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\v",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(world.root / "completions"),
        "COMP_LINE": typed,
        "COMP_POINT": str(len(typed)),
        "COMP_TYPE": "9",
    }
    return wall([RUNCTL], env={**world.env, **asking}, cwd=world.root)


def record_runs(state: Path, *, count: int = RUNS) -> None:
    """Ended runs of a few projects over a year, as the client would have recorded them; the newest an hour ago."""
    rng = random.Random(7)
    newest = datetime.now(UTC) - timedelta(hours=1)
    with Index(state) as index:
        for number in range(count):
            began = newest - timedelta(hours=8.76 * number)
            ended = began + timedelta(seconds=rng.uniform(20, 20_000))
            run_id, name = names.fresh(now=began.timestamp(), random=rng.randbytes)
            outcome = rng.choices(list(Outcome), (80, 12, 2, 6))[0]
            failed = outcome is Outcome.FAILED
            index.add(
                Run(
                    id=run_id,
                    name=name,
                    state=RunState.ENDED,
                    created_at=_stamp(began),
                    machine="local",
                    provider="local",
                    project=f"/home/user/projects/classifier-{number % 7}",
                    script="training/train.py",
                    args=("--epochs", str(rng.choice((5, 20, 100))), "--rate", "0.003"),
                    outcome=outcome,
                    exit_code=1 if failed else 0,
                    reason="exit status 1" if failed else "",
                    started_at=_stamp(began),
                    ended_at=_stamp(ended),
                    code=f"{rng.getrandbits(256):064x}",
                    env_key=f"{rng.getrandbits(128):032x}",
                )
            )


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
