"""Measure every tool on a workload: the first sync, one with nothing changed, one after a change; turn and turn about."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.sync.tools import LONGEST, OURS, Way, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.sync.places import Places
    from benchmarks.sync.tools import Tool

PHASES = ("first", "nothing changed", "one change")
PATIENCE = 45.0  # seconds in all; a tool that has taken longer gets no further round


@dataclass
class Samples:
    """Seconds of one tool, by phase."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    gave_up: str = ""  # why it has no figures, or no more

    def add(self, phase: str, seconds: float) -> None:
        """One more."""
        self.seconds.setdefault(phase, []).append(seconds)

    @property
    def total(self) -> float:
        """All of it."""
        return sum(map(sum, self.seconds.values()))

    def median(self, phase: str) -> float | None:
        """None where there is none."""
        found = self.seconds.get(phase)
        return median(found) if found else None


@dataclass(frozen=True)
class Course:
    """One workload on one line."""

    project: Path
    change: Callable[[Path, int], Path]
    places: Places
    control: Path
    scratch: Path
    first_by: tuple[Places, Path] | None = (
        None  # a quicker way, and its connection, for a first sync not to be measured
    )

    def measure(self, tools: Sequence[Tool], *, rounds: int) -> dict[str, Samples]:
        """Every tool once, then every tool again; those that are slow less often than ``rounds``."""
        found = {tool.name: Samples() for tool in tools}
        for turn in range(rounds):
            for tool in tools:
                samples = found[tool.name]
                if samples.gave_up or (samples.total > PATIENCE and tool.name not in OURS):
                    continue
                try:
                    self._round(tool, turn, samples)
                except subprocess.TimeoutExpired:
                    samples.gave_up = f"> {LONGEST:.0f} s"
                print(f"  {turn + 1}: {tool.name} {_last(samples)}", file=sys.stderr, flush=True)
        return found

    def _round(self, tool: Tool, turn: int, samples: Samples) -> None:
        folder = self.scratch / f"{abs(hash((tool.name, turn)))}"
        way = Way(
            self.project, folder / "there", folder / "home", f"{folder.name}", self.places, self.control
        )
        for each in (way.there, way.home):
            each.mkdir(parents=True)
        try:
            tool.begin(way)
            changed = self.project
            for phase in PHASES:
                if phase == PHASES[2]:
                    changed = self.change(self.project, hash((tool.name, turn)) & 0xFFFFFF)
                if phase == PHASES[0] and self.first_by is not None:
                    tool.sync(replace(way, places=self.first_by[0], control=self.first_by[1]))
                    continue
                begun = time.perf_counter()
                tool.sync(way)
                samples.add(phase, time.perf_counter() - begun)
            if not tool.name.startswith("the wire"):
                check(way, {str(changed.relative_to(self.project)): changed.read_bytes()})
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(self.project / ".git", ignore_errors=True)


def _last(samples: Samples) -> str:
    return " ".join(f"{seconds[-1]:.2f}" for seconds in samples.seconds.values()) + samples.gave_up
