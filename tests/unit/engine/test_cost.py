"""What a run has cost: machines, prices and times in, money out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.records.record_samples import a_run

from runctl.core.model import Endpoint, Machine, Offer, Outcome, RunState
from runctl.engine.cost import cost, leased, returned, settled
from runctl.engine.records import timestamp

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def machine(name: str = "i-1", price: str = "3.6", **offer: object) -> Machine:
    return Machine(
        name,
        "aws",
        Endpoint("ssm"),
        Offer("aws", "g5.xlarge", "us-west-2", Decimal(price), zone="us-west-2a"),
    )


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "least", "expected"),
    [(3600, 60, "3.6000"), (100, 60, "0.1000"), (1, 60, "0.0600"), (1, 0, "0.0010"), (0, 0, "0.0000")],
)
def test_a_machine_costs_its_price_times_its_time_and_a_least(
    seconds: float, least: int, expected: str
) -> None:
    run = returned(leased(a_run(), machine(), now=NOON, least_seconds=least), now=after(seconds))
    assert str(cost(run.machines, now=after(99_999))) == expected


def test_a_machine_that_is_still_held_costs_until_now() -> None:
    run = leased(a_run(), machine(), now=NOON, least_seconds=0)
    assert run.machines[0]["to"] is None
    assert cost(run.machines, now=after(7200)) == Decimal("7.2000")


def test_the_same_machine_is_entered_once_and_a_second_attempt_adds_its_own() -> None:
    run = leased(a_run(), machine(), now=NOON, least_seconds=0)
    assert leased(run, machine(), now=after(5), least_seconds=0) == run
    run = leased(returned(run, now=after(3600)), machine("i-2", "1"), now=after(3600), least_seconds=0)
    run = returned(run, now=after(7200))
    assert [each["machine"] for each in run.machines] == ["i-1", "i-2"]
    assert cost(run.machines, now=NOON) == Decimal("4.6000")


def test_a_clock_that_went_back_costs_nothing_negative() -> None:
    run = returned(leased(a_run(), machine(), now=NOON, least_seconds=0), now=after(-50))
    assert cost(run.machines, now=NOON) == 0


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=5))
def test_the_sum_is_that_of_its_parts(times: list[int]) -> None:
    run = a_run()
    for number, seconds in enumerate(times):
        run = leased(run, machine(f"i-{number}", "0.36"), now=NOON, least_seconds=0)
        run = returned(run, now=after(seconds))
    parts = sum((cost([each], now=NOON) for each in run.machines), Decimal(0))
    assert abs(cost(run.machines, now=NOON) - parts) <= Decimal("0.0001") * len(times)


def test_a_run_that_ended_while_nobody_looked_costs_until_its_end_and_no_longer() -> None:
    going = leased(a_run(state=RunState.RUNNING), machine(), now=NOON, least_seconds=60)
    assert settled(going) == going
    over = replace(going, state=RunState.ENDED, outcome=Outcome.SUCCEEDED, ended_at=timestamp(after(3600)))
    assert cost(settled(over).machines, now=after(99_999)) == Decimal("3.6000")
    assert settled(settled(over)) == settled(over)
    seen = returned(settled(over), now=after(3700))  # who saw the machine go knows better
    assert cost(seen.machines, now=after(99_999)) == Decimal("3.7000")


def test_a_run_that_never_said_when_it_ended_costs_the_least() -> None:
    run = leased(a_run(), machine(), now=NOON, least_seconds=60)
    over = replace(run, state=RunState.ENDED, outcome=Outcome.PREEMPTED, ended_at=None)
    assert cost(settled(over).machines, now=after(99_999)) == Decimal("0.0600")
