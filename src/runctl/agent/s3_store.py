"""S3 as a store: single requests, and whole files."""

from __future__ import annotations

from runctl.s3.client import S3
from runctl.s3.download import download
from runctl.s3.upload import upload

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Told = Callable[[int], Any]


class S3Store(S3):
    """``Store`` in S3."""

    def get_file(
        self,
        key: str,
        path: str,
        *,
        size: int | None = None,
        digest: str = "",
        told: Told = lambda _count: None,
    ) -> None:
        """See ``s3_download.download``."""
        download(self, key, path, size=size, digest=digest, told=told)

    def put_file(self, key: str, path: str, *, told: Told = lambda _count: None) -> tuple[int, str]:
        """See ``s3_upload.upload``."""
        return upload(self, key, path, told)
