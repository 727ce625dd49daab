"""How commands change, as tables: sticky ends, MaxConcurrency, MaxErrors, what a whole command is said to be."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.sandbox.guest.scripts import execution_seconds
from runctl.sandbox.ssm import commands, public_amis
from runctl.sandbox.ssm.commands import TERMINAL, Command, Invocation, aggregate, apply_reply
from runctl.sandbox.ssm.settings import read_settings


def command(count: int, **changes: Any) -> Command:
    made = Command("c", "AWS-RunShellScript", "aws:runShellScript", {}, {}, 0.0, 30, 3600, **changes)
    made.invocations = {f"i-{number}": Invocation(f"i-{number}") for number in range(count)}
    return made


def reply(status: str, **plugin: Any) -> dict[str, Any]:
    return {"documentStatus": status, "runtimeStatus": {"aws:runShellScript": {"status": status, **plugin}}}


@given(st.permutations(["InProgress", "InProgress", "Success", "Failed", "TimedOut", "Cancelled"]))
def test_the_first_end_stays_in_any_order_of_replies(order: list[str]) -> None:
    invocation = Invocation("i-1")
    for number, status in enumerate(order):
        apply_reply(invocation, reply(status, code=number, standardOutput=status), now=float(number))
    first = next(status for status in order if status in TERMINAL)
    assert (invocation.status, invocation.stdout, invocation.code) == (first, first, order.index(first))
    assert invocation.ended == order.index(first)


def test_a_command_being_cancelled_does_not_run_again() -> None:
    invocation = Invocation("i-1", sent=True)
    assert commands.cancel(invocation, now=1.0)
    assert not apply_reply(invocation, reply("InProgress"), now=2.0)
    assert invocation.status == "Cancelling"
    assert apply_reply(invocation, reply("Cancelled", code=137), now=3.0)
    assert (invocation.status, invocation.details, invocation.code) == ("Cancelled", "Cancelled", 137)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], ("Success", "NoInstancesInTag")),
        (["Pending", "Pending"], ("Pending", "Pending")),
        (["Success", "Pending"], ("InProgress", "InProgress")),
        (["Success", "Cancelling"], ("Cancelling", "Cancelling")),
        (["Success", "Success"], ("Success", "Success")),
        (["Success", "Failed"], ("Failed", "Failed")),
        (["Cancelled", "Cancelled"], ("Cancelled", "Cancelled")),
        (["TimedOut", "TimedOut"], ("TimedOut", "TimedOut")),
        (["TimedOut", "Success"], ("Success", "Success")),
    ],
)
def test_what_a_whole_command_is(states: list[str], expected: tuple[str, str]) -> None:
    made = command(len(states), settled_empty=True)
    for invocation, state in zip(made.invocations.values(), states, strict=True):
        invocation.status = invocation.details = state
    assert aggregate(made) == expected


@given(
    st.integers(1, 30),
    st.one_of(st.integers(1, 20).map(str), st.integers(1, 100).map("{}%".format)),
    st.one_of(st.integers(0, 20).map(str), st.integers(0, 100).map("{}%".format)),
    st.integers(0, 2**32),
)
def test_concurrency_and_errors_are_kept_to(count: int, concurrency: str, errors: str, seed: int) -> None:
    made, dice = command(count, max_concurrency=concurrency, max_errors=errors), random.Random(seed)
    while not all(each.over for each in made.invocations.values()):
        made.give_up(now=0.0)
        for each in made.next_up():
            each.sent = True
        busy = [each for each in made.invocations.values() if each.sent and not each.over]
        assert len(busy) <= made.concurrency
        if busy:
            dice.choice(busy).end(*dice.choice([("Success", "Success"), ("Failed", "Failed")]), now=0.0)
    given_up = [each for each in made.invocations.values() if each.details == "Terminated"]
    assert not given_up or made.errors > made.error_budget
    assert made.errors <= made.error_budget + made.concurrency


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("4", 3600), ("172800", 172_800), ("172801", 3600), ("", 3600), ("soon", 3600), ("7.9", 7)],
)
def test_execution_timeouts_the_agent_cannot_use_are_an_hour(text: str, seconds: int) -> None:
    assert execution_seconds(text) == seconds


@given(st.text(max_size=60), st.integers(25, 40))
def test_a_clipped_text_keeps_its_limit_and_says_so(text: str, limit: int) -> None:
    clipped = commands.clip(text, limit)
    assert len(clipped) <= limit
    assert clipped == text if len(text) <= limit else clipped.endswith("--output truncated--")


def test_settings_are_read_and_checked() -> None:
    assert read_settings({"ssm_register_seconds": "3", "other": "x"}).register_seconds == 3
    for wrong in ({"ssm_idle_seconds": "soon"}, {"ssm_idle_seconds": "-1"}, {"ssm_clock_factor": "0"}):
        with pytest.raises(ValueError, match="cannot be"):
            read_settings(wrong)


def test_public_names_choose_the_newest_image_of_their_family() -> None:
    images = [
        ("ami-old", "al2022-ami-2022.0.20220728.1-kernel-5.15-x86_64", "x86_64"),
        ("ami-arm", "al2022-ami-2022.0.20220728.1-kernel-5.15-arm64", "arm64"),
        ("ami-jammy", "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20240101", "x86_64"),
        ("ami-focal", "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20250101", "x86_64"),
    ]
    latest = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
    ubuntu = "/aws/service/canonical/ubuntu/server/{}/stable/current/amd64/hvm/ebs-gp2/ami-id"
    assert public_amis.choose(latest.format("x86_64"), images) == "ami-old"
    assert public_amis.choose(latest.format("arm64"), images) == "ami-arm"
    assert public_amis.choose(ubuntu.format("22.04"), images) == "ami-jammy"
    assert public_amis.choose(ubuntu.format("20.04"), images) == "ami-focal"
    assert public_amis.choose("/aws/service/nothing", images) is None
