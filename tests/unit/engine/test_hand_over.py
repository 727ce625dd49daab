"""A machine that waits for its code hears that it is on the way, for as long as it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.agentbox import until

from runctl.core.cancel import CancelToken, together
from runctl.core.errors import Cancelled
from runctl.engine import hand_over
from runctl.registry import store as store_at
from runctl.testing.surroundings import surroundings


def test_the_word_changes_while_code_is_sent_and_not_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over, "ANNOUNCE_EVERY", 0.05)
    store = store_at(tmp_path.as_uri(), surroundings())
    word = tmp_path / "runs/r1/lease.json"
    seen: set[str] = set()

    def heard() -> bool:
        if word.exists():
            seen.add(word.read_text())
        return len(seen) >= 3

    with together(CancelToken()) as scope, hand_over._announced(store, "r1", scope):
        until(heard, "three words")
    last = word.stat().st_mtime_ns
    time.sleep(0.3)  # six times as long as between two words
    assert word.stat().st_mtime_ns == last


def test_a_quick_sending_says_nothing_and_a_cancelled_one_ends(tmp_path: Path) -> None:
    store = store_at(tmp_path.as_uri(), surroundings())
    begun = time.monotonic()
    with together(CancelToken()) as scope, hand_over._announced(store, "r1", scope):
        pass
    cancel = CancelToken()
    with pytest.raises(Cancelled), together(cancel) as scope, hand_over._announced(store, "r1", scope):
        cancel.cancel()
    assert time.monotonic() - begun < 5
    assert not (tmp_path / "runs").exists()
