"""What every operation is given, and the small decisions they share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from runctl.sandbox.http import Response
from runctl.sandbox.s3.conditions import check_write
from runctl.sandbox.s3.errors import S3Error, document_bytes
from runctl.sandbox.s3.xml import Value, element

if TYPE_CHECKING:
    from runctl.sandbox.http import Request
    from runctl.sandbox.s3.access import Access
    from runctl.sandbox.s3.entry import Entry
    from runctl.sandbox.s3.store import Bucket, Store
    from runctl.sandbox.sigv4 import Identity

OWNER = "0" * 63 + "1"  # the canonical user id of the sandbox's one account


class Call(Protocol):
    """The part of the front's call that S3 uses."""

    action: str
    request_id: str


@dataclass
class Context:
    """One operation's request, where it goes and who asks."""

    request: Request
    identity: Identity
    store: Store
    bucket: Bucket
    key: str
    query: dict[str, str]
    now: float
    access: Access

    def header(self, name: str) -> str:
        """A request header, empty when absent."""
        return self.request.headers.get(name)

    def found(self, *, version: str | None = None) -> Entry:
        """The version asked for. Raises NoSuchKey, NoSuchVersion or MethodNotAllowed (a delete marker).

        Raises AccessDenied for a key that is not there when the caller may not list the bucket.
        """
        wanted = self.query.get("versionId") if version is None else version
        return self.visible(self.bucket, self.key, wanted)

    def visible(self, bucket: Bucket, key: str, version: str | None) -> Entry:
        """As `find`, but who may not list the bucket does not learn that a key is not there. Raises S3Error."""
        try:
            return find(bucket, key, version)
        except S3Error as error:
            if error.code == "NoSuchKey":
                self.access.missing(bucket)
            raise

    def check_conditions(self) -> None:
        """If-Match and If-None-Match of a write, against the bucket as it is now. Raises S3Error.

        Between this and the publishing that follows nothing may be awaited: that makes the two one step.
        """
        if self.bucket.closed:
            raise S3Error("NoSuchBucket", BucketName=self.bucket.name)
        current = self.bucket.current(self.key)
        check_write(
            current.etag if current else None,
            match=self.header("if-match"),
            none_match=self.header("if-none-match"),
        )


def find(bucket: Bucket, key: str, version: str | None) -> Entry:
    """A version of a key, the current one by default. Raises S3Error as GetObject does."""
    if version:
        entry = bucket.version(key, version)
        if entry is None:
            raise S3Error("NoSuchVersion", Key=key, VersionId=version)
        if entry.marker:
            raise S3Error(
                "MethodNotAllowed", headers={"x-amz-delete-marker": "true", "x-amz-version-id": version}
            )
        return entry
    versions = bucket.versions.get(key)
    if not versions:
        raise S3Error("NoSuchKey", Key=key)
    if versions[0].marker:
        marked = {"x-amz-delete-marker": "true", "x-amz-version-id": versions[0].version}
        raise S3Error("NoSuchKey", headers=marked, Key=key)
    return versions[0]


def version_header(bucket: Bucket, entry: Entry) -> dict[str, str]:
    """x-amz-version-id, which a bucket that never had versions does not send."""
    return {"x-amz-version-id": entry.version} if bucket.versioning else {}


def document(
    name: str, value: Value, *, headers: dict[str, str] | None = None, status: int = 200
) -> Response:
    """An XML answer in S3's name space."""
    body = document_bytes(element(name, value, namespace=True))
    return Response(status, {**(headers or {}), "Content-Type": "application/xml"}, body)


def iso(at: float) -> str:
    """A time as S3's documents write it: milliseconds, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"


def http_date(at: float) -> str:
    """A time as headers write it: whole seconds, GMT."""
    return _http_date(int(at))


@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def number(query: dict[str, str], name: str, default: int, *, most: int = 2**31 - 1) -> int:
    """A whole number of the query. Raises InvalidArgument."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise S3Error(
            "InvalidArgument", f"Provided {name} not an integer or within integer range",
            ArgumentName=name, ArgumentValue=text,
        )  # fmt: skip
    return int(text)
