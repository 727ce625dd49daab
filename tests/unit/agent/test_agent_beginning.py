"""Only the last lines, or only what is new."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agentbox import AgentBox

from runctl.agent import beginning
from runctl.agent.journal import timestamp


@given(st.lists(st.binary(max_size=5), max_size=30), st.integers(0, 40), st.integers(1, 9))
def test_the_last_lines_are_those_of_splitting(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], count: int, block: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    data = b"\n".join(parts)
    path.write_bytes(data)
    was, beginning.BLOCK = beginning.BLOCK, block
    try:
        at = beginning.before_lines(str(path), len(data), count)
    finally:
        beginning.BLOCK = was
    lines = data.split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    assert data[at:] == b"".join(lines[max(len(lines) - count, 0) :])


@given(st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), max_size=60), st.integers(-5, 70_000))
def test_the_size_at_a_time_is_the_last_one_noted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], at: int
) -> None:
    size = seconds = 0
    notes = []
    for more, later in steps:
        size, seconds = size + more, seconds + later
        notes.append((size, seconds))
    path = tmp_path_factory.getbasetemp() / "times"
    path.write_text("".join(f"{size} {seconds:.3f}\n" for size, seconds in notes))
    expected = max((size for size, seconds in notes if seconds <= at), default=0)
    assert beginning.size_at(str(path), at) == expected


def test_a_line_that_began_far_away_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"first\nsecond" + b"x" * beginning.BLOCK * 2)
    assert beginning.line_start(str(path), 9) == 6
    assert beginning.line_start(str(path), 3) == 0
    assert beginning.line_start(str(path), beginning.BLOCK * 2) == beginning.BLOCK * 2


@pytest.mark.parametrize("seconds", [0.0, 1_700_000_000.5, 951_782_400.25])
def test_a_timestamp_is_read_as_it_was_written(seconds: float) -> None:
    assert beginning.epoch(timestamp(seconds)) == seconds


def test_following_the_tail_and_since(box: AgentBox) -> None:
    source = (
        "import os, sys, time\nprint('one'); print('two', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "print('three', end='')\n"
    )
    box.launch("r1", source)
    box.says("r1", b"two\n")
    assert box.follow("r1", wait=False, tail=1).output == b"two\n"
    assert box.follow("r1", wait=False, tail=0).output == b""
    time.sleep(0.5)
    middle = time.time()
    time.sleep(0.5)
    (box.folder("r1") / "code" / "go").write_text("")
    box.ended("r1")
    assert box.follow("r1", tail=2).output == b"two\nthree"
    assert box.follow("r1", tail=100).output == b"one\ntwo\nthree"
    assert box.follow("r1", since=middle).output == b"three"
    assert box.follow("r1", since=middle - 3600).output == b"one\ntwo\nthree"
    assert box.follow("r1", since=time.time() + 1).output == b""
    assert box.follow("r1", since=middle, output=10).output == b"ree"
    assert box.follow("r1", tail=1, output=None).output == b""
