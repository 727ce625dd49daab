from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runctl.engine.index import Index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def index(state: Path) -> Iterator[Index]:
    with Index(state) as opened:
        yield opened
