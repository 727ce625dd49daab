"""A caller that waits for work and shows what happens meanwhile, on its own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

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


class Face:
    """What one call shows, for as long as a block lasts.

    Args:
        place: where the call comes from.
        quiet: nothing is shown.
        run: the run it is about, where that is known already.
    """

    def __init__(self, place: Place, *, quiet: bool, run: str = "") -> None:
        self._place = place
        self._work: Work[Any] | None = None
        self._showing: Showing | None = None if quiet else showing(place, cancelled=self._cancelled)
        if self._showing is not None:
            self._showing.view.run = run

    def __enter__(self) -> Face:  # noqa: PYI034 - final in practice
        return self

    def __exit__(self, *_error: object) -> None:
        if self._showing is not None:
            self._showing.view.close()

    def _cancelled(self) -> bool:
        return self._work is not None and self._work.cancel.cancelled

    def say(self, words: str) -> None:
        """Tell something."""
        if self._showing is not None:
            self._showing.view.emit(Notice("info", words))

    def settle(self) -> None:
        """What is drawn stands for good: something else is going to be written."""
        if self._showing is not None:
            self._showing.view.settle()

    def attend(self, work: Work[T], log: EventLog, index: int) -> int:
        """Show what the log has from ``index`` on until the work has ended; where it has come to.

        Raises only ``KeyboardInterrupt``, and what the face's streams raise.
        """
        self._work = work
        if self._showing is None:
            work.wait()
            return len(log)
        while True:
            done = work.done  # asked before the log: what it still said stands there by then
            found = log.at(index, wait=0.0 if done else SLICE)
            if found is not None:
                self._showing.view.emit(found[0])
                index += 1
            elif done:
                return index
            else:
                self._showing.beat()

    def shown(self, do: Callable[[Runtime], T], log: EventLog) -> T:
        """Do something and show it. Ctrl+C ends it first, and is raised then; what it raised otherwise is raised."""
        work = Work(self._place, do, log.append)
        try:
            self.attend(work, log, len(log))
        except KeyboardInterrupt:
            self.say(HURRY)
            work.let_go("Ctrl+C")
            raise
        except BaseException:
            work.let_go("what happens cannot be shown")
            raise
        return work.result()
