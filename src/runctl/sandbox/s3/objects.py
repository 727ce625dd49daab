"""Operations on single objects: put, get, head, delete, copy, tags, attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from runctl.sandbox.http import Response
from runctl.sandbox.s3.conditions import byte_range, check_read, range_holds
from runctl.sandbox.s3.content import answer_body, copied, opened
from runctl.sandbox.s3.context import Context, document, http_date, iso, number, version_header
from runctl.sandbox.s3.draft import described, draft, tags_from_header
from runctl.sandbox.s3.entry import Entry
from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.s3.receive import LARGEST, Received, receive

if TYPE_CHECKING:
    from runctl.sandbox.s3.store import Bucket
    from runctl.sandbox.s3.xml import Value

# query parameter of a signed GET → the response header it replaces
OVERRIDES = {
    f"response-{name}": name
    for name in (
        "content-type", "content-language", "expires", "cache-control", "content-disposition", "content-encoding",
    )
}  # fmt: skip


def checksum_headers(entry: Entry) -> dict[str, str]:
    """The checksums of an object as headers."""
    found = {f"x-amz-checksum-{name}": value for name, value in entry.checksums.items()}
    if found:
        found["x-amz-checksum-type"] = "COMPOSITE" if entry.composite else "FULL_OBJECT"
    return found


def encryption_headers(entry: Entry) -> dict[str, str]:
    """What an object's encryption is said to be."""
    return {name: value for name, value in entry.headers.items() if name.startswith("x-amz-server-side")}


def take(entry: Entry, received: Received) -> None:
    """Fills in what is only known when the content is there."""
    entry.size = received.size
    entry.etag = received.md5
    entry.checksums = received.checksums


async def put_object(ctx: Context) -> Response:
    """PutObject."""
    entry = draft(ctx.key, ctx.request.headers, now=ctx.now)
    ctx.check_conditions()  # refused before the body is asked for; it is decided again when the body is there
    with ctx.bucket.files.making() as file:
        received = await receive(ctx.request, ctx.identity, ctx.bucket.files.path(file))
        take(entry, received)
        if received.size > len(received.content):
            entry.file = file
        ctx.check_conditions()
        ctx.bucket.publish(entry, content=received.content)
    headers = {"ETag": f'"{entry.etag}"', **version_header(ctx.bucket, entry), **checksum_headers(entry)}
    return Response(200, {**headers, **encryption_headers(entry)})


def _described(ctx: Context, entry: Entry) -> dict[str, str]:
    headers = {
        "Last-Modified": http_date(entry.modified),
        "ETag": f'"{entry.etag}"',
        "Accept-Ranges": "bytes",
        **entry.headers,
        **{f"x-amz-meta-{name}": value for name, value in entry.meta.items()},
        **version_header(ctx.bucket, entry),
    }
    if entry.tags:
        headers["x-amz-tagging-count"] = str(len(entry.tags))
    headers.update(
        {OVERRIDES[name]: value for name, value in ctx.query.items() if name in OVERRIDES and value}
    )
    return headers


def _wanted_range(ctx: Context, entry: Entry, headers: dict[str, str]) -> tuple[int, int] | None:
    """The range of a GET or HEAD, by Range or partNumber; adds the headers a part has."""
    asked = ctx.header("range")
    if "partNumber" in ctx.query:
        if asked:
            raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        wanted = number(ctx.query, "partNumber", 1)
        if not entry.parts:
            if wanted != 1:
                raise S3Error("InvalidPartNumber", ActualPartCount="1", PartNumberRequested=str(wanted))
            return (0, entry.size - 1) if entry.size else None
        start = 0
        for index, part in enumerate(entry.parts, start=1):
            if index == wanted:
                headers["x-amz-mp-parts-count"] = str(len(entry.parts))
                return start, start + part.size - 1
            start += part.size
        raise S3Error(
            "InvalidPartNumber", ActualPartCount=str(len(entry.parts)), PartNumberRequested=str(wanted)
        )
    if asked and range_holds(ctx.header("if-range"), etag=entry.etag, modified=entry.modified):
        return byte_range(asked, entry.size)
    return None


async def get_object(ctx: Context) -> Response:
    """GetObject and HeadObject (whose body the server leaves out)."""
    entry = ctx.found()
    check_read(
        etag=entry.etag, modified=entry.modified,
        match=ctx.header("if-match"), none_match=ctx.header("if-none-match"),
        since=ctx.header("if-modified-since"), unmodified=ctx.header("if-unmodified-since"),
    )  # fmt: skip
    headers = _described(ctx, entry)
    wanted = _wanted_range(ctx, entry, headers)
    first, last = wanted or (0, entry.size - 1)
    if wanted:
        headers["Content-Range"] = f"bytes {first}-{last}/{entry.size}"
    elif ctx.header("x-amz-checksum-mode").upper() == "ENABLED":
        headers.update(checksum_headers(entry))
    headers["Content-Length"] = str(last - first + 1)
    body = b"" if ctx.request.method == "HEAD" else answer_body(ctx.bucket, entry, first, last)
    return Response(206 if wanted else 200, headers, body)


