"""A named stretch of work, told as events: started, then finished or failed, with its duration."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl.core.errors import RunctlError
from runctl.core.events import StepFailed, StepFinished, StepProgress, StepStarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.core.clock import Clock
    from runctl.core.events import Emit


@dataclass
class Step:
    """The handle inside the block: say progress, and at the end what was done."""

    name: str
    emit: Emit
    summary: str = ""
    skipped: bool = False

    def progress(self, done: int, total: int | None, *, unit: str, item: str = "") -> None:
        """How far it is; ``total`` None when nobody honestly knows."""
        self.emit(StepProgress(self.name, done, total, unit, item))


@contextmanager
def step(name: str, title: str, *, emit: Emit, clock: Clock) -> Iterator[Step]:
    """Emit the events of one step around a block; an error gets ``step`` into its context and goes on."""
    begun = clock.monotonic()
    emit(StepStarted(name, title))
    handle = Step(name, emit)
    try:
        yield handle
    except RunctlError as error:
        error.add_context(step=name)
        emit(StepFailed(name, clock.monotonic() - begun, error.code, error.what))
        raise
    except BaseException as error:
        emit(StepFailed(name, clock.monotonic() - begun, "bug", repr(error)))
        raise
    emit(StepFinished(name, clock.monotonic() - begun, handle.summary, handle.skipped))
