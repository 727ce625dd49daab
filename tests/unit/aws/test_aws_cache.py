"""Answers kept for an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from runctl.providers.aws.cache import AnswerCache
from runctl.testing.clock import FakeClock


class Asked:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> list[int]:
        self.times += 1
        return [self.times]


def cache(folder: Path, clock: FakeClock, *, whose: str = "me", read_only: bool = False) -> AnswerCache:
    return AnswerCache(folder, whose=whose, now=clock.now, read_only=read_only)


def test_an_answer_is_good_for_an_hour_and_says_when_it_was_given(tmp_path: Path) -> None:
    clock, ask = FakeClock(), Asked()
    given = clock.now()
    assert cache(tmp_path, clock).get(["q"], ask) == ([1], given)
    clock.advance(3599)
    assert cache(tmp_path, clock).get(["q"], ask) == ([1], given)
    clock.advance(2)
    assert cache(tmp_path, clock).get(["q"], ask)[0] == [2]
    clock.advance(-7200)  # a clock that was set back: an answer from the future is no answer
    assert cache(tmp_path, clock).get(["q"], ask)[0] == [3]


def test_another_question_or_another_account_has_another_answer(tmp_path: Path) -> None:
    clock, ask = FakeClock(), Asked()
    assert cache(tmp_path, clock).get(["q"], ask)[0] == [1]
    assert cache(tmp_path, clock).get(["other"], ask)[0] == [2]
    assert cache(tmp_path, clock, whose="you").get(["q"], ask)[0] == [3]


def test_a_dry_run_reads_and_writes_nothing(tmp_path: Path) -> None:
    clock, ask, folder = FakeClock(), Asked(), tmp_path / "none"
    assert cache(folder, clock, read_only=True).get(["q"], ask)[0] == [1]
    assert not folder.exists()
    cache(folder, clock).get(["q"], ask)
    assert cache(folder, clock, read_only=True).get(["q"], ask)[0] == [2]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"at": "x"}', b'{"question": 1, "at": 2, "answer": 3}', b"\xff"]
)
def test_a_damaged_file_is_asked_again(tmp_path: Path, damage: bytes) -> None:
    clock, ask = FakeClock(), Asked()
    cache(tmp_path, clock).get(["q"], ask)
    [file] = tmp_path.iterdir()
    file.write_bytes(damage)
    assert cache(tmp_path, clock).get(["q"], ask)[0] == [2]
    assert cache(tmp_path, clock).get(["q"], ask)[0] == [2]


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ask = Asked()
    assert cache(tmp_path / "file" / "below", FakeClock()).get(["q"], ask)[0] == [1]


def test_a_question_that_fails_is_not_remembered(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        cache(tmp_path, FakeClock()).get(["q"], fail)
    assert list(tmp_path.iterdir()) == []
