"""What the tests of the sandbox share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.s3box import S3Box, s3_in


@pytest.fixture
def s3box(tmp_path: Path) -> Iterator[S3Box]:
    """S3 alone, empty."""
    with s3_in(tmp_path / "s3") as box:
        yield box


@pytest.fixture
def s3(s3box: S3Box) -> Any:
    """A boto3 client on an S3 with one bucket, `bucket`."""
    client = s3box.client()
    client.create_bucket(Bucket="bucket")
    return client
