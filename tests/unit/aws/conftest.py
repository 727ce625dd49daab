"""One sandbox for a module of AWS tests, in fair weather before each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.aws.aws_world import blow, environment
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("aws"), "--plain") as box:
        yield box


@pytest.fixture
def aws(cloud: SandboxBox, tmp_path: Path) -> Iterator[SandboxBox]:
    """The sandbox, reached by the environment of this process."""
    with environment(cloud, tmp_path):
        yield cloud
    blow(cloud, "clear")
