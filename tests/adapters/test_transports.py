"""Every transport passes the same suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from runctl.core.model import Endpoint
from runctl.core.ports import Transport
from runctl.testing.surroundings import surroundings
from runctl.testing.transports import TransportSuite
from runctl.transports.local import LocalTransport


class TestLocal(TransportSuite):
    @pytest.fixture
    def transport(self) -> Transport:
        return LocalTransport(Endpoint("local"), surroundings())

    @pytest.fixture
    def there(self, tmp_path: Path) -> Path:
        folder = tmp_path / "there"
        folder.mkdir()
        return folder
