"""Checks run side by side, wait for what they need, and never raise what they found."""

from __future__ import annotations

import threading
import time

import pytest

from runctl.core.cancel import CancelToken
from runctl.core.catalogue import known
from runctl.core.checks import (
    Check,
    CheckState,
    Probe,
    failed,
    first_error,
    ok,
    one_error,
    run_checks,
    skipped,
    warn,
)
from runctl.core.clock import SystemClock
from runctl.core.errors import Cancelled
from runctl.core.events import Event, StepFailed, StepFinished, StepStarted


def run(
    *probes: Probe,
    cancel: CancelToken | None = None,
    heard: list[Event] | None = None,
    seconds: float | None = None,
) -> list[Check]:
    emit = None if heard is None else heard.append
    token = cancel or CancelToken()
    return list(run_checks(probes, cancel=token, clock=SystemClock(), emit=emit, seconds=seconds))


def refuse(_cancel: CancelToken) -> Check:
    raise known("state-busy", path="/x", seconds=5)


def test_they_run_side_by_side_and_come_back_in_order() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def look(_cancel: CancelToken) -> Check:
        meeting.wait()
        return ok("met")

    found = run(*(Probe(name, name.upper(), look, where="there") for name in "abc"))
    assert [(each.name, each.title, each.where, each.what) for each in found] == [
        ("a", "A", "there", "met"),
        ("b", "B", "there", "met"),
        ("c", "C", "there", "met"),
    ]


def test_what_is_raised_is_the_failure_with_its_fix() -> None:
    (found,) = run(Probe("index", "index", refuse))
    assert found.state is CheckState.FAIL
    assert found.fix == known("state-busy", path="/x").fix
    assert "could not be locked for 5 s" in found.what
    error = first_error([ok("fine"), found])
    assert error is not None
    assert (error.code, error.exit_code) == ("state-busy", 5)
    assert first_error([ok("fine"), warn("look"), skipped("no")]) is None


def test_several_failures_become_one_error_that_tells_all() -> None:
    def other(_cancel: CancelToken) -> Check:
        raise known("state-unwritable", path="/y", detail="full")

    found = run(Probe("a", "A", refuse), Probe("b", "B", lambda _cancel: ok("fine")), Probe("c", "C", other))
    error = one_error(found)
    assert error is not None
    assert error.code == "state-busy"
    assert error.why.splitlines()[1:] == ["also C: cannot write /y: full"]
    assert set(known("state-unwritable", path="/y").fix) <= set(error.fix)
    assert one_error(found[1:2]) is None


def test_what_needs_a_failed_one_is_skipped_and_says_so() -> None:
    def never(_cancel: CancelToken) -> Check:
        raise AssertionError("looked")

    found = run(
        Probe("keys", "credentials", refuse),
        Probe("bucket", "bucket", never, needs=("keys",)),
        Probe("object", "object", never, needs=("bucket",)),
        Probe("clock", "clock", lambda _cancel: warn("late")),
        Probe("time", "time", lambda _cancel: ok("on time"), needs=("clock",)),
    )
    assert [each.state for each in found] == ["fail", "skipped", "skipped", "warn", "ok"]
    assert found[1].what == "not looked at: credentials first"


def test_every_check_is_heard_of_as_a_step() -> None:
    heard: list[Event] = []
    run(
        Probe("a", "A", lambda _cancel: ok("fine")),
        Probe("b", "B", lambda _cancel: warn("look")),
        Probe("c", "C", lambda _cancel: skipped("why")),
        Probe("d", "D", refuse),
        heard=heard,
    )
    assert {event.step for event in heard if isinstance(event, StepStarted)} == {
        "check a",
        "check b",
        "check c",
        "check d",
    }
    ended = {event.step: event for event in heard if isinstance(event, StepFinished)}
    assert [(ended[f"check {name}"].warned, ended[f"check {name}"].skipped) for name in "abc"] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    (bad,) = [event for event in heard if isinstance(event, StepFailed)]
    assert bad.code == "state-busy"


def test_a_cancel_ends_the_looking() -> None:
    token = CancelToken()

    def wait(cancel: CancelToken) -> Check:
        token.cancel("enough")
        cancel.wait(30)
        cancel.check()
        return ok("never")

    begun = time.monotonic()
    with pytest.raises(Cancelled):
        run(Probe("a", "A", wait), cancel=token)
    assert time.monotonic() - begun < 5


def test_what_does_not_answer_in_time_is_skipped_and_the_rest_counts() -> None:
    def wait(cancel: CancelToken) -> Check:
        cancel.wait(30)
        cancel.check()
        return ok("never")

    begun = time.monotonic()
    slow, quick = run(Probe("a", "A", wait), Probe("b", "B", lambda _cancel: ok("there")), seconds=0.2)
    assert time.monotonic() - begun < 5
    assert (slow.state, slow.what) == ("skipped", "no answer within 0.2 s")
    assert quick.state == "ok"


def test_a_check_is_plain_json() -> None:
    error = known("state-busy", path="/x", seconds=5)
    assert failed(error).to_json() == {
        "name": "",
        "where": "here",
        "state": "fail",
        "what": f"{error.what}: {error.why}",
        "fix": ["repeat the command", "fuser -v /x"],
        "code": "state-busy",
        "facts": {"path": "/x", "seconds": 5},
        "seconds": 0.0,
    }
