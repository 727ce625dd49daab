"""A verb at work on a thread of its own, and the ways a caller waits for it.

The caller's thread only waits in short slices and no signal handler is installed: ``KeyboardInterrupt`` comes where
Python raises it anyway, and becomes what Ctrl+C is on the command line. It works the same from any thread.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from runctl.core.cancel import SLICE, CancelToken
from runctl.core.errors import RunctlError
from runctl.views.errors import block
from runctl.views.style import Style

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.api.runtime import Runtime
    from runctl.core.events import Emit
    from runctl.python.place import Place

T = TypeVar("T")
_WIDTH = 100  # columns of the lines that a traceback gets


class Work(Generic[T]):
    """One verb, begun at once.

    Args:
        place: what it stands on.
        do: the verb.
        emit: told what happens, on the thread of the work.
        may_end: asked when the program ends: whether the work may then be let go (a run that its machine has). Until
            it says so the process lives on. None: the work ends with the process, wherever it is.
    """

    def __init__(
        self,
        place: Place,
        do: Callable[[Runtime], T],
        emit: Emit,
        *,
        may_end: Callable[[], bool] | None = None,
    ) -> None:
        self.cancel = CancelToken()
        self.error: BaseException | None = None
        self._results: list[T] = []
        self._done = threading.Event()
        self._place, self._do, self._emit = place, do, emit
        threading.Thread(target=self._run, name="runctl", daemon=may_end is None).start()
        if may_end is not None:
            watch = threading.Thread(target=self._end_with_program, args=(may_end,), daemon=True)
            watch.start()

    def _run(self) -> None:
        try:
            runtime = self._place.runtime(self.cancel, self._emit)
            try:
                self._results.append(self._do(runtime))
            finally:
                runtime.close()
        except BaseException as error:  # noqa: BLE001 - raised by ``result``, where somebody waits
            self.error = error
        finally:
            self._done.set()

    def _end_with_program(self, may_end: Callable[[], bool]) -> None:
        while not self._done.wait(SLICE):
            if not threading.main_thread().is_alive() and may_end():
                self.cancel.cancel("the program has ended")

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._done.is_set()

    def wait(self) -> None:
        """Wait for its end; raises only ``KeyboardInterrupt``."""
        while not self._done.wait(SLICE):
            pass

    def let_go(self, reason: str) -> None:
        """Ask it to stop, and wait until it has cleaned up. Ctrl+C hurries it; once more, and it is left alone."""
        self.cancel.cancel(reason)
        try:
            self.wait()
        except KeyboardInterrupt:
            self.cancel.hurry()
            self.wait()

    def result(self) -> T:
        """What the verb gave. Raises what it raised."""
        self.wait()
        if self.error is not None:
            raise explained(self.error)
        return self._results[0]


def explained(error: BaseException) -> BaseException:
    """An error of runctl with cause and remedy as notes, which tracebacks show, and without the frames of our thread."""
    if not isinstance(error, RunctlError):
        return error
    if not getattr(error, "__notes__", ()):
        lines = block(error.to_json(), width=_WIDTH, style=Style(color=False)).split("\n")[1:]
        words = "\n".join([f"code: {error.code}", *lines])
        error.add_note(words.replace("--debug for the traceback; ", ""))  # there is no such option here
    return error.with_traceback(None)


def call(place: Place, do: Callable[[Runtime], T], emit: Emit) -> T:
    """Do something short and wait for it; Ctrl+C ends it first, and is raised then."""
    work = Work(place, do, emit)
    try:
        return work.result()
    except KeyboardInterrupt:
        work.let_go("Ctrl+C")
        raise
