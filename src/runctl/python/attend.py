"""A caller that waits for work and shows what happens meanwhile, on its own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from runctl.core.cancel import SLICE
from runctl.core.events import Notice
from runctl.python.show import showing
from runctl.python.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.api import Runtime
    from runctl.python.log import EventLog
    from runctl.python.place import Place
    from runctl.python.show import Showing

T = TypeVar("T")
HURRY = "Ctrl+C; once more to hurry"


def attend(work: Work[T], log: EventLog, index: int, face: Showing | None) -> int:
    """Show what the log has from ``index`` on until the work has ended; where it has come to.

    Raises only ``KeyboardInterrupt``, and what the face's streams raise.
    """
    if face is None:
        work.wait()
        return len(log)
    while True:
        done = work.done  # asked before the log: what it still said stands there by then
        found = log.at(index, wait=0.0 if done else SLICE)
        if found is not None:
            face.view.emit(found[0])
            index += 1
        elif done:
            return index
        else:
            face.beat()


def shown(place: Place, do: Callable[[Runtime], T], *, log: EventLog, quiet: bool) -> T:
    """Do something and show it. Ctrl+C ends it first, and is raised then; what it raised otherwise is raised."""
    work = Work(place, do, log.append)
    face = None if quiet else showing(place, cancelled=lambda: work.cancel.cancelled)
    try:
        attend(work, log, 0, face)
    except BaseException as error:
        if face is not None and isinstance(error, KeyboardInterrupt):
            face.view.emit(Notice("info", HURRY))
        work.let_go("Ctrl+C" if isinstance(error, KeyboardInterrupt) else str(error))
        raise
    finally:
        if face is not None:
            face.view.close()
    return work.result()
