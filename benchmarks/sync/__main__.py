"""``python -m benchmarks.sync [WORKLOAD...] [--line LINE] [--rounds N] [--tool NAME] [--json]``: one table a workload and line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import describe
from benchmarks.sync.link import line_to
from benchmarks.sync.places import make_bucket, servers
from benchmarks.sync.rounds import PHASES, Course, Samples
from benchmarks.sync.tools import OURS, TOOLS
from benchmarks.sync.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.sync.places import Places
    from benchmarks.sync.tools import Tool

LINES = {"loopback": None, "slow": (0.04, 100.0)}  # round trip in seconds, Mbit/s
ON = {
    "typical": ("loopback", "slow"),
    "small": ("loopback", "slow"),
    "many": ("loopback",),
    "growing": ("slow",),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--line", choices=tuple(LINES), help="only this line")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--tool", action="append", metavar="TEXT", help="only tools whose name has TEXT in it"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, with every sample")
    options = parser.parse_args()
    for tool in TOOLS:
        if tool.missing:
            print(f"left out: {tool.name}: {', '.join(tool.missing)} is not installed", file=sys.stderr)
    tools = [
        tool
        for tool in TOOLS
        if not tool.missing and (not options.tool or any(text in tool.name for text in options.tool))
    ]
    machine = describe()
    found: dict[str, dict[str, dict[str, Samples]]] = {}
    for name in options.workloads or WORKLOADS:
        for line in ON[name]:
            if options.line in (None, line):
                print(f"measuring {name} on {line}", file=sys.stderr, flush=True)
                found.setdefault(name, {})[line] = _measured(name, line, tools, options.rounds)
                if not options.json:
                    print(_table(name, line, found[name][line]), flush=True)
    if options.json:
        values = {
            name: {line: {tool: one.seconds for tool, one in rows.items()} for line, rows in lines.items()}
            for name, lines in found.items()
        }
        print(json.dumps({"machine": machine, "seconds": values}, indent=1))
    else:
        print("\n".join(f"{key:10} {value}" for key, value in machine.items()))
    return 0


def _measured(name: str, line: str, tools: list[Tool], rounds: int) -> dict[str, Samples]:
    _, make, change = WORKLOADS[name]
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:
        folder = Path(base)
        make(folder / "project")
        with servers(folder, dict(os.environ)) as near, _on(line, near) as places:
            make_bucket(near)
            (folder / "near").mkdir()
            with places.open_connection(folder) as control, near.open_connection(folder / "near") as beside:
                first_by = (near, beside) if name == "growing" else None
                course = Course(folder / "project", change, places, control, folder / "scratch", first_by)
                return course.measure(tools, rounds=rounds)


@contextlib.contextmanager
def _on(line: str, near: Places) -> Iterator[Places]:
    """The servers at the end of a line."""
    slow = LINES[line]
    if slow is None:
        yield near
        return
    rtt, mbit = slow
    with line_to(near.s3, rtt=rtt, mbit=mbit) as s3, line_to(near.ssh, rtt=rtt, mbit=mbit) as ssh:
        yield near.through(s3=s3, ssh=ssh)


def _table(name: str, line: str, rows: dict[str, Samples]) -> str:
    """Seconds, and each as a multiple of the best of ours over the same kind of way."""
    what = WORKLOADS[name][0]
    lines = [
        f"\n### {name}: {what}, {line}\n",
        f"| | {' | '.join(PHASES)} | rounds |",
        "|---|---|---|---|---|",
    ]
    best = {
        phase: min(
            (value for tool in OURS if tool in rows and (value := rows[tool].median(phase))), default=None
        )
        for phase in PHASES
    }
    for tool, samples in rows.items():
        cells = []
        for phase in PHASES:
            value, floor = samples.median(phase), best[phase]
            if value is None:
                cells.append(samples.gave_up)
            else:
                cells.append(
                    f"{value:.2f}" + (f" ({value / floor:.1f}×)" if floor and tool not in OURS else "")
                )
        count = max(map(len, samples.seconds.values()), default=0)
        lines.append(f"| {tool} | {' | '.join(cells)} | {count} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
