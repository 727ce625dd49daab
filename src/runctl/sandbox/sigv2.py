"""Presigned URLs of the older kind, signature version 2: what boto3 and the AWS CLI still make for S3 by default.

Only the query form and only where S3 takes it, in the regions from before 2014; everything else is version 4.
"""

from __future__ import annotations

import base64
import hmac
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from runctl.sandbox.sigv4 import UNSIGNED, Identity, SignatureRefused, unknown_key

if TYPE_CHECKING:
    from runctl.sandbox.http import Request
    from runctl.sandbox.sigv4 import Lookup

REGIONS = frozenset({
    "us-east-1", "us-west-1", "us-west-2", "eu-west-1", "ap-southeast-1", "ap-southeast-2", "ap-northeast-1",
    "sa-east-1",
})  # fmt: skip
# of the query, what the signature covers (and `response-…`), as AWS documents for version 2
_SIGNED = frozenset({
    "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy", "replication",
    "requestPayment", "restore", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions",
    "website",
})  # fmt: skip


def claimed(request: Request, key: str) -> bool:
    """Whether a request is a presigned URL of version 2 for an object, or to read a bucket."""
    return (
        "AWSAccessKeyId=" in request.query
        and not request.headers.get("authorization")
        and (bool(key) or request.method in ("GET", "HEAD"))
    )


def verify(request: Request, lookup: Lookup, now: float, *, bucket: str) -> Identity:
    """Check the signature of a presigned URL for something in a bucket; the identity has no region.

    Raises:
        SignatureRefused: it has expired, does not fit, or says whose it is wrongly.
    """
    pairs = [part.partition("=") for part in request.query.split("&") if part]
    query = {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}
    key, given, expires = query["AWSAccessKeyId"], query.get("Signature", ""), query.get("Expires", "")
    if not given or not (expires.isascii() and expires.isdigit()):
        raise SignatureRefused(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        )
    if now > int(expires):
        stamps = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in (int(expires), now)]
        raise SignatureRefused("AccessDenied", "Request has expired", Expires=stamps[0], ServerTime=stamps[1])
    secret = lookup(key, query.get("x-amz-security-token", ""))
    if secret is None:
        raise unknown_key(key)
    text = _text(request, query, expires, bucket)
    wanted = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()
    if not hmac.compare_digest(wanted, given):
        raise SignatureRefused(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
            AWSAccessKeyId=key,
            StringToSign=text,
            SignatureProvided=given,
        )
    return Identity(
        key, query.get("x-amz-security-token", ""), region="", service="s3", stamp="", scope="", payload=UNSIGNED,
        presigned=True, signature=given, key=b"",
    )  # fmt: skip


def _text(request: Request, query: dict[str, str], expires: str, bucket: str) -> str:
    """What was signed: method, two headers, the end of validity, every x-amz- field, and the resource."""
    fields = {name: value for name, value in query.items() if name.startswith("x-amz-")}
    for name in request.headers:
        if name.startswith("x-amz-"):
            fields[name] = ",".join(request.headers.all(name))
    first = [request.headers.get(name) or query.get(name, "") for name in ("content-md5", "content-type")]
    lines = [request.method, *first, expires, *(f"{name}:{fields[name]}" for name in sorted(fields))]
    host = request.headers.get("host").lower()
    path = (f"/{bucket}" if host.startswith(f"{bucket}.") else "") + request.path
    signed = sorted(name for name in query if name in _SIGNED or name.startswith("response-"))
    parts = [f"{name}={query[name]}" if query[name] else name for name in signed]
    return "\n".join([*lines, path + ("?" + "&".join(parts) if parts else "")])
