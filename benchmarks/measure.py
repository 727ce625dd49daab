"""Timing programs that take turns, and the rows of the table."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Name = TypeVar("Name", bound=Hashable)
Kind = Literal["ratio", "over", "value"]


@dataclass(frozen=True)
class Limit:
    """A target: ``ratio`` to the floor at most ``bound``, ``over`` the floor by less, or the ``value`` itself less."""

    kind: Kind
    bound: float

    def met(self, value: float, floor: float | None) -> bool:
        """Whether a figure keeps it."""
        if self.kind == "ratio":
            return floor is not None and value <= self.bound * floor
        return value - (floor or 0.0 if self.kind == "over" else 0.0) < self.bound

    def text(self, unit: str) -> str:
        """How the table says it."""
        return {
            "ratio": f"≤ {self.bound:g}×",
            "over": f"< {self.bound:g} {unit} more",
            "value": f"< {self.bound:g} {unit}",
        }[self.kind]


@dataclass(frozen=True)
class Row:
    """One figure: the median of its samples, beside its floor's. ``unit`` is s or MB. No limit: for information."""

    name: str
    samples: tuple[float, ...]
    unit: str = "s"
    floor: float | None = None
    limit: Limit | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target is kept; None where there is none."""
        return None if self.limit is None else self.limit.met(self.value, self.floor)

    def to_json(self) -> dict[str, Any]:
        """The row as plain values, samples included."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.value,
            "samples": list(self.samples),
            "floor": self.floor,
            "ratio": self.value / self.floor if self.floor else None,
            "target": self.limit.text(self.unit) if self.limit else None,
            "met": self.met,
            "note": self.note,
        }


def wall(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, expect: int = 0) -> float:
    """Seconds from starting ``argv`` to its end, output thrown away. Raises ``RuntimeError`` for another status."""
    begun = time.perf_counter()
    done = subprocess.run(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    seconds = time.perf_counter() - begun
    if done.returncode != expect:
        raise RuntimeError(f"{list(argv)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return seconds


def in_turns(
    work: Mapping[Name, Callable[[], float]], *, rounds: int, warm_up: int = 1
) -> dict[Name, tuple[float, ...]]:
    """Measure each piece once a round, so that all of them see the same moods of the machine; samples by name."""
    for measure in list(work.values()) * warm_up:
        measure()
    samples: dict[Name, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, measure in work.items():
            samples[name].append(measure())
    return {name: tuple(found) for name, found in samples.items()}