async def delete_object(ctx: Context) -> Response:
    """DeleteObject, conditional with If-Match."""
    version = ctx.query.get("versionId", "")
    current = ctx.bucket.version(ctx.key, version) if version else ctx.bucket.current(ctx.key)
    if (match := ctx.header("if-match")) and (current is not None or match.strip() != "*"):
        check_write_delete(current, match)
    return Response(204, deleted(ctx, ctx.key, version))


def check_write_delete(current: Entry | None, match: str) -> None:
    """If-Match of a delete: nothing there is NoSuchKey, another ETag PreconditionFailed."""
    if current is None:
        raise S3Error("NoSuchKey")
    if match.strip() != "*" and match.strip().strip('"') != current.etag:
        raise S3Error("PreconditionFailed", Condition="If-Match")


def deleted(ctx: Context, key: str, version: str) -> dict[str, str]:
    """Deletes a key or one version of it and gives the headers that tell what happened. Safe to repeat."""
    bucket = ctx.bucket
    if version:
        entry = bucket.version(key, version)
        if entry is not None:
            bucket.remove(entry)
        marked = {"x-amz-delete-marker": "true"} if entry is not None and entry.marker else {}
        return {"x-amz-version-id": version, **marked}
    if not bucket.versioning:
        if (found := bucket.version(key, "null")) is not None:
            bucket.remove(found)
        return {}
    marker = Entry(key, modified=ctx.now, marker=True)
    bucket.publish(marker)
    return {"x-amz-delete-marker": "true", "x-amz-version-id": marker.version}


async def copy_source(ctx: Context) -> tuple[Bucket, Entry]:
    """The version x-amz-copy-source names, its conditions checked. Raises S3Error."""
    text, _, query = ctx.header("x-amz-copy-source").partition("?")
    name, _, key = unquote(text).removeprefix("/").partition("/")
    if not name or not key:
        raise S3Error(
            "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        )
    bucket = await ctx.store.bucket(name)
    if bucket is None:
        raise S3Error("NoSuchBucket", BucketName=name)
    version = unquote(query.removeprefix("versionId=")) if query.startswith("versionId=") else ""
    ctx.access.need("GetObject", bucket, key, version=version)
    entry = ctx.visible(bucket, key, version)
    try:
        check_read(
            etag=entry.etag, modified=entry.modified,
            match=ctx.header("x-amz-copy-source-if-match"), none_match=ctx.header("x-amz-copy-source-if-none-match"),
            since=ctx.header("x-amz-copy-source-if-modified-since"),
            unmodified=ctx.header("x-amz-copy-source-if-unmodified-since"),
        )  # fmt: skip
    except S3Error as error:  # what is a 304 to a read is a failed condition to a copy
        raise S3Error("PreconditionFailed") from error
    return bucket, entry


async def copy_object(ctx: Context) -> Response:
    """CopyObject."""
    entry = draft(ctx.key, ctx.request.headers, now=ctx.now)
    bucket, source = await copy_source(ctx)
    directive = ctx.header("x-amz-metadata-directive") or "COPY"
    tagging = ctx.header("x-amz-tagging-directive") or "COPY"
    if directive not in ("COPY", "REPLACE") or tagging not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown metadata directive.")
    changes = directive == "REPLACE" or "x-amz-storage-class" in ctx.request.headers
    changes = (
        changes
        or "x-amz-server-side-encryption" in ctx.request.headers
        or "versionId=" in ctx.header("x-amz-copy-source")
    )
    if bucket is ctx.bucket and source.key == ctx.key and not changes:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        )
    if source.size > LARGEST:
        raise S3Error(
            "InvalidRequest",
            f"The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST}",
        )
    if directive == "COPY":
        own = {name: value for name, value in entry.headers.items() if name.startswith("x-amz-")}
        entry.headers = {**{n: v for n, v in source.headers.items() if not n.startswith("x-amz-")}, **own}
        entry.meta = dict(source.meta)
    else:
        entry.headers.update(described(ctx.request.headers)[0])
    if tagging == "COPY" and source.tags:
        ctx.access.need("GetObjectTagging", bucket, source.key)
        ctx.access.need("PutObjectTagging", ctx.bucket, ctx.key)
    entry.tags = dict(source.tags) if tagging == "COPY" else tags_from_header(ctx.header("x-amz-tagging"))
    ctx.check_conditions()
    algorithm = ctx.header("x-amz-checksum-algorithm").lower() or next(iter(source.checksums), "")
    with ctx.bucket.files.making() as file:
        content = opened(bucket, source, 0, source.size - 1)
        take(entry, await copied(content, ctx.bucket.files.path(file), algorithm=algorithm))
        entry.file = file
        ctx.check_conditions()
        ctx.bucket.publish(entry)
    headers = {**version_header(ctx.bucket, entry), **encryption_headers(entry)}
    if bucket.versioning:
        headers["x-amz-copy-source-version-id"] = source.version
    return document("CopyObjectResult", copy_result(entry), headers=headers)


def copy_result(entry: Entry) -> dict[str, Value]:
    """The elements of a CopyObjectResult."""
    value: dict[str, Value] = {"ETag": f'"{entry.etag}"', "LastModified": iso(entry.modified)}
    for name, checksum in entry.checksums.items():
        value[f"Checksum{name.upper()}"] = checksum
    return value
