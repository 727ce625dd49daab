"""Listing: objects (both versions of the call) and object versions, with prefix, delimiter and paging."""

from __future__ import annotations

import base64
import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from runctl.sandbox.s3.context import OWNER, Context, document, iso, number
from runctl.sandbox.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.http import Response
    from runctl.sandbox.s3.entry import Entry
    from runctl.sandbox.s3.xml import Value

MOST = 1000  # keys in one answer


@dataclass
class Page:
    """Some of a listing: (name, whether it is a common prefix) in order, and whether more follow."""

    items: list[tuple[str, bool]]
    more: bool


def page(
    keys: list[str],
    *,
    prefix: str,
    delimiter: str,
    after: str,
    limit: int,
    visible: Callable[[str], bool] = bool,
) -> Page:
    """The next `limit` names after `after` among sorted `keys`; names with a common prefix become one.

    A key for which `visible` is false is passed over.
    """
    items: list[tuple[str, bool]] = []
    at = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, after) if after else 0)
    while at < len(keys):
        key = keys[at]
        if not key.startswith(prefix):
            break
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if not visible(key):
            at += 1
            continue
        name = key if cut < 0 else key[: cut + len(delimiter)]
        if cut >= 0:
            at = bisect.bisect_left(keys, name[:-1] + chr(ord(name[-1]) + 1), at)
            if name == after:
                continue
        else:
            at += 1
        if len(items) >= limit:
            return Page(items, more=limit > 0)
        items.append((name, cut >= 0))
    return Page(items, more=False)


def encoded(text: str, *, quoted: bool) -> str:
    """A name as the answer has it: percent-encoded when the client asked for encoding-type=url."""
    return quote(text, safe="/-_.~*", errors="surrogateescape") if quoted else text


def _quoting(query: dict[str, str]) -> bool:
    kind = query.get("encoding-type", "")
    if kind not in ("", "url"):
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=kind,
        )
    return kind == "url"


def _row(entry: Entry, *, quoted: bool, owner: bool) -> dict[str, Value]:
    row: dict[str, Value] = {
        "Key": encoded(entry.key, quoted=quoted),
        "LastModified": iso(entry.modified),
        "ETag": f'"{entry.etag}"',
        "ChecksumAlgorithm": [name.upper() for name in entry.checksums],
        "Size": entry.size,
        "StorageClass": entry.headers.get("x-amz-storage-class", "STANDARD"),
    }
    if entry.checksums:
        row["ChecksumType"] = "COMPOSITE" if entry.composite else "FULL_OBJECT"
    if owner:
        row["Owner"] = {"ID": OWNER, "DisplayName": "sandbox"}
    return row


async def list_objects(ctx: Context) -> Response:
    """ListObjects, the first version of the call."""
    query, quoted = ctx.query, _quoting(ctx.query)
    prefix, delimiter, marker = query.get("prefix", ""), query.get("delimiter", ""), query.get("marker", "")
    most = number(query, "max-keys", MOST)
    found = _current_page(ctx, prefix=prefix, delimiter=delimiter, after=marker, limit=min(most, MOST))
    value: dict[str, Value] = {
        "Name": ctx.bucket.name, "Prefix": encoded(prefix, quoted=quoted), "Marker": encoded(marker, quoted=quoted),
        "MaxKeys": most, "Delimiter": encoded(delimiter, quoted=quoted) or None,
        "EncodingType": "url" if quoted else None, "IsTruncated": found.more,
    }  # fmt: skip
    if (
        found.more and delimiter
    ):  # without a delimiter the last key is the marker, and S3 leaves it to the client
        value["NextMarker"] = encoded(found.items[-1][0], quoted=quoted)
    value.update(_rows(ctx, found, quoted=quoted, owner=True))
    return document("ListBucketResult", value)


async def list_objects_v2(ctx: Context) -> Response:
    """ListObjectsV2."""
    query, quoted = ctx.query, _quoting(ctx.query)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, token = query.get("start-after", ""), query.get("continuation-token")
    most = number(query, "max-keys", MOST)
    after = start if token is None else _opened_token(token)
    found = _current_page(ctx, prefix=prefix, delimiter=delimiter, after=after, limit=min(most, MOST))
    value: dict[str, Value] = {
        "Name": ctx.bucket.name, "Prefix": encoded(prefix, quoted=quoted),
        "Delimiter": encoded(delimiter, quoted=quoted) or None, "MaxKeys": most,
        "EncodingType": "url" if quoted else None, "KeyCount": len(found.items), "IsTruncated": found.more,
        "ContinuationToken": token, "StartAfter": encoded(start, quoted=quoted) or None,
    }  # fmt: skip
    if found.more:
        last = found.items[-1][0].encode("utf-8", "surrogateescape")
        value["NextContinuationToken"] = base64.urlsafe_b64encode(last).decode()
    value.update(_rows(ctx, found, quoted=quoted, owner=query.get("fetch-owner") == "true"))
    return document("ListBucketResult", value)


