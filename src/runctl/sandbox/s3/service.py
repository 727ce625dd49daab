"""The S3 service: who asks, which bucket, which operation, and errors as S3 words them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from runctl.sandbox import sigv2, sigv4
from runctl.sandbox.http import Request, Response
from runctl.sandbox.s3 import attributes, buckets, lifecycle, listing, multipart, objects
from runctl.sandbox.s3.access import Access, Judges
from runctl.sandbox.s3.address import operation_of, query_of, target_of
from runctl.sandbox.s3.context import Call, Context
from runctl.sandbox.s3.errors import S3Error, error_response
from runctl.sandbox.s3.store import Bucket, Store

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600.0

Operation = Callable[[Context], Awaitable[Response]]

OPERATIONS: dict[str, Operation] = {
    "HeadBucket": buckets.head_bucket,
    "DeleteBucket": buckets.delete_bucket,
    "GetBucketLocation": buckets.get_location,
    "GetBucketVersioning": buckets.get_versioning,
    "PutBucketVersioning": buckets.put_versioning,
    "GetBucketAcl": buckets.get_acl,
    "PutBucketAcl": buckets.put_acl,
    "GetBucketPolicy": buckets.get_policy,
    "PutBucketPolicy": buckets.put_policy,
    "GetBucketPolicyStatus": buckets.get_policy_status,
    "DeleteBucketPolicy": partial(buckets.delete_stored, noun="BucketPolicy"),
    "DeleteObjects": buckets.delete_objects,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects_v2,
    "ListObjectVersions": listing.list_object_versions,
    "ListMultipartUploads": multipart.list_uploads,
    "PutObject": objects.put_object,
    "GetObject": objects.get_object,
    "HeadObject": objects.get_object,
    "DeleteObject": objects.delete_object,
    "CopyObject": objects.copy_object,
    "GetObjectTagging": attributes.get_object_tagging,
    "PutObjectTagging": attributes.put_object_tagging,
    "DeleteObjectTagging": attributes.delete_object_tagging,
    "GetObjectAttributes": attributes.get_object_attributes,
    "GetObjectAcl": attributes.get_object_acl,
    "PutObjectAcl": attributes.put_object_acl,
    "CreateMultipartUpload": multipart.create,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": multipart.upload_part_copy,
    "CompleteMultipartUpload": multipart.complete,
    "AbortMultipartUpload": multipart.abort,
    "ListParts": multipart.list_parts,
}
for _noun in buckets.STORED:
    OPERATIONS[f"Get{_noun}"] = partial(buckets.get_stored, noun=_noun)
    OPERATIONS[f"Put{_noun}"] = partial(buckets.put_stored, noun=_noun)
    OPERATIONS[f"Delete{_noun}"] = partial(buckets.delete_stored, noun=_noun)
OPERATIONS["DeleteBucketLifecycle"] = OPERATIONS.pop("DeleteBucketLifecycleConfiguration")


class S3:
    """All of S3 in one folder; lifecycle rules are applied at the first request of each hour.

    `lookup` is as for `sigv4.verify`; `judge` gives who decides about a request's permissions (None: nobody, everything
    is allowed); `domains` are the host names below which a label names a bucket; `now` gives
    seconds since the epoch. Raises OSError when the folder cannot be used.
    """

    def __init__(
        self,
        root: Path,
        *,
        lookup: sigv4.Lookup,
        domains: tuple[str, ...] = ("s3.localhost", "localhost"),
        now: Callable[[], float] = time.time,
        judge: Judges | None = None,
    ) -> None:
        self.store = Store(root)
        self._lookup = lookup
        self._domains = tuple(sorted(domains, key=len, reverse=True))
        self._now = now
        self._judge = judge
        self._swept = now() // HOUR
        self._sweeping: asyncio.Task[int] | None = None

    def operation(self, request: Request) -> tuple[str, str, str]:
        """(operation, bucket, key) a request means, empty where it means none. Never raises."""
        bucket = key = name = ""
        try:
            bucket, key, _ = target_of(request, self._domains)
            name = _named(operation_of(request, bucket, key, query_of(request)))
        except S3Error:
            pass
        return name, bucket, key

    async def handle(self, request: Request, call: Call) -> Response:
        """Answers one request; fills in `call.action`. A refusal is an answer, not an exception."""
        try:
            response = await self._handle(request, call)
        except S3Error as error:
            return error_response(error, resource=request.path, request_id=call.request_id)
        except sigv4.SignatureRefused as error:
            refusal = S3Error(error.code, error.message, status=error.status, facts=error.facts)
            return error_response(refusal, resource=request.path, request_id=call.request_id)
        response.headers = {"x-amz-request-id": call.request_id, **dict(response.headers)}
        return response

    def close(self) -> None:
        """Closes the files of the buckets. Safe to repeat."""
        self.store.close()

    async def sweep(self, now: float) -> int:
        """Applies the buckets' lifecycle rules (see `lifecycle.sweep`)."""
        return await lifecycle.sweep(self.store, now)

    async def _handle(self, request: Request, call: Call) -> Response:
        now = self._now()
        if now // HOUR > self._swept:  # the rules are applied once an hour, if anybody is here to see it
            self._swept = now // HOUR
            self._sweeping = asyncio.create_task(self.sweep(now))
        bucket_name, key, host_region = target_of(request, self._domains)
        if sigv2.claimed(request, key):
            identity = sigv2.verify(request, self._lookup, now, bucket=bucket_name)
        else:
            identity = sigv4.verify(request, self._lookup, now)
        query = query_of(request)
        call.action = _named(operation_of(request, bucket_name, key, query))
        if identity.service != "s3":
            raise S3Error(
                "AuthorizationHeaderMalformed",
                f'The authorization header is malformed; incorrect service "{identity.service}". This endpoint belongs to "s3".',
            )
        judge = self._judge(request, identity) if self._judge is not None else None
        access = Access(judge, request, identity, query)
        if call.action == "ListBuckets":
            access.check(call.action, None, "")
            return await buckets.list_buckets(self.store, query)
        if call.action == "CreateBucket":
            fresh = self.store.fresh(bucket_name, region="", created=now)
            access.check(call.action, fresh, "")
            return await buckets.create_bucket(
                Context(request, identity, self.store, fresh, "", query, now, access)
            )
        bucket = await self.store.bucket(bucket_name)
        if bucket is None:
            raise S3Error("NoSuchBucket", BucketName=bucket_name)
        _check_region(bucket, identity, host_region)
        context = Context(request, identity, self.store, bucket, key, query, now, access)
        if call.action not in OPERATIONS:
            raise S3Error("NotImplemented", Header=call.action)
        access.check(call.action, bucket, key)
        return await OPERATIONS[call.action](context)


def _named(operation: str) -> str:
    return "DeleteBucketLifecycle" if operation == "DeleteBucketLifecycleConfiguration" else operation


def _check_region(bucket: Bucket, identity: sigv4.Identity, host_region: str) -> None:
    """A bucket answers in its own region only, and says which that is."""
    where = {"x-amz-bucket-region": bucket.region}
    if not identity.region and bucket.region not in sigv2.REGIONS:
        raise sigv4.unsupported()
    if host_region and host_region != bucket.region:
        raise S3Error(
            "PermanentRedirect", headers=where, Bucket=bucket.name,
            Endpoint=f"{bucket.name}.s3.{bucket.region}.amazonaws.com",
        )  # fmt: skip
    if identity.region and identity.region != bucket.region:
        message = f"The authorization header is malformed; the region '{identity.region}' is wrong; expecting '{bucket.region}'"
        raise S3Error("AuthorizationHeaderMalformed", message, headers=where, Region=bucket.region)
