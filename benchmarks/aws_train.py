"""What a run on AWS costs in time: until the script's first line, until each line is here, and to list a fleet.

On a sandbox with boot time 0. The script tells when it wrote a line; the clock is the same on both sides, so how old the
line is when it arrives is the latency of all that is between.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from benchmarks.cloud import new_cloud, seconds
from benchmarks.measure import Limit, Row, in_turns
from benchmarks.world import RUNCTL, new_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.cloud import Cloud
    from benchmarks.world import World

LINES, PAUSE = 20, 0.25  # of the script whose lines are timed, seconds between two
SKIPPED = 4  # lines at the beginning, that may have waited for the machine to be reached
FLEET = 100
SCRIPT = f"""\
import time
for _ in range({LINES}):
    print("at", time.time(), flush=True)
    time.sleep({PAUSE})
"""


def rows(*, rounds: int) -> list[Row]:
    """Seconds. ``silent`` weather keeps Systems Manager away: lines then come through the bucket."""
    with new_world() as world, new_cloud(world) as cloud:
        bench = Bench(world, cloud)
        found = in_turns(
            {
                "first": bench.first_line,
                "whole": bench.whole,
                "session": lambda: bench.latency(silent=False),
                "store": lambda: bench.latency(silent=True),
            },
            rounds=rounds,
        )
        bench.fill()
        calls = cloud.calls()
        listed = in_turns({"list": bench.list_fleet}, rounds=rounds)["list"]
        asked = (cloud.calls() - calls) / (rounds + 1)
    return [
        Row("runctl train until the script's first line", found["first"], limit=Limit("value", 2.5)),
        Row("a run of a script that only prints", found["whole"], note="plan to release"),
        Row("age of a line, through a session", found["session"], limit=Limit("value", 0.25)),
        Row("age of a line, through the bucket", found["store"], limit=Limit("value", 3.0)),
        Row(
            f"{FLEET} machines listed with state, cost and run", listed,
            limit=Limit("value", 2.0), note=f"{asked:.0f} API calls",
        ),
    ]  # fmt: skip


class Bench:
    """One account with one project; the environment is the machine's own Python, so there is nothing to install."""

    def __init__(self, world: World, cloud: Cloud) -> None:
        self._world, self._cloud = world, cloud
        self._env = {**world.env, **cloud.env}
        self._talks = world.project("talks", {"train.py": SCRIPT})
        self._short = world.project("short", {"train.py": 'print("here")\n'})
        self._ran("aws", "setup", "--yes", cwd=world.root)

    def first_line(self) -> float:
        """From starting ``runctl train`` until the script's line is on stdout."""
        return self._watch(self._short, lambda _line, began: time.perf_counter() - began)[0]

    def whole(self) -> float:
        """The whole command."""
        return seconds(lambda: self._ran(*self._words(), cwd=self._short))

    def latency(self, *, silent: bool) -> float:
        """The median age of a line when it arrives."""
        if silent:
            self._ran("sandbox", "weather", "silent", "--name", "bench", cwd=self._world.root)
        try:
            ages = self._watch(self._talks, lambda line, _began: time.time() - float(line.split()[1]))
        finally:
            self._ran("sandbox", "weather", "clear", "--name", "bench", cwd=self._world.root)
        return sorted(ages[SKIPPED:])[len(ages[SKIPPED:]) // 2]

    def fill(self) -> None:
        """A fleet of machines with our tags, made at once."""
        ec2 = self._cloud.client("ec2")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        tags = {
            "runctl:managed": "true",
            "runctl:run": "bench",
            "runctl:price": "0.1 USD",
            "Name": "runctl-x",
        }
        ec2.run_instances(
            ImageId=image,
            InstanceType="t3.micro",
            MinCount=FLEET,
            MaxCount=FLEET,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
            ],
        )

    def list_fleet(self) -> float:
        """``runctl aws list`` to its end."""
        return seconds(lambda: self._ran("aws", "list", cwd=self._world.root))

    def _words(self) -> tuple[str, ...]:
        return ("train", "train.py", "--on", "aws", "--instance-type", "t3.micro", "--yes")

    def _ran(self, *words: str, cwd: Path) -> None:
        done = subprocess.run(
            [RUNCTL, *words],
            cwd=cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"runctl {words} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")

    def _watch(self, cwd: Path, figure: Callable[[str, float], float]) -> list[float]:
        """What ``figure`` makes of each line of the script, as it arrives."""
        began = time.perf_counter()
        with subprocess.Popen(
            [RUNCTL, *self._words()],
            cwd=cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            found = [figure(line, began) for line in process.stdout]
        if process.returncode:
            raise RuntimeError(f"runctl train ended with {process.returncode}")
        return found