def _opened_token(token: str) -> str:
    try:
        return (
            base64.b64decode(token, altchars=b"-_", validate=True).decode("utf-8", "surrogateescape") or "\0"
        )
    except ValueError as error:
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            ArgumentName="continuation-token",
        ) from error


def _current_page(ctx: Context, *, prefix: str, delimiter: str, after: str, limit: int) -> Page:
    versions = ctx.bucket.versions
    return page(
        ctx.bucket.keys, prefix=prefix, delimiter=delimiter, after=after, limit=limit,
        visible=lambda key: not versions[key][0].marker,
    )  # fmt: skip


def _rows(ctx: Context, found: Page, *, quoted: bool, owner: bool) -> dict[str, Value]:
    versions = ctx.bucket.versions
    return {
        "Contents": [
            _row(versions[name][0], quoted=quoted, owner=owner) for name, is_prefix in found.items if not is_prefix
        ],
        "CommonPrefixes": [
            {"Prefix": encoded(name, quoted=quoted)} for name, is_prefix in found.items if is_prefix
        ],
    }  # fmt: skip


async def list_object_versions(ctx: Context) -> Response:
    """ListObjectVersions: every version and delete marker, newest first within a key."""
    query, quoted = ctx.query, _quoting(ctx.query)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, version_marker = query.get("key-marker", ""), query.get("version-id-marker", "")
    if version_marker and not key_marker:
        raise S3Error("InvalidArgument", "A version-id marker cannot be specified without a key marker.")
    most = number(query, "max-keys", MOST)
    limit = min(most, MOST)
    rows = _version_rows(
        ctx, prefix=prefix, delimiter=delimiter, key=key_marker, version=version_marker, limit=limit + 1
    )
    shown, more = rows[:limit], len(rows) > limit > 0
    value: dict[str, Value] = {
        "Name": ctx.bucket.name, "Prefix": encoded(prefix, quoted=quoted),
        "KeyMarker": encoded(key_marker, quoted=quoted), "VersionIdMarker": version_marker,
        "MaxKeys": most, "Delimiter": encoded(delimiter, quoted=quoted) or None,
        "EncodingType": "url" if quoted else None, "IsTruncated": more,
    }  # fmt: skip
    if more:
        name, last = shown[-1]
        value["NextKeyMarker"] = encoded(name, quoted=quoted)
        value["NextVersionIdMarker"] = last.version if last else None
    entries = [entry for _, entry in shown if entry is not None]
    value["Version"] = [_version_row(ctx, entry, quoted=quoted) for entry in entries if not entry.marker]
    value["DeleteMarker"] = [_version_row(ctx, entry, quoted=quoted) for entry in entries if entry.marker]
    value["CommonPrefixes"] = [
        {"Prefix": encoded(name, quoted=quoted)} for name, entry in shown if entry is None
    ]
    return document("ListVersionsResult", value)


def _version_rows(
    ctx: Context, *, prefix: str, delimiter: str, key: str, version: str, limit: int
) -> list[tuple[str, Entry | None]]:
    bucket = ctx.bucket
    rows: list[tuple[str, Entry | None]] = []
    if version and key.startswith(prefix):
        entries = bucket.versions.get(key, [])
        ids = [entry.version for entry in entries]
        rest = entries[ids.index(version) + 1 :] if version in ids else []
        rows += [(key, entry) for entry in rest]
    found = page(bucket.keys, prefix=prefix, delimiter=delimiter, after=key, limit=limit)
    for name, is_prefix in found.items:
        rows += [(name, None)] if is_prefix else [(name, entry) for entry in bucket.versions[name]]
        if len(rows) >= limit:
            break
    return rows[:limit]


def _version_row(ctx: Context, entry: Entry, *, quoted: bool) -> dict[str, Value]:
    row = _row(entry, quoted=quoted, owner=True)
    if entry.marker:
        row = {name: row[name] for name in ("Key", "LastModified", "Owner")}
    row["VersionId"] = entry.version
    row["IsLatest"] = ctx.bucket.versions[entry.key][0] is entry
    return row
