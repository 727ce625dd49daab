"""When a call is made again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.core.retry import CAP_SECONDS, Failure, RetryPolicy

DRAWS = st.floats(0, 1, exclude_max=True)


@given(
    failure=st.sampled_from(Failure),
    failures=st.integers(1, 10_000),
    elapsed=st.floats(0, 1e6),
    draw=DRAWS,
    attempts=st.integers(1, 20),
    deadline=st.floats(0, 1000),
)
def test_a_delay_is_never_too_long_and_never_past_the_deadline(
    failure, failures, elapsed, draw, attempts, deadline
):
    policy = RetryPolicy(attempts, deadline)
    delay = policy.delay(failure, failures=failures, elapsed=elapsed, draw=draw)
    if delay is None:
        assert (
            failure is Failure.PERMANENT
            or elapsed >= deadline
            or (failure is Failure.TRANSIENT and failures >= attempts)
        )
    else:
        assert 0 <= delay <= CAP_SECONDS
        assert elapsed + delay <= deadline + 1e-6


@given(draw=DRAWS, attempts=st.integers(1, 30))
def test_a_broken_call_is_made_exactly_as_often_as_allowed(draw, attempts):
    policy, made = RetryPolicy(attempts, 1e9), 1
    while policy.delay(Failure.TRANSIENT, failures=made, elapsed=0, draw=draw) is not None:
        made += 1
    assert made == attempts


def test_throttling_is_bounded_by_time_alone():
    policy = RetryPolicy(attempts=2, deadline_seconds=60)
    assert policy.delay(Failure.THROTTLED, failures=40, elapsed=59, draw=0.999) == pytest.approx(1)
    assert policy.delay(Failure.THROTTLED, failures=3, elapsed=60, draw=0.1) is None


def test_the_ceiling_doubles_and_jitter_is_full():
    policy = RetryPolicy(attempts=9)
    highest = [policy.delay(Failure.TRANSIENT, failures=n, elapsed=0, draw=0.999999) for n in range(1, 6)]
    assert [round(each or 0, 3) for each in highest] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert policy.delay(Failure.TRANSIENT, failures=5, elapsed=0, draw=0.0) == 0
