"""What is said about an object beside its content: tags, attributes, ACL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.sandbox.http import Response
from runctl.sandbox.s3.context import OWNER, Context, document, http_date, version_header
from runctl.sandbox.s3.draft import tags_from_document
from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.s3.receive import receive_document
from runctl.sandbox.s3.xml import NAMESPACE, Value

if TYPE_CHECKING:
    from runctl.sandbox.s3.entry import Entry

ATTRIBUTES_DEFAULT_PARTS = 1000


async def get_object_tagging(ctx: Context) -> Response:
    """GetObjectTagging."""
    entry = ctx.found()
    tags: list[Value] = [{"Key": key, "Value": value} for key, value in entry.tags.items()]
    return document("Tagging", {"TagSet": {"Tag": tags}}, headers=version_header(ctx.bucket, entry))


async def put_object_tagging(ctx: Context) -> Response:
    """PutObjectTagging; where a read finds nothing because of a delete marker, this finds the marker."""
    versions = ctx.bucket.versions.get(ctx.key)
    if versions and versions[0].marker and not ctx.query.get("versionId"):
        marked = {"x-amz-delete-marker": "true", "x-amz-version-id": versions[0].version}
        raise S3Error("MethodNotAllowed", headers=marked, Method="PUT", ResourceType="DeleteMarker")
    tags = tags_from_document(await receive_document(ctx.request, ctx.identity), most=10)
    return _retagged(ctx, tags, status=200)


async def delete_object_tagging(ctx: Context) -> Response:
    """DeleteObjectTagging."""
    return _retagged(ctx, {}, status=204)


def _retagged(ctx: Context, tags: dict[str, str], *, status: int) -> Response:
    entry = ctx.found()
    ctx.bucket.retag(entry, tags)
    return Response(status, version_header(ctx.bucket, entry))


async def get_object_attributes(ctx: Context) -> Response:
    """GetObjectAttributes."""
    entry = ctx.found()
    asked = {
        name.strip()
        for line in ctx.request.headers.all("x-amz-object-attributes")
        for name in line.split(",")
    }
    if not asked - {""}:
        raise S3Error(
            "InvalidArgument",
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        )
    value: dict[str, Value] = {}
    if "ETag" in asked:
        value["ETag"] = entry.etag
    if "Checksum" in asked and entry.checksums:
        value["Checksum"] = {
            **{f"Checksum{name.upper()}": text for name, text in entry.checksums.items()},
            "ChecksumType": "COMPOSITE" if entry.composite else "FULL_OBJECT",
        }
    if "ObjectParts" in asked and entry.parts:
        value["ObjectParts"] = _object_parts(ctx, entry)
    if "StorageClass" in asked:
        value["StorageClass"] = entry.headers.get("x-amz-storage-class", "STANDARD")
    if "ObjectSize" in asked:
        value["ObjectSize"] = entry.size
    headers = {"Last-Modified": http_date(entry.modified), **version_header(ctx.bucket, entry)}
    return document("GetObjectAttributesResponse", value, headers=headers)


def _object_parts(ctx: Context, entry: Entry) -> dict[str, Value]:
    most = int(ctx.header("x-amz-max-parts") or ATTRIBUTES_DEFAULT_PARTS)
    after = int(ctx.header("x-amz-part-number-marker") or 0)
    rest = [part for part in entry.parts if part.number > after]
    shown = rest[:most]
    value: dict[str, Value] = {
        "PartsCount": len(entry.parts),
        "PartNumberMarker": after,
        "MaxParts": most,
        "IsTruncated": len(rest) > len(shown),
    }
    if shown:
        value["NextPartNumberMarker"] = shown[-1].number
    if entry.composite:
        value["Part"] = [
            {
                "PartNumber": part.number,
                "Size": part.size,
                **{f"Checksum{name.upper()}": text for name, text in part.checksums.items()},
            }
            for part in shown
        ]
    return value


async def get_object_acl(ctx: Context) -> Response:
    """GetObjectAcl: the owner has all, as in a bucket without ACLs."""
    ctx.found()
    return acl_document()


async def put_object_acl(ctx: Context) -> Response:
    """PutObjectAcl: `private` is what everything is; anything else is refused as AWS does without ACLs."""
    ctx.found()
    if ctx.header("x-amz-acl") not in ("private", "bucket-owner-full-control"):
        raise S3Error("AccessControlListNotSupported")
    return Response(200)


def acl_document() -> Response:
    """The one ACL there is."""
    grantee = (
        f'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
        f"<ID>{OWNER}</ID></Grantee>"
    )
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<AccessControlPolicy xmlns="{NAMESPACE}">'
        f"<Owner><ID>{OWNER}</ID></Owner><AccessControlList><Grant>{grantee}"
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )
    return Response(200, {"Content-Type": "application/xml"}, body.encode())
