from __future__ import annotations

import os
import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.engine import names

ENDS_IN_2100 = 4102444800.0
randoms = st.binary(min_size=10, max_size=10)


def fixed(data: bytes) -> Callable[[int], bytes]:
    def random(size: int) -> bytes:
        assert size == len(data)
        return data

    return random


@pytest.mark.parametrize("words", [names.ADJECTIVES, names.ANIMALS])
def test_word_lists_are_many_plain_and_without_repeats(words: tuple[str, ...]) -> None:
    assert len(words) >= 60
    assert len(set(words)) == len(words)
    assert all(3 <= len(word) <= 8 and set(word) <= set(string.ascii_lowercase) for word in words)


@given(st.floats(0, ENDS_IN_2100), randoms)
def test_an_id_is_26_letters_holding_its_time_and_names_a_run(now: float, random: bytes) -> None:
    run_id = names.new_id(now=now, random=fixed(random))
    assert names.is_id(run_id)
    assert len(run_id) == 26
    assert names.time_of(run_id) == int(now * 1000) / 1000
    name = names.name_of(run_id)
    assert re.fullmatch(r"[a-z]+-[a-z]+-[0-9a-z]{4}", name)
    assert run_id.endswith(name[-4:])
    assert name == names.name_of(run_id)


@given(st.integers(0, 2**47), st.integers(1, 10_000), randoms, randoms)
def test_ids_sort_as_text_the_way_they_sort_in_time(ms: int, later: int, one: bytes, two: bytes) -> None:
    first = names.new_id(now=ms / 1000, random=fixed(one))
    second = names.new_id(now=(ms + later * 2) / 1000, random=fixed(two))
    assert first < second


def test_known_values() -> None:
    assert names.new_id(now=0, random=bytes) == "0" * 26
    assert names.new_id(now=(2**48 - 1) / 1000, random=lambda n: b"\xff" * n) == "7" + "z" * 25
    assert names.name_of("0" * 26) == f"{names.ADJECTIVES[0]}-{names.ANIMALS[0]}-0000"


@pytest.mark.parametrize("now", [-1.0, 2**48 / 1000])
def test_a_time_that_does_not_fit_is_refused(now: float) -> None:
    with pytest.raises(ValueError, match="not a time"):
        names.new_id(now=now, random=bytes)


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "8" + "0" * 25, "0" * 25 + "u", "0" * 25 + "A", "brave-otter-7k2m"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    assert not names.is_id(text)
    with pytest.raises(ValueError, match="not an id"):
        names.name_of(text)


def test_every_word_is_used_and_names_spread() -> None:
    made = [names.fresh(now=1.0, random=os.urandom)[1].split("-") for _ in range(8000)]
    assert {name[0] for name in made} == set(names.ADJECTIVES)
    assert {name[1] for name in made} == set(names.ANIMALS)


def test_fresh_avoids_taken_names_and_gives_up_when_randomness_repeats() -> None:
    first = names.name_of(names.new_id(now=5, random=bytes))
    draws = iter([bytes(10), bytes(10), b"\x01" * 10])
    run_id, name = names.fresh(now=5, random=lambda _n: next(draws), taken=lambda name: name == first)
    assert name != first
    assert names.name_of(run_id) == name
    with pytest.raises(RuntimeError, match="randomness"):
        names.fresh(now=5, random=bytes, taken=lambda _name: True)
