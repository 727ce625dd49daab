"""Conditional requests and byte ranges, decided from values only."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from runctl.sandbox.s3.errors import S3Error

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def _tags(value: str) -> set[str]:
    return {tag.strip().removeprefix("W/").strip('"') for tag in value.split(",")}


def _seconds(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError):
        return None


def check_read(
    *,
    etag: str,
    modified: float,
    match: str = "",
    none_match: str = "",
    since: str = "",
    unmodified: str = "",
) -> None:
    """Raises PreconditionFailed (412) or a 304 as the four conditions of a read demand.

    `etag` without quotes; `modified` in seconds; the others are header values, empty when absent. If-Match wins
    over If-Unmodified-Since and If-None-Match over If-Modified-Since, as RFC 9110 orders them.
    """
    whole = int(modified)
    if match:
        if match.strip() != "*" and etag not in _tags(match):
            raise S3Error("PreconditionFailed", Condition="If-Match")
    elif unmodified and (limit := _seconds(unmodified)) is not None and whole > limit:
        raise S3Error("PreconditionFailed", Condition="If-Unmodified-Since")
    if none_match:
        unchanged = none_match.strip() == "*" or etag in _tags(none_match)
    else:
        limit = _seconds(since) if since else None
        unchanged = limit is not None and whole <= limit
    if unchanged:
        raise S3Error("NotModified", "Not Modified", status=304, headers={"ETag": f'"{etag}"'})


def check_write(current_etag: str | None, *, match: str = "", none_match: str = "") -> None:
    """Raises PreconditionFailed, NoSuchKey or NotImplemented for a conditional write.

    `current_etag` is None when the key has no current object. S3 knows `If-None-Match: *` and `If-Match: ETag`.
    """
    if none_match:
        if none_match.strip() != "*":
            raise S3Error(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                Header="If-None-Match",
            )
        if current_etag is not None:
            raise S3Error("PreconditionFailed", Condition="If-None-Match")
    if match:
        if current_etag is None:
            raise S3Error("NoSuchKey")
        if match.strip() != "*" and current_etag not in _tags(match):
            raise S3Error("PreconditionFailed", Condition="If-Match")


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """(first, last) of a Range header, both included; None when the whole object is to be sent.

    A header that is not one single range of bytes is ignored, as RFC 9110 wants. Raises InvalidRange (416).
    """
    found = _RANGE.fullmatch(header.strip())
    if not found or found.group() == "bytes=-":
        return None
    first_text, last_text = found.groups()
    if not first_text:
        wanted = min(int(last_text), size)
        first, last = size - wanted, size - 1
        satisfiable = wanted > 0
    else:
        first = int(first_text)
        last = min(int(last_text), size - 1) if last_text else size - 1
        if last_text and int(last_text) < first:
            return None
        satisfiable = first < size
    if not satisfiable:
        raise S3Error(
            "InvalidRange", headers={"Content-Range": f"bytes */{size}"},
            RangeRequested=header, ActualObjectSize=str(size),
        )  # fmt: skip
    return first, last


def range_holds(if_range: str, *, etag: str, modified: float) -> bool:
    """Whether If-Range lets the range through: the strong ETag or the exact date of this very object."""
    value = if_range.strip()
    if not value:
        return True
    if value.startswith(('"', "W/")):
        return value == f'"{etag}"'
    return _seconds(value) == int(modified)
