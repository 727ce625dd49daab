"""What a script leaves goes to the address that ``--output`` named, on a machine where no keeper sees to it."""

from __future__ import annotations

from runctl.agent.failure import AgentFailure
from runctl.agent.outputs import Outputs, walk
from runctl.agent.prepare import Step
from runctl.agent.store import access_of, open_store
from runctl.s3.failure import KnownFailure
from runctl.s3.patience import Patience, Stopped

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import RunFolder
    from runctl.agent.journal import Journal

# What no training should run for hours to hear at its end. That nothing may be listed says nothing about writing.
HOPELESS = ("store-no-bucket", "store-no-credentials", "store-unreachable", "store-unwritable")


def wanted(request: dict[str, Any]) -> str:
    """The address; empty where there is none, or where the run's keeper copies, because the run has a store."""
    return "" if request.get("store") else str(request.get("output") or "")


def check(address: str, *, cancelled: Callable[[], bool]) -> None:
    """Ask whether the place is there, before the script starts. Writes nothing.

    Raises:
        AgentFailure: one of ``HOPELESS``; ``agent-request`` for what is no address.
        Stopped: ``cancelled`` said so.
    """
    store = open_store(access_of(address), patience=Patience(attempts=4, seconds=20.0, stopped=cancelled))
    try:
        next(iter(store.list()), None)
    except KnownFailure as failure:
        if failure.code in HOPELESS:
            raise
    finally:
        store.close()


def copy(
    request: dict[str, Any], *, run: RunFolder, journal: Journal, stopped: Callable[[], bool]
) -> AgentFailure | None:
    """Store every file of the run's outputs, the smallest first; ``output-not-stored`` when it could not be done.

    They stay on the machine, too. ``stopped`` ends it; what arrived until then is whole. Safe to repeat.
    """
    address = wanted(request)
    if not address or not any(walk(run.outputs)):
        return None
    try:
        with Step(journal, "output", "copy the output to %s" % address) as step:
            try:
                _copy(address, run, step, stopped)
            except Stopped:
                raise _not_stored(request, run, "it was cancelled") from None
            except KnownFailure as failure:
                why = "%s: %s" % (failure.code, failure.facts.get("detail", failure.facts))
                raise _not_stored(request, run, why) from failure
            except OSError as error:
                why = "%s: %s" % (error.filename or run.outputs, error.strerror or error)
                raise _not_stored(request, run, why) from error
    except AgentFailure as failure:
        return failure
    return None


def _not_stored(request: dict[str, Any], run: RunFolder, why: str) -> AgentFailure:
    return AgentFailure(
        "output-not-stored", run=request["name"], address=wanted(request), detail=why, path=run.outputs
    )


def _copy(address: str, run: RunFolder, step: Step, stopped: Callable[[], bool]) -> None:
    size, done = sum(length for _, length in walk(run.outputs)), [0]

    def told(arrived: int) -> None:
        done[0] += arrived
        step.progress(done[0], size, unit="bytes")

    store = open_store(access_of(address), patience=Patience(stopped=stopped))
    try:
        stored = Outputs(run.outputs, target=store, prefix="").store(told)
    finally:
        store.close()
    step.summary = "%d file%s" % (len(stored), "" if len(stored) == 1 else "s")
