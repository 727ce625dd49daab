"""Trains the same script with two learning rates at once and keeps the better checkpoint: the Python API, typed."""

from __future__ import annotations

import sys
from pathlib import Path

import runctl


def final_loss(run: runctl.Run) -> float:
    """The last word that the script printed."""
    return float(run.log(tail=1).split()[-1])


def main(script: str, rates: list[str]) -> int:
    training = [runctl.train(script, "--lr", rate, max_hours=1, wait=False) for rate in rates]
    for run in training:
        for event in run.events():
            if isinstance(event, runctl.events.StepFinished):
                print(f"{run.name}: {event.step} took {event.seconds:.2f} s")
            elif isinstance(event, runctl.events.RunEnded):
                print(f"{run.name}: {event.outcome}")
    try:
        best = min((run.wait(quiet=True) for run in training), key=final_loss)
    except runctl.ScriptFailed as error:
        print(error.code, error.why, file=sys.stderr)
        return error.exit_code
    there: Path = best.pull(to="models", quiet=True)
    print(f"best: {best.name}, {there}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
