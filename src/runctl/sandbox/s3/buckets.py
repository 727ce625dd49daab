"""Operations on buckets: create, delete, list, where they are, what is configured on them, batch delete."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runctl.sandbox.http import Response
from runctl.sandbox.s3.access import check_policy, is_public
from runctl.sandbox.s3.attributes import acl_document
from runctl.sandbox.s3.context import OWNER, Context, document, iso, number
from runctl.sandbox.s3.draft import tags_from_document
from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.s3.lifecycle import check_rules
from runctl.sandbox.s3.objects import check_write_delete, deleted
from runctl.sandbox.s3.receive import receive_document
from runctl.sandbox.s3.xml import BadDocument, Value, parse, text_of

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from runctl.sandbox.s3.store import Store

HOME_REGION = "us-east-1"  # the region without a location constraint
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
MOST_DELETES = 1000

# noun of the operations → (root of the document, error when nothing is configured)
STORED = {
    "BucketCors": ("CORSConfiguration", "NoSuchCORSConfiguration"),
    "BucketEncryption": (
        "ServerSideEncryptionConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
    ),
    "BucketLifecycleConfiguration": ("LifecycleConfiguration", "NoSuchLifecycleConfiguration"),
    "BucketOwnershipControls": ("OwnershipControls", "OwnershipControlsNotFoundError"),
    "BucketTagging": ("Tagging", "NoSuchTagSet"),
    "PublicAccessBlock": ("PublicAccessBlockConfiguration", "NoSuchPublicAccessBlockConfiguration"),
}
# what a bucket has without anybody having configured it, as new buckets of the real service have
DEFAULTS = {
    "BucketEncryption": "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>",
    "BucketOwnershipControls": "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
    "PublicAccessBlock": "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>",
}


def check_name(name: str) -> None:
    """Raises InvalidBucketName by the rules for general purpose buckets."""
    if not _NAME.fullmatch(name) or ".." in name or _ADDRESS.fullmatch(name) or name.startswith("xn--"):
        raise S3Error("InvalidBucketName", BucketName=name)


async def list_buckets(store: Store, query: dict[str, str]) -> Response:
    """ListBuckets, in pages when the client wants pages."""
    most = number(query, "max-buckets", 10_000)
    after = query.get("continuation-token", "")
    prefix, region = query.get("prefix", ""), query.get("bucket-region", "")
    rows: list[Value] = []
    last, more = "", False
    for name in sorted(store.buckets):
        if name <= after or not name.startswith(prefix):
            continue
        bucket = await store.bucket(name)
        if bucket is None or (region and bucket.region != region):
            continue
        if len(rows) == most:
            more = True
            break
        rows.append({"Name": name, "CreationDate": iso(bucket.created), "BucketRegion": bucket.region})
        last = name
    value: dict[str, Value] = {"Owner": {"ID": OWNER, "DisplayName": "sandbox"}, "Buckets": {"Bucket": rows}}
    if more:
        value["ContinuationToken"] = last
    if prefix:
        value["Prefix"] = prefix
    return document("ListAllMyBucketsResult", value)


async def create_bucket(ctx: Context) -> Response:
    """CreateBucket in the region of the constraint, else of the signature. `ctx.bucket` is not in the store yet."""
    name, region = ctx.bucket.name, ctx.identity.region
    body = await receive_document(ctx.request, ctx.identity)
    wanted = _constraint(body)
    if wanted == HOME_REGION:
        raise S3Error("InvalidLocationConstraint", LocationConstraint=wanted)
    if (region not in (HOME_REGION, wanted)) or (wanted == "EU" and region not in (HOME_REGION, "eu-west-1")):
        shown = wanted or "unspecified"
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {shown} location constraint is incompatible for the region specific endpoint this request was sent to.",
        )
    check_name(name)
    place = {"": region, "EU": "eu-west-1"}.get(wanted, wanted)
    existing = await ctx.store.bucket(name)
    if existing is None:
        ctx.bucket.region = place
        ctx.store.add(ctx.bucket)
    elif (
        region != HOME_REGION or existing.region != HOME_REGION
    ):  # us-east-1 says 200 again, for old times' sake
        raise S3Error("BucketAlreadyOwnedByYou", BucketName=name)
    return Response(200, {"Location": f"/{name}"})


def _constraint(body: bytes) -> str:
    if not body:
        return ""
    root = _parsed(body, "CreateBucketConfiguration")
    return text_of(root, "LocationConstraint")


def _parsed(body: bytes, root_name: str) -> ET.Element:
    try:
        root = parse(body)
    except BadDocument as error:
        raise S3Error("MalformedXML") from error
    if root.tag != root_name:
        raise S3Error("MalformedXML")
    return root


async def head_bucket(ctx: Context) -> Response:
    """HeadBucket."""
    return Response(200, {"x-amz-bucket-region": ctx.bucket.region, "x-amz-access-point-alias": "false"})


async def delete_bucket(ctx: Context) -> Response:
    """DeleteBucket; uploads in progress go with it, as they do on the real service."""
    if ctx.bucket.versions:
        raise S3Error("BucketNotEmpty", BucketName=ctx.bucket.name)
    ctx.store.delete(ctx.bucket)
    return Response(204)


async def get_location(ctx: Context) -> Response:
    """GetBucketLocation: empty for us-east-1."""
    region = "" if ctx.bucket.region == HOME_REGION else ctx.bucket.region
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<LocationConstraint xmlns="{space}">{region}</LocationConstraint>'
    return Response(200, {"Content-Type": "application/xml"}, text.encode())


async def get_versioning(ctx: Context) -> Response:
    """GetBucketVersioning: no Status in a bucket that never had versions."""
    return document("VersioningConfiguration", {"Status": ctx.bucket.versioning or None})


async def put_versioning(ctx: Context) -> Response:
    """PutBucketVersioning."""
    status = text_of(
        _parsed(await receive_document(ctx.request, ctx.identity), "VersioningConfiguration"), "Status"
    )
    if status not in ("Enabled", "Suspended"):
        raise S3Error(
            "IllegalVersioningConfigurationException", "The Versioning element must be specified", status=400
        )
    ctx.bucket.versioning = status
    ctx.bucket.save()
    return Response(200)


async def get_acl(ctx: Context) -> Response:
    """GetBucketAcl."""
    del ctx  # every bucket has the same
    return acl_document()


async def put_acl(ctx: Context) -> Response:
    """PutBucketAcl: only `private`, as in a bucket without ACLs."""
    if ctx.header("x-amz-acl") != "private":
        raise S3Error("AccessControlListNotSupported")
    return Response(200)


async def get_policy(ctx: Context) -> Response:
    """GetBucketPolicy."""
    policy = ctx.bucket.configs.get("BucketPolicy")
    if policy is None:
        raise S3Error("NoSuchBucketPolicy", BucketName=ctx.bucket.name)
    return Response(200, {"Content-Type": "application/json"}, policy.encode())


async def put_policy(ctx: Context) -> Response:
    """PutBucketPolicy."""
    body = await receive_document(ctx.request, ctx.identity)
    text = body.decode("utf-8", "replace")
    check_policy(text, ctx.bucket.name)
    ctx.bucket.configs["BucketPolicy"] = text
    ctx.bucket.save()
    return Response(204)


async def get_policy_status(ctx: Context) -> Response:
    """GetBucketPolicyStatus."""
    await get_policy(ctx)
    return document("PolicyStatus", {"IsPublic": is_public(ctx.bucket)})


async def get_stored(ctx: Context, noun: str) -> Response:
    """Any configuration kept as it was put."""
    _, missing = STORED[noun]
    text = ctx.bucket.configs.get(noun, DEFAULTS.get(noun))
    if not text:
        raise S3Error(missing, BucketName=ctx.bucket.name)
    return Response(200, {"Content-Type": "application/xml"}, text.encode())


async def put_stored(ctx: Context, noun: str) -> Response:
    """Keeps a configuration. Raises MalformedXML when it is not the right kind of document."""
    body = await receive_document(ctx.request, ctx.identity)
    root = _parsed(body, STORED[noun][0])
    if noun == "BucketLifecycleConfiguration":
        check_rules(root)
    if noun == "BucketTagging":
        tags_from_document(body, most=50)
    ctx.bucket.configs[noun] = body.decode("utf-8", "replace")
    ctx.bucket.save()
    return Response(204 if noun == "BucketTagging" else 200)


async def delete_stored(ctx: Context, noun: str) -> Response:
    """Forgets a configuration; safe to repeat. What a bucket has by default is then off, not back."""
    if noun in DEFAULTS and noun != "BucketEncryption":
        ctx.bucket.configs[noun] = ""
    else:
        ctx.bucket.configs.pop(noun, None)
    ctx.bucket.save()
    return Response(204)


async def delete_objects(ctx: Context) -> Response:
    """DeleteObjects: up to 1,000 keys, each with its own result."""
    names = [
        name for name in ctx.request.headers if name == "content-md5" or name.startswith("x-amz-checksum-")
    ]
    if not names and "x-amz-trailer" not in ctx.request.headers:
        raise S3Error(
            "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        )
    root = _parsed(await receive_document(ctx.request, ctx.identity), "Delete")
    nodes = root.findall("Object")
    if not 1 <= len(nodes) <= MOST_DELETES:
        raise S3Error("MalformedXML")
    quiet = text_of(root, "Quiet").strip().lower() == "true"
    done: list[Value] = []
    failed: list[Value] = []
    for node in nodes:
        key, version, etag = text_of(node, "Key"), text_of(node, "VersionId"), text_of(node, "ETag")
        try:
            ctx.access.need("DeleteObject", ctx.bucket, key, version=version)
            if etag:
                current = ctx.bucket.version(key, version) if version else ctx.bucket.current(key)
                check_write_delete(current, etag)
            headers = deleted(ctx, key, version)
        except S3Error as error:
            failed.append(
                {"Key": key, "VersionId": version or None, "Code": error.code, "Message": error.message}
            )
            continue
        marked = "x-amz-delete-marker" in headers
        row: dict[str, Value] = {"Key": key, "VersionId": version or None}
        if marked:
            row["DeleteMarker"] = True
            row["DeleteMarkerVersionId"] = headers["x-amz-version-id"]
        done.append(row)
    return document("DeleteResult", {"Deleted": [] if quiet else done, "Error": failed})
