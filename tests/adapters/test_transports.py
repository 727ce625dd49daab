"""Every transport passes the same suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sshbox import SshBox, ssh_box
from tests.ssmworld import SsmWorld, ssm_world

from runctl.core.model import Endpoint
from runctl.core.ports import Transport
from runctl.testing.surroundings import surroundings
from runctl.testing.transports import TransportSuite
from runctl.transports.local import LocalTransport
from runctl.transports.ssh.transport import SshTransport


class TestLocal(TransportSuite):
    @pytest.fixture
    def transport(self) -> Transport:
        return LocalTransport(Endpoint("local"), surroundings())

    @pytest.fixture
    def there(self, tmp_path: Path) -> Path:
        folder = tmp_path / "there"
        folder.mkdir()
        return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmWorld]:
    with ssm_world(tmp_path_factory.mktemp("ssm")) as world:
        world.boot()
        yield world


@pytest.fixture
def instance(world: SsmWorld) -> str:
    world.blow("clear")
    return world.only()


class TestSsmSessions(TestLocal):
    """An instance whose files are here, through a relay and two sessions."""

    @pytest.fixture
    def transport(self, world: SsmWorld, instance: str) -> Iterator[Transport]:
        with world.transport(instance) as transport:
            yield transport


class TestSsmCommands(TestSsmSessions):
    """The same instance where sessions are not allowed: commands, files there, objects in the bucket."""

    @pytest.fixture
    def transport(self, world: SsmWorld, instance: str) -> Iterator[Transport]:
        world.blow("denied", service="ssm", action="StartSession")
        with world.transport(instance, aws__bucket=world.bucket()) as transport:
            yield transport


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBox]:
    with ssh_box(tmp_path_factory.mktemp("ssh") / "box") as box:
        yield box


class TestSsh(TestLocal):
    """A real sshd on this computer, through OpenSSH."""

    @pytest.fixture
    def transport(self, host: SshBox) -> Transport:
        return SshTransport(
            Endpoint("ssh", "box"), surroundings(env=os.environ, ssh__config=str(host.config))
        )
