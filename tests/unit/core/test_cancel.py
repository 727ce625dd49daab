"""Cancellation: seen at once, shared downwards, and a scope that ends only when its work has ended."""

from __future__ import annotations

import threading
import time

import pytest

from runctl.core.cancel import CancelToken, together
from runctl.core.errors import Cancelled, MachineGone


def test_a_child_is_cancelled_with_its_parent_and_not_the_other_way() -> None:
    parent = CancelToken()
    child = CancelToken(parent)
    child.cancel("child")
    assert not parent.cancelled
    other = CancelToken(parent)
    parent.cancel("stop")
    assert other.cancelled
    assert other.reason == "stop"
    assert CancelToken(parent).cancelled


def test_waiting_ends_when_cancelled() -> None:
    token = CancelToken()
    threading.Timer(0.05, token.cancel).start()
    begun = time.monotonic()
    assert token.wait(30)
    assert time.monotonic() - begun < 5


def test_waiting_ends_by_itself() -> None:
    assert not CancelToken().wait(0.01)


def test_the_first_failure_cancels_the_others_and_is_what_is_raised() -> None:
    ended: list[str] = []
    with pytest.raises(ValueError, match="first"), together(CancelToken()) as scope:

        def patient() -> None:
            scope.cancel.wait(30)
            ended.append("patient")
            scope.cancel.check()

        def failing() -> None:
            raise ValueError("first")

        scope.start("patient", patient)
        scope.start("failing", failing)
    assert ended == ["patient"]


def test_a_machine_that_is_gone_outranks_the_failures_it_causes() -> None:
    with pytest.raises(MachineGone), together(CancelToken()) as scope:
        failed = threading.Event()

        def copying() -> None:
            failed.set()
            raise OSError("connection reset")

        def watching() -> None:
            failed.wait(10)
            raise MachineGone("gone", what="gone")

        scope.start("copying", copying)
        scope.start("watching", watching)


def test_results_come_back() -> None:
    with together(CancelToken()) as scope:
        child = scope.start("adding", lambda: 1 + 1)
    assert child.result() == 2


def test_an_outer_cancel_ends_the_scope_as_cancelled() -> None:
    outer = CancelToken()
    with pytest.raises(Cancelled), together(outer) as scope:

        def work() -> None:
            outer.cancel("ctrl-c")
            scope.cancel.wait(30)
            scope.cancel.check()

        scope.start("work", work)


def test_an_error_in_the_block_is_raised_after_the_children_ended() -> None:
    ended: list[bool] = []
    with pytest.raises(KeyError), together(CancelToken()) as scope:
        scope.start("child", lambda: ended.append(scope.cancel.wait(30)))
        raise KeyError("block")
    assert ended == [True]
