"""Which bucket, key and operation a request means."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from runctl.sandbox.s3.errors import S3Error

if TYPE_CHECKING:
    from runctl.sandbox.http import Request

# subresource → the noun of the operations on it
BUCKET_PARTS = {
    "acl": "BucketAcl",
    "cors": "BucketCors",
    "encryption": "BucketEncryption",
    "lifecycle": "BucketLifecycleConfiguration",
    "location": "BucketLocation",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "PublicAccessBlock",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
}
OBJECT_PARTS = {"acl": "ObjectAcl", "tagging": "ObjectTagging", "attributes": "ObjectAttributes"}
# subresources of the real service that are answered NotImplemented rather than misread as something else
FOREIGN = frozenset({
    "accelerate", "analytics", "intelligent-tiering", "inventory", "legal-hold", "logging", "metadataTable",
    "metrics", "notification", "object-lock", "replication", "requestPayment", "restore", "retention", "select",
    "session", "torrent", "website",
})  # fmt: skip
_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}
_AWS_HOST = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com")


def query_of(request: Request) -> dict[str, str]:
    """The decoded query; the first of repeated names wins."""
    pairs: dict[str, str] = {}
    if not request.query:
        return pairs
    for part in request.query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.setdefault(unquote_plus(name), unquote_plus(value))
    return pairs


def target_of(request: Request, domains: tuple[str, ...]) -> tuple[str, str, str]:
    """(bucket, key, region named by the host) of a request, path style or virtual-host style.

    `domains` are the host names below which a label is a bucket; names of the real service work too. Bucket and
    key are empty where there is none. Raises S3Error when the path is not UTF-8.
    """
    try:
        path = unquote(request.path, errors="strict").removeprefix("/")
    except UnicodeDecodeError as error:
        raise S3Error("InvalidArgument", "Couldn't parse the specified URI.") from error
    bucket, region = _named_by_host(request.headers.get("host"), domains)
    if bucket:
        return bucket, path, region
    bucket, _, key = path.partition("/")
    return bucket, key, region


@functools.lru_cache(maxsize=256)
def _named_by_host(host: str, domains: tuple[str, ...]) -> tuple[str, str]:
    """(bucket, region) that a Host header names."""
    host = re.sub(r":\d+$", "", host.lower())
    if found := _AWS_HOST.fullmatch(host):
        return found["bucket"] or "", found["region"] or ""
    for domain in domains:
        if host.endswith("." + domain):
            return host[: -len(domain) - 1], ""
    return "", ""


def operation_of(request: Request, bucket: str, key: str, query: dict[str, str]) -> str:
    """The operation's name as the API has it, such as `PutObject`.

    Raises S3Error: NotImplemented for what the sandbox does not have, MethodNotAllowed for what nobody has.
    """
    if foreign := FOREIGN.intersection(query):
        raise S3Error("NotImplemented", Header=min(foreign))
    method = request.method
    if not bucket:
        name = "ListBuckets" if method == "GET" else ""
    elif not key:
        name = _bucket_operation(method, query)
    else:
        name = _object_operation(request, method, query)
    if not name:
        raise S3Error("MethodNotAllowed", Method=method, ResourceType="OBJECT" if key else "BUCKET")
    return name


def _bucket_operation(method: str, query: dict[str, str]) -> str:
    for part, noun in BUCKET_PARTS.items():
        if part in query:
            return f"{_VERBS[method]}{noun}" if method in _VERBS else ""
    if method == "GET":
        if "uploads" in query:
            return "ListMultipartUploads"
        if "versions" in query:
            return "ListObjectVersions"
        return "ListObjectsV2" if query.get("list-type") == "2" else "ListObjects"
    if method == "POST":
        if "delete" in query:
            return "DeleteObjects"
        raise S3Error("NotImplemented", "Uploads by HTML form are not implemented")
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}.get(method, "")


def _object_operation(request: Request, method: str, query: dict[str, str]) -> str:
    for part, noun in OBJECT_PARTS.items():
        if part in query:
            return f"{_VERBS[method]}{noun}" if method in _VERBS else ""
    copy = "x-amz-copy-source" in request.headers
    if "uploadId" in query:
        if method == "PUT":
            return "UploadPartCopy" if copy else "UploadPart"
        return {"GET": "ListParts", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(
            method, ""
        )
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else ""
    if method == "PUT":
        return "CopyObject" if copy else "PutObject"
    return {"GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}.get(method, "")
