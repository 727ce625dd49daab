from __future__ import annotations

import pytest

from runctl.core.events import StepFailed, StepFinished, StepProgress, StepStarted
from runctl.views.progress import Step, Steps


def fed(rates: list[int], *, total: int | None = 1_000_000, every: float = 0.5) -> tuple[Step, float]:
    """A step that made ``rates`` bytes a second, one after the other, told of twice a second."""
    step = Step("s", "s", "here", 0.0)
    now, done = 0.0, 0.0
    for rate in rates:
        step.progress(StepProgress("s", int(done), total), now)
        now += every
        done += rate * every
    return step, now


def test_a_steady_rate_gives_an_estimate():
    step, now = fed([10_000] * 16)
    assert step.rate(now) == pytest.approx(10_000, rel=0.1)
    assert step.remaining(now) == pytest.approx((1_000_000 - 75_000) / 10_000, rel=0.15)


@pytest.mark.parametrize(
    "case",
    [
        fed([10_000] * 4),  # too early
        fed([10_000] * 16, total=None),  # nobody knows the total
        fed([50_000] * 8 + [5_000] * 8),  # slowing down a lot
        fed([0] * 16),  # not moving
        fed([10_000] * 16, total=75_000),  # done
    ],
    ids=["early", "no total", "unsteady", "still", "done"],
)
def test_no_estimate_where_none_is_honest(case):
    step, now = case
    assert step.remaining(now) is None


def test_no_estimate_after_silence_and_the_rate_sinks():
    step, now = fed([10_000] * 16)
    assert step.remaining(now + 10) is None
    assert step.rate(now + 10) < step.rate(now) / 2


def test_progress_that_goes_back_starts_the_rate_anew():
    step, now = fed([10_000] * 16)
    step.progress(StepProgress("s", 100, 1_000_000), now)
    assert step.rate(now + 0.5) == 0.0
    assert step.done == 100


def test_memory_of_a_chatty_step_is_bounded():
    step = Step("s", "s", "here", 0.0)
    for index in range(20_000):
        step.progress(StepProgress("s", index * 10), index / 1000)
    assert len(step.samples) < 60
    assert step.rate(20.0) == pytest.approx(10_000, rel=0.1)


def test_steps_keep_their_order_and_a_retry_its_place():
    steps = Steps()
    steps.apply(StepStarted("a", "first"), 0)
    steps.apply(StepStarted("b", "second", "machine"), 1)
    steps.apply(StepFailed("a", 2.0, "code", "broke"), 2)
    steps.apply(StepStarted("a", "first"), 3)
    assert [(step.name, step.state) for step in steps] == [("a", "running"), ("b", "running")]
    steps.apply(StepFinished("b", 1.0, "all good", skipped=True), 4)
    assert [(step.state, step.summary) for step in steps] == [("running", ""), ("skipped", "all good")]


def test_a_step_whose_start_was_not_seen_begins_with_its_first_event():
    steps = Steps()
    step = steps.apply(StepProgress("env", 1, 2, "packages", "torch"), 5.0)
    assert step is not None
    assert (step.title, step.state, step.started, step.item) == ("env", "running", 5.0, "torch")
