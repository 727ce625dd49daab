"""Which permissions an operation of S3 needs, and the refusal when the caller lacks one.

From the service authorization reference and the S3 user guide: a part of a multipart upload is `s3:PutObject`, a copy
also reads its source, a version has actions of its own, tags and ACLs in headers need theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from runctl.sandbox.iam.needs.need import Need, Values, known
from runctl.sandbox.iam.policy import BadPolicy, parse
from runctl.sandbox.s3.errors import S3Error

if TYPE_CHECKING:
    from runctl.sandbox.http import Request
    from runctl.sandbox.iam.policy import Policy
    from runctl.sandbox.s3.entry import Entry
    from runctl.sandbox.s3.store import Bucket
    from runctl.sandbox.sigv4 import Identity

# operation -> action, where the names differ
ACTIONS = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}
# action -> the action on a version that is named
VERSIONED = {
    "DeleteObject": "DeleteObjectVersion",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
    "GetObject": "GetObjectVersion",
    "GetObjectAcl": "GetObjectVersionAcl",
    "GetObjectAttributes": "GetObjectVersionAttributes",
    "GetObjectTagging": "GetObjectVersionTagging",
    "PutObjectAcl": "PutObjectVersionAcl",
    "PutObjectTagging": "PutObjectVersionTagging",
}
_HEADERS = (
    "x-amz-acl", "x-amz-content-sha256", "x-amz-copy-source", "x-amz-metadata-directive",
    "x-amz-server-side-encryption", "x-amz-storage-class", "if-match", "if-none-match",
)  # fmt: skip
_QUERIES = ("prefix", "delimiter", "max-keys", "versionId")


class Judge(Protocol):
    """Decides about the permissions of one caller (``iam.guard.S3Judge``)."""

    def refusal(self, need: Need) -> str:
        """Why the caller may not do this; empty when they may."""


Judges = Callable[["Request", "Identity"], "Judge | None"]


class Access:
    """What one request may do. Without a judge (the root user) everything."""

    __slots__ = ("_identity", "_judge", "_query", "_request")

    def __init__(
        self, judge: Judge | None, request: Request, identity: Identity, query: dict[str, str]
    ) -> None:
        self._judge = judge
        self._request = request
        self._identity = identity
        self._query = query

    def check(self, operation: str, bucket: Bucket | None, key: str) -> None:
        """Every permission an operation needs before it begins. Raises S3Error AccessDenied.

        The keys of DeleteObjects and the sources of copies are asked for when they are known.
        """
        if self._judge is None or operation == "DeleteObjects":
            return
        action = ACTIONS.get(operation, operation)
        version = self._query.get("versionId", "")
        if action == "GetObjectAttributes":
            self.need("GetObject", bucket, key, version=version)
        self.need(action, bucket, key, version=version)
        headers = self._request.headers
        if operation in ("PutObject", "CreateMultipartUpload", "CopyObject"):
            if "x-amz-tagging" in headers:
                self.need("PutObjectTagging", bucket, key)
            if "x-amz-acl" in headers:
                self.need("PutObjectAcl", bucket, key)
        if operation == "CreateBucket" and "x-amz-object-ownership" in headers:
            self.need("PutBucketOwnershipControls", bucket, "")

    def need(self, action: str, bucket: Bucket | None, key: str, *, version: str = "") -> None:
        """One permission, on an object, else the bucket, else everything. Raises S3Error AccessDenied."""
        if self._judge is None:
            return
        name = bucket.name if bucket is not None else ""
        resource = f"arn:aws:s3:::{name}/{key}" if key else f"arn:aws:s3:::{name}" if name else "*"
        if version:
            action = VERSIONED.get(action, action)
        keys = self._keys(bucket, key, version)
        policy = policy_of(bucket) if bucket is not None else None
        if refused := self._judge.refusal(Need(f"s3:{action}", resource, keys, policy)):
            raise S3Error("AccessDenied", refused)

    def missing(self, bucket: Bucket) -> None:
        """A key is not there: only who may list the bucket is told so. Raises S3Error AccessDenied to others."""
        self.need("ListBucket", bucket, "")

    def _keys(self, bucket: Bucket | None, key: str, version: str) -> Values:
        headers = self._request.headers
        found: Values = {
            "s3:authtype": ("REST-QUERY-STRING" if self._identity.presigned else "REST-HEADER",),
            "s3:signatureversion": ("AWS4-HMAC-SHA256" if self._identity.stamp else "AWS",),
            "s3:tlsversion": ("1.3",),
        }
        for name in _HEADERS:
            if value := headers.get(name):
                found[f"s3:{name}"] = (value,)
        for name in _QUERIES:
            if name in self._query:
                found[f"s3:{name}".lower()] = (self._query[name],)
        found |= known(s3__VersionId=version)
        brought = dict(parse_qsl(headers.get("x-amz-tagging"), keep_blank_values=True))
        if brought:
            found |= {f"s3:requestobjecttag/{name}".lower(): (value,) for name, value in brought.items()}
            found["s3:requestobjecttagkeys"] = tuple(brought)
        if bucket is not None and key and (entry := _entry(bucket, key, version)) is not None:
            found |= {f"s3:existingobjecttag/{name}".lower(): (value,) for name, value in entry.tags.items()}
        return found


def _entry(bucket: Bucket, key: str, version: str) -> Entry | None:
    return bucket.version(key, version) if version else bucket.current(key)


def policy_of(bucket: Bucket) -> Policy | None:
    """A bucket's policy, read; None when it has none."""
    text = bucket.configs.get("BucketPolicy")
    return parse(text, "resource") if text else None


def check_policy(text: str, bucket: str) -> None:
    """A bucket policy about to be kept. Raises S3Error MalformedPolicy."""
    try:
        policy = parse(text, "resource")
    except BadPolicy as error:
        raise S3Error("MalformedPolicy", str(error)) from error
    inside = (f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/")
    for statement in policy.statements:
        for resource in statement.resources.texts if statement.resources is not None else ():
            if resource != inside[0] and not resource.startswith(inside[1]):
                raise S3Error("MalformedPolicy", "Policy has invalid resource")


def is_public(bucket: Bucket) -> bool:
    """Whether a policy lets everybody in without a condition."""
    policy = policy_of(bucket)
    return policy is not None and any(
        each.allows and each.principal is not None and each.principal.everybody and not each.conditions
        for each in policy.statements
    )
