"""Checks: what was looked at, how it stands, and what to do about it. Run side by side, each as a value.

A check never raises what it found: a failure is a ``Check`` whose words and fix come from the error catalogue.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import CancelToken, Child, together
from runctl.core.errors import Cancelled, RunctlError
from runctl.core.events import StepFailed, StepFinished, StepStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from runctl.core.clock import Clock
    from runctl.core.events import Emit


class CheckState(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARN = "warn"  # it works, and somebody should look
    FAIL = "fail"  # what needs it will not work
    SKIPPED = "skipped"  # could not be looked at; ``what`` says why


@dataclass(frozen=True)
class Check:
    """What was found. ``name`` and ``where`` are the probe's; ``error`` is the failure itself, to be raised by who wants."""

    state: CheckState
    what: str
    fix: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: RunctlError | None = None
    name: str = ""
    title: str = ""
    where: str = "here"
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The check as plain JSON values."""
        return {
            "name": self.name,
            "where": self.where,
            "state": str(self.state),
            "what": self.what,
            "fix": [line.strip() for line in self.fix],
            "code": None if self.error is None else self.error.code,
            "facts": dict(self.facts),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Probe:
    """One thing to look at. ``look`` may raise a ``RunctlError``: that is then the failure.

    ``needs`` names probes without which this one cannot be answered; it waits for them, and is skipped when one of
    them failed.
    """

    name: str
    title: str
    look: Callable[[CancelToken], Check]
    where: str = "here"
    needs: tuple[str, ...] = ()


def ok(what: str, **facts: Any) -> Check:
    """It stands well."""
    return Check(CheckState.OK, what, facts=facts)


def warn(what: str, fix: Iterable[str] = (), **facts: Any) -> Check:
    """It works; ``fix`` says what somebody should do about it."""
    return Check(CheckState.WARN, what, tuple(fix), facts)


def skipped(what: str, fix: Iterable[str] = (), **facts: Any) -> Check:
    """Nobody could look; ``what`` says why."""
    return Check(CheckState.SKIPPED, what, tuple(fix), facts)


def failed(error: RunctlError) -> Check:
    """The failure ``error`` as a check."""
    what = f"{error.what}: {error.why}" if error.why else error.what
    return Check(CheckState.FAIL, what, error.fix, error.context, error)


def run_checks(
    probes: Sequence[Probe],
    *,
    cancel: CancelToken,
    clock: Clock,
    emit: Emit | None = None,
    seconds: float | None = None,
) -> tuple[Check, ...]:
    """Look at everything side by side; the checks come back in the order of ``probes``.

    Args:
        probes: what to look at; one that another needs stands before it.
        cancel: ends the looking. Raises ``Cancelled``.
        clock: for durations.
        emit: hears of each probe as a step, for a live view.
        seconds: what has not been answered by then is skipped, and says so.
    """
    looking = _Looking(cancel, clock, emit, seconds)
    for probe in probes:
        if emit:
            emit(StepStarted(f"check {probe.name}", probe.title, probe.where))
    children: dict[str, Child[Check]] = {}
    with together(cancel) as scope, looking.limited(scope.cancel) as limit:
        for probe in probes:
            needed = [children[name] for name in probe.needs]
            children[probe.name] = scope.start(
                f"check {probe.name}",
                lambda probe=probe, needed=needed: looking.look(probe, needed, limit),  # type: ignore[misc]
            )
        found = [child.result() for child in children.values()]
    return tuple(found)


@dataclass(frozen=True)
class _Looking:
    """What is the same for all probes of one run."""

    cancel: CancelToken
    clock: Clock
    emit: Emit | None
    seconds: float | None

    @contextmanager
    def limited(self, scope: CancelToken) -> Iterator[CancelToken]:
        """A token that is cancelled with ``scope``, and when the time is over."""
        token = CancelToken(scope)
        if self.seconds is None:
            yield token
            return
        timer = threading.Timer(self.seconds, token.cancel, args=(self._late,))
        timer.daemon = True
        timer.start()
        try:
            yield token
        finally:
            timer.cancel()

    @property
    def _late(self) -> str:
        return f"no answer within {self.seconds:g} s"

    def look(self, probe: Probe, needed: Sequence[Child[Check]], limit: CancelToken) -> Check:
        """What a probe finds, once those it needs have ended."""
        bad = [check for check in (child.result() for child in needed) if check.state in _BAD]
        begun = self.clock.monotonic()
        found = skipped(f"not looked at: {bad[0].title} first") if bad else self._found(probe, limit)
        seconds = self.clock.monotonic() - begun
        found = replace(found, name=probe.name, title=probe.title, where=probe.where, seconds=seconds)
        if self.emit:
            self.emit(_told(found))
        return found

    def _found(self, probe: Probe, limit: CancelToken) -> Check:
        try:
            return probe.look(limit)
        except Cancelled:
            if self.cancel.cancelled or limit.reason != self._late:
                raise
            return skipped(self._late)
        except RunctlError as error:
            return failed(error)


_BAD = (CheckState.FAIL, CheckState.SKIPPED)


def _told(found: Check) -> StepFinished | StepFailed:
    step = f"check {found.name}"
    if found.state is CheckState.FAIL:
        return StepFailed(step, found.seconds, found.error.code if found.error else "bug", found.what)
    return StepFinished(
        step,
        found.seconds,
        found.what,
        skipped=found.state is CheckState.SKIPPED,
        warned=found.state is CheckState.WARN,
    )


def first_error(checks: Iterable[Check]) -> RunctlError | None:
    """The first failure, to be raised or to give the exit status; None when nothing failed. Pure."""
    return next((check.error for check in checks if check.error is not None), None)


def one_error(checks: Iterable[Check]) -> RunctlError | None:
    """All failures as one: the first, with what else failed in its cause, and the lines that mend it in its fix."""
    found = [check for check in checks if check.error is not None]
    if not found or found[0].error is None:
        return None
    error = found[0].error
    error.why = "\n".join(
        filter(None, [error.why, *(f"also {check.title}: {check.what}" for check in found[1:])])
    )
    error.fix = tuple(dict.fromkeys([*error.fix, *(line for check in found[1:] for line in check.fix)]))
    return error
