"""Checks: what was looked at, how it stands, and what to do about it. Run side by side, each as a value.

A check never raises what it found: a failure is a ``Check`` whose words and fix come from the error catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import Child, together
from runctl.core.catalogue import CATALOGUE
from runctl.core.errors import Cancelled, RunctlError
from runctl.core.events import StepFailed, StepFinished, StepStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runctl.core.cancel import CancelToken
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
    """What was found. ``name`` and ``where`` are the probe's; ``code`` is a key of the catalogue, of what failed."""

    state: CheckState
    what: str
    fix: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
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
            "code": self.code or None,
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
    return Check(CheckState.FAIL, what, error.fix, error.context, error.code)


def run_checks(
    probes: Sequence[Probe], *, cancel: CancelToken, clock: Clock, emit: Emit | None = None
) -> tuple[Check, ...]:
    """Look at everything side by side; the checks come back in the order of ``probes``.

    Args:
        probes: what to look at; one that another needs stands before it.
        cancel: ends the looking. Raises ``Cancelled``.
        clock: for durations.
        emit: hears of each probe as a step, for a live view.
    """
    children: dict[str, Child[Check]] = {}
    with together(cancel) as scope:
        for probe in probes:
            needed = [children[name] for name in probe.needs]
            children[probe.name] = scope.start(
                f"check {probe.name}",
                lambda probe=probe, needed=needed: _look(probe, needed, scope.cancel, clock, emit),  # type: ignore[misc]
            )
    return tuple(child.result() for child in children.values())


def _look(
    probe: Probe, needed: Sequence[Child[Check]], cancel: CancelToken, clock: Clock, emit: Emit | None
) -> Check:
    bad = [check for check in (child.result() for child in needed) if check.state in _BAD]
    begun = clock.monotonic()
    if emit:
        emit(StepStarted(f"check {probe.name}", probe.title, probe.where))
    if bad:
        found = skipped(f"not looked at: {bad[0].title} first")
    else:
        try:
            found = probe.look(cancel)
        except Cancelled:
            raise
        except RunctlError as error:
            found = failed(error)
    found = replace(
        found, name=probe.name, title=probe.title, where=probe.where, seconds=clock.monotonic() - begun
    )
    if emit:
        emit(_told(found))
    return found


_BAD = (CheckState.FAIL, CheckState.SKIPPED)


def _told(found: Check) -> StepFinished | StepFailed:
    step = f"check {found.name}"
    if found.state is CheckState.FAIL:
        return StepFailed(step, found.seconds, found.code, found.what)
    return StepFinished(
        step,
        found.seconds,
        found.what,
        skipped=found.state is CheckState.SKIPPED,
        warned=found.state is CheckState.WARN,
    )


def exit_code(checks: Iterable[Check]) -> int:
    """0 when nothing failed, else the status of the first failure's family. Pure."""
    for check in checks:
        if check.state is CheckState.FAIL:
            return CATALOGUE[check.code].family.exit_code
    return 0
