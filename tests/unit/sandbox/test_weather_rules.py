"""Weather as a value: which calls a rule meets, how often, and that a seed repeats it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.sandbox.weather import KINDS, BadRule, Rule, Weather, parse, read_scenario

CALL = {"service": "ec2", "action": "DescribeInstances", "region": "us-east-1", "access_key": "AKIA1"}


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def weather(*rules: dict[str, Any], clock: Hand | None = None, seed: int = 0) -> Weather:
    made = Weather(monotonic=clock or Hand(), seed=seed)
    for rule in rules:
        made.add(parse(rule))
    return made


@pytest.mark.parametrize(
    ("rule", "strikes"),
    [
        ({}, True),
        ({"service": "ec2"}, True),
        ({"service": "s3"}, False),
        ({"action": "Describe*"}, True),
        ({"action": "Run*"}, False),
        ({"region": "us-*", "action": "*Instances"}, True),
        ({"key": "bucket/*"}, False),  # the call has no key: a rule about one is not about it
        ({"chance": 0.0}, False),
        ({"at": 5.0}, False),
    ],
)
def test_a_rule_meets_the_calls_it_describes(rule: dict[str, Any], strikes: bool) -> None:
    assert (weather({"kind": "throttle", **rule}).fault(CALL) is not None) is strikes


def test_the_words_are_those_of_the_service() -> None:
    storm = weather({"kind": "throttle"})
    said = {service: storm.fault({**CALL, "service": service}) for service in ("ec2", "s3", "ssm", "iam")}
    assert {service: fault.code for service, fault in said.items() if fault} == {
        "ec2": "RequestLimitExceeded",
        "s3": "SlowDown",
        "ssm": "ThrottlingException",
        "iam": "Throttling",
    }


def test_a_rule_counts_what_it_lets_pass_and_what_it_disturbs() -> None:
    storm = weather({"kind": "error", "skip": 2, "times": 3})
    assert [storm.fault(CALL) is not None for _ in range(7)] == [False, False, True, True, True, False, False]
    assert storm.rules() == [{"kind": "error", "id": "w1", "met": 7, "hit": 3, "skip": 2, "times": 3}]


def test_a_rule_lasts_as_long_as_it_says() -> None:
    clock = Hand()
    storm = weather({"kind": "error", "at": 10, "seconds": 5}, clock=clock)
    seen = []
    for clock.now in (100, 109.9, 110, 114.9, 115):
        seen.append(storm.fault(CALL) is not None)
    assert seen == [False, False, True, True, False]


def test_capacity_is_asked_for_and_not_given_to_every_call() -> None:
    full = weather({"kind": "capacity", "zone": "us-east-1a"})
    assert full.fault({**CALL, "zone": "us-east-1a"}) is None
    fault = full.fault({**CALL, "zone": "us-east-1a", "instance_type": "g5.xlarge"}, kinds=("capacity",))
    assert fault is not None
    assert (fault.code, "g5.xlarge" in fault.message, "us-east-1a" in fault.message) == (
        "InsufficientInstanceCapacity",
        True,
        True,
    )


@given(st.integers(), st.lists(st.sampled_from(["ec2", "s3", "ssm"]), max_size=60))
def test_the_same_seed_and_calls_meet_the_same_weather(seed: int, services: list[str]) -> None:
    rules: list[dict[str, Any]] = [
        {"kind": "throttle", "service": "ec2", "chance": 0.3},
        {"kind": "unavailable", "chance": 0.5},
    ]
    one, two = weather(*rules, seed=seed), weather(*rules, seed=seed)
    assert [one.fault({"service": each}) for each in services] == [
        two.fault({"service": each}) for each in services
    ]


def test_setting_the_seed_begins_the_weather_again() -> None:
    storm = weather({"kind": "error", "chance": 0.5})

    def forty() -> list[bool]:
        storm.set_seed(7)
        return [storm.fault(CALL) is not None for _ in range(40)]

    first = forty()
    assert first == forty()
    assert 5 < sum(first) < 35


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "rain"},
        {},
        {"kind": "error", "servcie": "ec2"},
        {"kind": "error", "chance": 1.5},
        {"kind": "error", "times": -1},
        {"kind": "error", "times": 1.5},
        {"kind": "error", "chance": "often"},
        {"kind": "error", "times": True},
        {"kind": "cut", "direction": "sideways"},
        {"kind": "error", "hit": 3},
    ],
)
def test_a_mistake_in_a_rule_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRule):
        parse(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_given(kind: str) -> None:
    assert parse({"kind": kind}) == Rule(kind)


def test_a_scenario_is_json_or_toml(tmp_path: Path) -> None:
    whole = {"seed": 3, "weather": [{"kind": "error", "times": 2}]}
    (tmp_path / "a.json").write_text(json.dumps(whole))
    (tmp_path / "a.toml").write_text('seed = 3\n[[weather]]\nkind = "error"\ntimes = 2\n')
    assert read_scenario(tmp_path / "a.json") == read_scenario(tmp_path / "a.toml") == whole
    for text in (
        "[1",
        "[]",
        '{"weather": 3}',
        '{"weather": [3]}',
        '{"weather": [], "wether": 1}',
        '{"weather": [], "seed": "x"}',
    ):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(BadRule):
            read_scenario(tmp_path / "b.json")


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "throttle", "zone": "us-east-1a"},
        {"kind": "capacity", "key": "a/b"},
        {"kind": "interrupt", "chance": 0.5},
        {"kind": "die", "seconds": 5},
        {"kind": "silent", "region": "us-east-1"},
        {"kind": "skew", "instance": "i-1"},
        {"kind": "clear", "at": 1},
    ],
    ids=lambda rule: rule["kind"],
)
def test_a_rule_says_nothing_that_its_kind_does_not_look_at(rule: dict[str, Any]) -> None:
    [name] = set(rule) - {"kind"}
    with pytest.raises(BadRule, match=f"{rule['kind']} does not look at '{name}'"):
        parse(rule)
