"""Cancellation: a token that is set once, and a scope of threads that share it.

The main thread only ever waits in slices of at most ``SLICE`` seconds, so that a signal is handled at once
(CPython runs signal handlers between bytecodes of the main thread only).
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from runctl.core.errors import Cancelled, MachineGone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

SLICE = 0.2
T = TypeVar("T")


class CancelToken:
    """Set once, seen by everything that holds it. A child is cancelled with its parent, never the other way.

    ``hurry`` is the second request: it shortens whatever grace a clean-up still allows itself.
    """

    def __init__(self, parent: CancelToken | None = None) -> None:
        self._event = threading.Event()
        self._hurry = threading.Event()
        self._children: list[CancelToken] = []
        self._lock = threading.Lock()
        self.reason = ""
        if parent is not None:
            parent._adopt(self)  # noqa: SLF001 - the same class

    def _adopt(self, child: CancelToken) -> None:
        with self._lock:
            self._children.append(child)
        if self.cancelled:
            child.cancel(self.reason)

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask everything that holds this token, or a child of it, to stop. Safe to repeat; the first reason stays."""
        with self._lock:
            if not self._event.is_set():
                self.reason = reason
            children = list(self._children)
        self._event.set()
        for child in children:
            child.cancel(reason)

    def hurry(self) -> None:
        """Ask for the shortest clean-up. Safe to repeat."""
        self._hurry.set()
        for child in list(self._children):
            child.hurry()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    @property
    def hurried(self) -> bool:
        """Whether somebody asked twice."""
        return self._hurry.is_set()

    def check(self) -> None:
        """Raise ``Cancelled`` if somebody asked to stop."""
        if self.cancelled:
            raise Cancelled(what=self.reason)

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds``, in slices a signal can interrupt; true when cancelled."""
        deadline = time.monotonic() + seconds
        while not self._event.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._event.wait(min(left, SLICE))
        return True


@contextmanager
def limited(outer: CancelToken, seconds: float) -> Iterator[CancelToken]:
    """A token for clean-up: whoever cancelled ``outer`` once lets it work, a second request or ``seconds`` end it."""
    token = CancelToken()
    ended = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + seconds
        while not ended.wait(SLICE / 2):
            if outer.hurried or time.monotonic() > deadline:
                token.cancel("asked twice to stop" if outer.hurried else f"not done within {seconds:g} s")
                return

    threading.Thread(target=watch, name="clean-up limit", daemon=True).start()
    try:
        yield token
    finally:
        ended.set()


class Child(Generic[T]):
    """A piece of work running on a daemon thread of a ``together`` scope."""

    def __init__(self, name: str, work: Callable[[], T]) -> None:
        self.name = name
        self.error: BaseException | None = None
        self._result: list[T] = []
        self._work = work
        self.done = threading.Event()

    def run(self, on_error: Callable[[BaseException], None] = lambda _error: None) -> None:
        """Do the work and keep what came of it. Raises nothing."""
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001 - handed to the scope, which raises it
            self.error = error
            on_error(error)
        finally:
            self.done.set()

    def result(self) -> T:
        """The value the work returned; waits for it in slices. Raises what the work raised."""
        while not self.done.wait(SLICE):
            pass
        if self.error is not None:
            raise self.error
        return self._result[0]


class together:  # noqa: N801 - reads as a statement: with together(cancel) as scope
    """Run pieces of work side by side; the block ends when they have all ended.

    The first one to fail cancels the others. The block then raises what failed first; the machine being gone
    outranks the failures it causes, and cancellations caused by the scope itself are not errors.
    """

    def __init__(self, cancel: CancelToken) -> None:
        self._outer = cancel
        self.cancel = CancelToken(cancel)
        self._children: list[Child[object]] = []
        self._errors: list[BaseException] = []

    def start(self, name: str, work: Callable[[], T]) -> Child[T]:
        """Begin ``work`` on a daemon thread; it should watch ``scope.cancel``."""
        child = Child(name, work)
        self._children.append(child)  # type: ignore[arg-type]
        threading.Thread(target=child.run, args=(self._failed,), name=name, daemon=True).start()
        return child

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)
        self.cancel.cancel(f"{type(error).__name__} elsewhere")

    def __enter__(self) -> together:  # noqa: PYI034 - final in practice
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.cancel.cancel(f"{type(error).__name__} in the scope")
        for child in self._children:
            while not child.done.wait(SLICE):
                pass
        real = [e for e in self._errors if not isinstance(e, Cancelled)]
        gone = [e for e in real if isinstance(e, MachineGone)]
        if error is not None and not isinstance(error, Cancelled) and not gone:
            return
        if gone or real:
            raise (gone or real)[0]
        if error is None:
            self._outer.check()
