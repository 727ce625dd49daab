"""How long a script may take when its machine is taken back."""

from __future__ import annotations

import pytest

from runctl.agent.notice import grace


@pytest.mark.parametrize(
    ("left", "wanted"),
    [
        (120, 90),
        (90, 60),
        (30, 20),
        (3, 2),
        (0, 85),  # the notice is seconds old, so there cannot be nothing left: the machine's clock is wrong
        (-7200, 85),
        (7200, 85),
    ],
)
def test_a_third_is_kept_to_store_the_last_checkpoint_and_a_wrong_clock_is_not_believed(
    left: float, wanted: float
) -> None:
    assert grace(1_700_000_000 + left, 1_700_000_000) == wanted
