"""A strict S3 on disk: signatures, checksums, conditional writes, multipart uploads, versions."""

from runctl.sandbox.s3.service import S3

__all__ = ["S3"]
