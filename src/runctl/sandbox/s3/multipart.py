"""Multipart uploads: begin, parts, list, complete, abort."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

from runctl.sandbox.http import Response
from runctl.sandbox.s3 import checksums
from runctl.sandbox.s3.content import copied, opened
from runctl.sandbox.s3.context import OWNER, Context, document, iso, number, version_header
from runctl.sandbox.s3.draft import draft
from runctl.sandbox.s3.entry import Entry, Part, Upload
from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.s3.listing import encoded, page
from runctl.sandbox.s3.objects import copy_source, encryption_headers
from runctl.sandbox.s3.receive import LARGEST, receive, receive_document
from runctl.sandbox.s3.xml import BadDocument, Value, parse, text_of

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

SMALLEST_PART = 5 * 1024 * 1024  # all parts but the last, as AWS documents
MOST_PARTS = 10_000
LARGEST_OBJECT = 5 * 1024**4


async def create(ctx: Context) -> Response:
    """CreateMultipartUpload."""
    entry = draft(ctx.key, ctx.request.headers, now=ctx.now)
    algorithm = ctx.header("x-amz-checksum-algorithm").lower()
    kind = ctx.header("x-amz-checksum-type").upper()
    if algorithm and algorithm not in checksums.SIZES:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    whole = algorithm == "crc64nvme" if not kind else kind == "FULL_OBJECT"
    if kind not in ("", "FULL_OBJECT", "COMPOSITE") or (kind and not algorithm):
        raise S3Error(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )
    if (whole and algorithm.startswith("sha")) or (kind == "COMPOSITE" and algorithm == "crc64nvme"):
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm.",
        )
    upload = Upload(uuid.uuid4().hex, entry, ctx.now, algorithm, composite=not whole)
    ctx.bucket.begin_upload(upload)
    headers = encryption_headers(entry)
    if algorithm:
        headers["x-amz-checksum-algorithm"] = algorithm.upper()
        headers["x-amz-checksum-type"] = "FULL_OBJECT" if whole else "COMPOSITE"
    value: dict[str, Value] = {"Bucket": ctx.bucket.name, "Key": ctx.key, "UploadId": upload.id}
    return document("InitiateMultipartUploadResult", value, headers=headers)


def _upload(ctx: Context) -> Upload:
    upload = ctx.bucket.uploads.get(ctx.query["uploadId"])
    if upload is None or upload.entry.key != ctx.key:
        raise S3Error("NoSuchUpload", UploadId=ctx.query["uploadId"])
    return upload


def _part_number(ctx: Context) -> int:
    text = ctx.query.get("partNumber", "")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PARTS):
        raise S3Error(
            "InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive",
            ArgumentName="partNumber", ArgumentValue=text,
        )  # fmt: skip
    return int(text)


async def upload_part(ctx: Context) -> Response:
    """UploadPart. Safe to repeat: the last one of a number counts."""
    part_number = _part_number(ctx)
    upload = _upload(ctx)
    with ctx.bucket.files.making() as file:
        received = await receive(ctx.request, ctx.identity, ctx.bucket.files.path(file), small=0)
        sent = next(iter(received.checksums), "")
        if upload.algorithm and sent != upload.algorithm:
            raise S3Error(
                "InvalidRequest",
                f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm}, actual checksum Type: {sent or 'null'}",
            )
        part = Part(part_number, received.size, received.md5, file, received.checksums, ctx.now)
        _upload(ctx)  # it may have been completed or aborted while the body came
        ctx.bucket.add_part(upload, part)
    return Response(
        200, {"ETag": f'"{part.etag}"', **_part_checksums(part), **encryption_headers(upload.entry)}
    )


def _part_checksums(part: Part) -> dict[str, str]:
    return {f"x-amz-checksum-{name}": value for name, value in part.checksums.items()}


async def upload_part_copy(ctx: Context) -> Response:
    """UploadPartCopy."""
    part_number = _part_number(ctx)
    upload = _upload(ctx)
    bucket, source = await copy_source(ctx)
    first, last = 0, source.size - 1
    if text := ctx.header("x-amz-copy-source-range"):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", text)
        if not found or int(found[1]) > int(found[2]):
            raise S3Error(
                "InvalidArgument",
                "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
            )
        first, last = int(found[1]), int(found[2])
        if last >= source.size:
            raise S3Error(
                "InvalidArgument", f"Range specified is not valid for source object of size: {source.size}"
            )
    if last - first + 1 > LARGEST:
        raise S3Error(
            "InvalidRequest",
            f"The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST}",
        )
    with ctx.bucket.files.making() as file:
        content = opened(bucket, source, first, last)
        copy = await copied(content, ctx.bucket.files.path(file), algorithm=upload.algorithm)
        part = Part(part_number, copy.size, copy.md5, file, copy.checksums, ctx.now)
        _upload(ctx)
        ctx.bucket.add_part(upload, part)
    value: dict[str, Value] = {"LastModified": iso(part.modified), "ETag": f'"{part.etag}"'}
    value.update({f"Checksum{name.upper()}": text for name, text in part.checksums.items()})
    return document("CopyPartResult", value)


async def complete(ctx: Context) -> Response:
    """CompleteMultipartUpload. Safe to repeat while the object it made is there."""
    asked = _asked_parts(await receive_document(ctx.request, ctx.identity, of_object=True))
    done = _completed(ctx)
    if done is not None:
        return _complete_answer(ctx, done)
    upload = _upload(ctx)
    parts = [_chosen(upload, node) for node in asked]
    _check_sizes(ctx, parts)
    entry = upload.entry
    entry.parts = parts
    entry.size = sum(part.size for part in parts)
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    entry.etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
    entry.modified = ctx.now
    _sum_up(ctx, upload, entry)
    ctx.check_conditions()
    ctx.bucket.publish(entry, ends=upload)
    return _complete_answer(ctx, entry)


def _completed(ctx: Context) -> Entry | None:
    """The object this upload has already become."""
    for entry in ctx.bucket.versions.get(ctx.key, ()):
        if entry.parts and entry.parts[0].upload == ctx.query["uploadId"]:
            return entry
    return None


def _complete_answer(ctx: Context, entry: Entry) -> Response:
    value: dict[str, Value] = {
        "Location": f"http://{ctx.header('host')}/{quote(ctx.bucket.name)}/{quote(ctx.key, errors='surrogateescape')}",
        "Bucket": ctx.bucket.name,
        "Key": ctx.key,
        "ETag": f'"{entry.etag}"',
    }
    for name, text in entry.checksums.items():
        value[f"Checksum{name.upper()}"] = text
        value["ChecksumType"] = "COMPOSITE" if entry.composite else "FULL_OBJECT"
    headers = {**version_header(ctx.bucket, entry), **encryption_headers(entry)}
    return document("CompleteMultipartUploadResult", value, headers=headers)


def _asked_parts(data: bytes) -> list[ET.Element]:
    try:
        root = parse(data)
    except BadDocument as error:
        raise S3Error("MalformedXML") from error
    nodes = root.findall("Part")
    numbers = [text_of(node, "PartNumber") for node in nodes]
    if (
        root.tag != "CompleteMultipartUpload"
        or not nodes
        or not all(n.isascii() and n.isdigit() for n in numbers)
    ):
        raise S3Error("MalformedXML")
    order = [int(n) for n in numbers]
    if order != sorted(set(order)):
        raise S3Error("InvalidPartOrder")
    return nodes


def _chosen(upload: Upload, node: ET.Element) -> Part:
    part_number = int(text_of(node, "PartNumber"))
    etag = text_of(node, "ETag").strip('"')
    part = upload.parts.get(part_number)
    facts = {"UploadId": upload.id, "PartNumber": str(part_number), "ETag": etag}
    if part is None or etag != part.etag:
        raise S3Error("InvalidPart", facts=facts)
    said = {name: text for name in checksums.SIZES if (text := text_of(node, f"Checksum{name.upper()}"))}
    if any(part.checksums.get(name) not in (None, text) for name, text in said.items()):
        raise S3Error("InvalidPart", facts=facts)
    if upload.algorithm and upload.composite and upload.algorithm not in said:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using a {upload.algorithm} checksum. The complete request must include the checksum for each part. It was missing for part {part_number} in the request.",
        )
    return part


def _check_sizes(ctx: Context, parts: list[Part]) -> None:
    for part in parts[:-1]:
        if part.size < SMALLEST_PART:
            raise S3Error(
                "EntityTooSmall", ProposedSize=str(part.size), MinSizeAllowed=str(SMALLEST_PART),
                PartNumber=str(part.number), ETag=part.etag,
            )  # fmt: skip
    size = sum(part.size for part in parts)
    if size > LARGEST_OBJECT:
        raise S3Error("EntityTooLarge", ProposedSize=str(size), MaxSizeAllowed=str(LARGEST_OBJECT))
    expected = ctx.header("x-amz-mp-object-size")
    if expected and expected != str(size):
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {expected} does not match what was computed: {size}",
        )


def _sum_up(ctx: Context, upload: Upload, entry: Entry) -> None:
    """The whole object's checksum out of its parts', compared with what the client says. Raises S3Error."""
    name = upload.algorithm
    said_type = ctx.header("x-amz-checksum-type").upper()
    if said_type and name and said_type != ("COMPOSITE" if upload.composite else "FULL_OBJECT"):
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {'COMPOSITE' if upload.composite else 'FULL_OBJECT'} checksum mode. The complete request must use the same checksum mode.",
        )
    if not name:
        return
    entry.composite = upload.composite
    if upload.composite:
        value = checksums.composite(name, [part.checksums[name] for part in entry.parts])
    else:
        value = checksums.full_object(name, [(part.checksums[name], part.size) for part in entry.parts])
    said = ctx.header(f"x-amz-checksum-{name}")
    if said and said.partition("-")[0] != value.partition("-")[0]:
        raise S3Error("BadDigest", f"The {name} you specified did not match the calculated checksum.")
    entry.checksums = {name: value}


async def abort(ctx: Context) -> Response:
    """AbortMultipartUpload."""
    ctx.bucket.end_upload(_upload(ctx))
    return Response(204)


def _person() -> dict[str, Value]:
    return {"ID": OWNER, "DisplayName": "sandbox"}


async def list_parts(ctx: Context) -> Response:
    """ListParts."""
    upload = _upload(ctx)
    after = number(ctx.query, "part-number-marker", 0)
    most = min(number(ctx.query, "max-parts", 1000), 1000)
    rest = [upload.parts[n] for n in sorted(upload.parts) if n > after]
    shown = rest[:most]
    value: dict[str, Value] = {
        "Bucket": ctx.bucket.name, "Key": ctx.key, "UploadId": upload.id,
        "Initiator": _person(), "Owner": _person(),
        "StorageClass": upload.entry.headers.get("x-amz-storage-class", "STANDARD"),
        "PartNumberMarker": after, "NextPartNumberMarker": shown[-1].number if shown else after,
        "MaxParts": most, "IsTruncated": len(rest) > len(shown),
    }  # fmt: skip
    if upload.algorithm:
        value["ChecksumAlgorithm"] = upload.algorithm.upper()
        value["ChecksumType"] = "COMPOSITE" if upload.composite else "FULL_OBJECT"
    value["Part"] = [
        {
            "PartNumber": part.number, "LastModified": iso(part.modified), "ETag": f'"{part.etag}"',
            "Size": part.size, **{f"Checksum{name.upper()}": text for name, text in part.checksums.items()},
        }
        for part in shown
    ]  # fmt: skip
    return document("ListPartsResult", value)


async def list_uploads(ctx: Context) -> Response:
    """ListMultipartUploads, by key and then by time of beginning."""
    query = ctx.query
    quoted = query.get("encoding-type") == "url"
    most = min(number(query, "max-uploads", 1000), 1000)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, id_marker = query.get("key-marker", ""), query.get("upload-id-marker", "")
    by_key: dict[str, list[Upload]] = {}
    for upload in sorted(ctx.bucket.uploads.values(), key=lambda one: (one.started, one.id)):
        by_key.setdefault(upload.entry.key, []).append(upload)
    rows: list[tuple[str, Upload | None]] = []
    after = key_marker if not id_marker else ""
    found = page(sorted(by_key), prefix=prefix, delimiter=delimiter, after=after, limit=len(by_key) + 1)
    for name, is_prefix in found.items:
        if is_prefix:
            rows.append((name, None))
        elif not id_marker or name > key_marker:
            rows += [(name, upload) for upload in by_key[name]]
        elif name == key_marker:
            ids = [upload.id for upload in by_key[name]]
            start = ids.index(id_marker) + 1 if id_marker in ids else 0
            rows += [(name, upload) for upload in by_key[name][start:]]
    shown, more = rows[:most], len(rows) > most > 0
    value: dict[str, Value] = {
        "Bucket": ctx.bucket.name, "KeyMarker": encoded(key_marker, quoted=quoted), "UploadIdMarker": id_marker,
        "Prefix": encoded(prefix, quoted=quoted), "Delimiter": encoded(delimiter, quoted=quoted) or None,
        "EncodingType": "url" if quoted else None, "MaxUploads": most, "IsTruncated": more,
    }  # fmt: skip
    if more:
        name, last = shown[-1]
        value["NextKeyMarker"] = encoded(name, quoted=quoted)
        value["NextUploadIdMarker"] = last.id if last else ""
    value["Upload"] = [
        {
            "Key": encoded(name, quoted=quoted), "UploadId": upload.id, "Initiator": _person(), "Owner": _person(),
            "StorageClass": upload.entry.headers.get("x-amz-storage-class", "STANDARD"),
            "Initiated": iso(upload.started), "ChecksumAlgorithm": upload.algorithm.upper() or None,
        }
        for name, upload in shown if upload is not None
    ]  # fmt: skip
    value["CommonPrefixes"] = [
        {"Prefix": encoded(name, quoted=quoted)} for name, upload in shown if upload is None
    ]
    return document("ListMultipartUploadsResult", value)
