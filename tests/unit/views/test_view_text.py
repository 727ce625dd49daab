from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.views import text


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (-5, "0 B"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1536, "1.5 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (310_000_000, "310 MB"),
        (2 * 10**9, "2.0 GB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_sizes(count, expected):
    assert text.size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (1, "1s"),
        (30, "30s"),
        (59, "59s"),
        (60, "1m 0s"),
        (90, "1m 30s"),
        (3599, "59m 59s"),
        (3600, "1h 0m 0s"),
        (3661, "1h 1m 1s"),
        (3665, "1h 1m 5s"),
        (7200, "2h 0m 0s"),
        (86400, "24h 0m 0s"),
        (90061, "25h 1m 1s"),
        (-3, "0s"),
    ],
)
def test_durations(seconds, expected):
    assert text.duration(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.004, "0.00s"),
        (0.23, "0.23s"),
        (0.996, "1.0s"),
        (12.34, "12.3s"),
        (59.96, "1m 0s"),
        (133.4, "2m 13s"),
    ],
)
def test_brief_durations(seconds, expected):
    assert text.brief(seconds) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0:00"), (67, "1:07"), (3723, "1:02:03")])
def test_clock(seconds, expected):
    assert text.clock(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2, "about 1 s left"),
        (12.4, "about 12 s left"),
        (43, "about 45 s left"),
        (58, "about 1 min left"),
        (170, "about 3 min left"),
        (3600, "about 1 h left"),
        (4800, "about 1 h 20 min left"),
    ],
)
def test_estimates_are_as_coarse_as_they_deserve(seconds, expected):
    assert text.remaining(seconds) == expected


@pytest.mark.parametrize(
    ("done", "total", "unit", "expected"),
    [
        (120_000_000, 310_000_000, "bytes", "120 / 310 MB"),
        (1_500_000, None, "bytes", "1.5 MB"),
        (3, 12, "packages", "3 / 12 packages"),
        (1, None, "files", "1 file"),
        (1204, None, "files", "1,204 files"),
        (400, 300, "bytes", "300 / 300 B"),
    ],
)
def test_amounts(done, total, unit, expected):
    assert text.amount(done, total, unit) == expected


def test_rates_below_one_are_not_said():
    assert text.rate(0.4, "packages") == ""
    assert text.rate(12_300_000, "bytes") == "12.3 MB/s"
    assert text.rate(40, "files") == "40 files/s"


@pytest.mark.parametrize(
    ("words", "width", "expected"),
    [
        ("short", 10, "short"),
        ("src/a/very/long/path.py", 11, "src/a…th.py"),
        ("日本語テキスト", 7, "日本…ト"),
        ("abcdef", 2, "ab"),
        ("abcdef", 0, ""),
    ],
)
def test_clipping_keeps_both_ends(words, width, expected):
    assert text.clip(words, width) == expected


@given(st.text(), st.integers(0, 60))
def test_clipped_text_fits(words, width):
    assert text.cells(text.clip(words, width)) <= width


@pytest.mark.parametrize(
    ("words", "columns"), [("abc", 3), ("日本", 4), ("e\N{COMBINING ACUTE ACCENT}", 1), ("🚀", 2), ("", 0)]
)
def test_columns(words, columns):
    assert text.cells(words) == columns


@given(
    st.text(st.characters()) | st.text(st.sampled_from("\x1b[]31mab\x07\r\n\t\x9b\u202e\u2028\udc80 \x00"))
)
def test_safe_text_cannot_drive_a_terminal(words):
    safe = text.safe(words)
    assert all(character.isprintable() or character == "\N{ZERO WIDTH JOINER}" for character in safe)
    assert text.safe(safe) == safe
    assert len(safe) == len(words)
    safe.encode()  # no lone surrogates: it can be written


def test_safe_text_keeps_what_is_harmless():
    family = "👩\N{ZERO WIDTH JOINER}🔬 naïve 日本"
    assert text.safe(family) == family
    assert text.safe("a\tb\nc\u00a0d") == "a b c d"
    assert text.safe("\x1b[31mred") == "�[31mred"


def test_commands_are_quoted():
    assert text.command(["python", "my script.py", "$HOME"]) == "python 'my script.py' '$HOME'"


def test_timestamps_round_trip():
    assert text.timestamp(1_795_456_800.1234) == "2026-11-23T18:00:00.123Z"
    assert text.seconds("2026-11-23T18:00:00.123Z") == pytest.approx(1_795_456_800.123)
    assert text.seconds("yesterday") is None


@given(st.lists(st.text("abc日", min_size=1, max_size=12)), st.integers(8, 40))
def test_wrapping_loses_no_word(words, width):
    lines = text.wrap(" ".join(words), width)
    assert " ".join(lines).split() == words
    assert all(text.cells(line) <= width or " " not in line for line in lines)
