"""``python -m benchmarks [NAME...] [--json] [--rounds N] [--peers]``: measure, print one table, 1 if a target is missed."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from benchmarks.machine import describe
from benchmarks.report import table

# name -> (what it answers, rounds)
GROUPS = {
    "startup": ("what a small question costs, over starting Python", 15),
    "overhead": ("what a run costs, over running the script directly", 9),
    "flood": ("100 MB of output at full speed", 5),
    "interrupt": ("Ctrl+C until the prompt is back", 5),
    "ssh": ("a second run of an unchanged project on a warm SSH host", 7),
    "environments": ("an environment from the store, over installing it", 5),
    "fresh_machine": ("a fresh AWS machine: cold, from a volume, from the store, from an image", 5),
    "sandbox_s3": ("the sandbox's S3, through s5cmd and boto3", 5),
    "aws_train": ("a run on AWS: its first line, the age of its lines, a fleet listed", 5),
    "ssm": ("an instance through Systems Manager, against the sandbox", 5),
    "sandbox_life": ("the sandbox: up, instances, commands, sessions", 5),
}
FEWEST = 5  # a median of less says little


def main() -> int:
    """Measure the groups asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON object, with every sample")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds of each group, at least {FEWEST}")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="also install torchx and submitit in a temporary folder and measure them",
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in GROUPS]
    if unknown:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if options.rounds is not None and options.rounds < FEWEST:
        parser.error(f"a median of fewer than {FEWEST} rounds is not reported")
    machine = describe()
    names = {name: GROUPS[name] for name in options.names or GROUPS}
    if options.peers:
        names["peers"] = ("the same questions to others, installed now", 7)
    groups = {}
    for name, (title, rounds) in names.items():
        print(f"measuring {name}: {title}", file=sys.stderr, flush=True)
        groups[name] = importlib.import_module(f"benchmarks.{name}").rows(rounds=options.rounds or rounds)
    if options.json:
        found = {name: [row.to_json() for row in rows] for name, rows in groups.items()}
        print(json.dumps({"machine": machine, "groups": found}, indent=1))
    else:
        print("\n".join(f"{key:10} {value}" for key, value in machine.items()))
        print(table({f"{name}: {names[name][0]}": rows for name, rows in groups.items()}))
    return int(any(row.met is False for rows in groups.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
