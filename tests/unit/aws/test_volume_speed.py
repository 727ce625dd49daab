"""How fast a gp3 volume is made, by its size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.providers.aws.volumes import speed


@pytest.mark.parametrize(
    ("gb", "iops", "mbs"),
    [
        (1, 3000, 125),
        (73, 3000, 125),
        (100, 3000, 171),
        (500, 3416, 854),
        (586, 4000, 1000),
        (16000, 4000, 1000),
    ],
)
def test_what_reads_it_in_ten_minutes(gb: int, iops: int, mbs: int) -> None:
    assert speed(gb) == (iops, mbs)


@given(st.integers(min_value=1, max_value=16384))
def test_never_more_than_gp3_allows(gb: int) -> None:
    iops, mbs = speed(gb)
    assert 3000 <= iops <= max(3000, min(16000, gb * 500))
    assert 125 <= mbs <= min(1000, iops // 4 + 1)
