"""Words for people: no name is ambiguous, none upsets a terminal, and a proposed line works when it is pasted."""

from __future__ import annotations

import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.project.ignore import bytewise, from_patterns
from runctl.project.text import nearest, setting_line, shown

NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.text("*?[]\\!#\" '\n\té", min_size=1, max_size=8),
    st.binary(min_size=1, max_size=6).filter(lambda data: not {0, 47} & set(data)).map(os.fsdecode),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train.py", "train.py"),
        ("my file.py", "my file.py"),
        ("é/ü.py", "é/ü.py"),
        ("a\nb", '"a\\nb"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("\x1b[31m", '"\\033[31m"'),
        (os.fsdecode(b"caf\xe9"), '"caf\\351"'),
        ("\u202e", '"\\342\\200\\256"'),
    ],
)
def test_a_path_as_one_line(path: str, expected: str) -> None:
    assert shown(path) == expected


@given(NAMES, NAMES)
def test_no_two_names_look_alike_and_none_leaves_its_line(one: str, two: str) -> None:
    assert shown(one).isprintable()
    assert (shown(one) == shown(two)) == (one == two)


@given(NAMES.filter(lambda name: name not in (".", "..")))
def test_the_proposed_line_names_the_path(name: str) -> None:
    path = f"a/{name}"
    patterns = tomllib.loads(setting_line("include", path))["include"]
    rule = from_patterns(patterns, origin="include").match(bytewise(name), bytewise(path), False)
    assert rule is not None
    assert not rule.negated


@pytest.mark.parametrize(
    ("text", "candidates", "expected"),
    [
        ("trian.py", ["train.py", "test.py", "x.py"], ["train.py"]),
        ("src/train.py", ["training/train.py", "src/main.py"], ["training/train.py", "src/main.py"]),
        ("trian.py", ["training/train.py", "link.py"], ["training/train.py"]),
        ("TRAIN.py", ["train.py"], ["train.py"]),
        ("q", ["train.py"], []),
        ("train.py", [], []),
    ],
)
def test_nearest(text: str, candidates: list[str], expected: list[str]) -> None:
    assert nearest(text, candidates) == expected
