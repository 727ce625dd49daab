"""What a run costs over running the script directly, when there is nothing to send and nothing to install."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime
from typing import TYPE_CHECKING

from benchmarks.measure import Limit, Row, in_turns, wall
from benchmarks.world import PYTHON, RUNCTL, World, new_world, write_wheel

if TYPE_CHECKING:
    from pathlib import Path

OVER = Limit("over", 0.5)
# the moments between which the time of a run is divided: the name of the stretch that ends there
MOMENTS = (
    (("step.started", "scan"), "start runctl, parse, read the settings"),
    (("step.finished", "scan"), "list and hash the project"),
    (("step.finished", "probe"), "ask the machine"),
    (("run.planned", None), "plan, record the run"),
    (("step.finished", "launch"), "hand over to the machine"),
    (("step.started", "start"), "code and environment"),
    (("run.ended", None), "start the script, run it, see its end"),
    (("end", None), "last output, record, leave"),
)


def rows(*, rounds: int) -> list[Row]:
    """``runctl train noop.py`` over ``python noop.py``: without dependencies, and with an environment that is there."""
    with new_world() as world:
        bare = world.project("bare", {"noop.py": ""})
        packages = {
            "noop.py": "import tiny\n",
            "requirements.txt": "--no-index\n--find-links wheels\ntiny==1.0\n",
        }
        installed = world.project("installed", packages)
        write_wheel(installed / "wheels", "tiny")
        for project in (bare, installed):
            done = world.runctl("train", "noop.py", cwd=project)
            if done.returncode:
                raise RuntimeError(done.stderr.decode())
        train = [RUNCTL, "train", "noop.py"]
        found = in_turns(
            {
                "floor": lambda: wall([PYTHON, "noop.py"], env=world.env, cwd=bare),
                "bare": lambda: wall(train, env=world.env, cwd=bare),
                "installed": lambda: wall(train, env=world.env, cwd=installed),
                "detach": lambda: wall([*train, "--detach"], env=world.env, cwd=bare),
            },
            rounds=rounds,
        )
        stretches = _stretches(world, installed, rounds=rounds)
    floor = Row("python noop.py", found["floor"])
    return [
        floor,
        Row("runctl train noop.py", found["bare"], floor=floor.value, limit=OVER, note="no dependencies"),
        Row(
            "runctl train noop.py",
            found["installed"],
            floor=floor.value,
            limit=OVER,
            note="environment cached",
        ),
        Row(
            "runctl train noop.py --detach",
            found["detach"],
            floor=floor.value,
            note="until the prompt is back",
        ),
        *stretches,
    ]


def _stretches(world: World, project: Path, *, rounds: int) -> list[Row]:
    """Where the time goes, from the time stamps of the run's own events."""
    samples: dict[str, list[float]] = {name: [] for _, name in MOMENTS}
    for _ in range(rounds):
        for name, seconds in _timeline(world, project).items():
            samples[name].append(seconds)
    return [Row(f"· {name}", tuple(found)) for name, found in samples.items()]


def _timeline(world: World, project: Path) -> dict[str, float]:
    begun = time.time()
    done = subprocess.run(
        [RUNCTL, "train", "noop.py", "--json"], cwd=project, env=world.env, capture_output=True, check=True
    )
    seen: dict[tuple[str, str | None], float] = {("end", None): time.time()}
    for line in done.stdout.splitlines():
        event = json.loads(line)
        seen.setdefault((event["kind"], event.get("step")), datetime.fromisoformat(event["ts"]).timestamp())
    result, before = {}, begun
    for moment, name in MOMENTS:
        now = max(seen[moment], before)  # the machine's events and ours carry milliseconds
        result[name] = now - before
        before = now
    return result
