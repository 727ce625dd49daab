"""Every provider passes the same suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.aws.aws_world import Providers
from tests.unit.sandbox.cloud_world import sandbox

from runctl.core.model import Resources
from runctl.core.ports import Provider
from runctl.providers.local import LocalProvider
from runctl.providers.ssh import SshProvider
from runctl.testing.cloud import FakeCloud
from runctl.testing.providers import Make, ProviderSuite
from runctl.testing.surroundings import surroundings


class TestLocal(ProviderSuite):
    @pytest.fixture
    def make(self) -> Make:
        return lambda: LocalProvider(surroundings())


class TestSsh(ProviderSuite):
    @pytest.fixture
    def make(self) -> Make:
        return lambda: SshProvider(surroundings(), "ssh://me@one:2222 ssh://two")


class TestFakeCloud(ProviderSuite):
    @pytest.fixture
    def make(self) -> Make:
        cloud = FakeCloud()
        return lambda: cloud


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    base = tmp_path_factory.mktemp("aws")
    with sandbox(base, "--plain") as box, Providers.of(box, base) as clients:
        yield clients


class TestAws(ProviderSuite):
    need = Resources(machine_type="t3.micro", spot=True)

    @pytest.fixture
    def make(self, clients: Providers) -> Make:
        def another() -> Provider:
            return clients.make(aws__instance_profile="", aws__regions=("us-west-2",))

        return another
