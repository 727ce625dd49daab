"""What a request says about the object it makes: content headers, metadata, tags."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from runctl.sandbox.s3.entry import Entry
from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.s3.xml import BadDocument, parse, text_of

if TYPE_CHECKING:
    from runctl.sandbox.http import Headers

KEPT = (
    "cache-control",
    "content-disposition",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
)
META = "x-amz-meta-"
META_LIMIT = 2048  # bytes of names and values together, as AWS documents
KEY_LIMIT = 1024  # bytes of UTF-8
STORAGE_CLASSES = frozenset({
    "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER",
    "DEEP_ARCHIVE", "GLACIER_IR", "EXPRESS_ONEZONE",
})  # fmt: skip


def draft(key: str, headers: Headers, *, now: float) -> Entry:
    """An entry with everything but its content. Raises S3Error for what cannot be kept."""
    if len(key.encode("utf-8", "surrogateescape")) > KEY_LIMIT:
        raise S3Error("KeyTooLongError", Size=str(len(key.encode())), MaxSizeAllowed=str(KEY_LIMIT))
    entry = Entry(key, modified=now)
    entry.headers, entry.meta = described(headers)
    entry.tags = tags_from_header(headers.get("x-amz-tagging"))
    storage = headers.get("x-amz-storage-class") or "STANDARD"
    if storage not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", "The storage class you specified is not valid", status=400)
    if storage != "STANDARD":
        entry.headers["x-amz-storage-class"] = storage
    acl = headers.get("x-amz-acl")
    if acl not in ("", "private", "bucket-owner-full-control"):
        raise S3Error("AccessControlListNotSupported")
    entry.headers.update(encryption(headers))
    return entry


def described(headers: Headers) -> tuple[dict[str, str], dict[str, str]]:
    """(content headers, metadata) of a request. Raises MetadataTooLarge."""
    kept = {"content-type": headers.get("content-type") or "binary/octet-stream"}
    coding = ",".join(
        part.strip()
        for part in headers.get("content-encoding").split(",")
        if part.strip() not in ("", "aws-chunked")
    )
    if coding:
        kept["content-encoding"] = coding
    kept.update({name: value for name in KEPT if (value := headers.get(name))})
    meta: dict[str, list[str]] = {}
    for name, value in headers.items():
        if name.startswith(META):
            meta.setdefault(name.removeprefix(META), []).append(value)
    joined = {name: ",".join(values) for name, values in meta.items()}
    size = sum(len(name) + len(value) for name, value in joined.items())
    if size > META_LIMIT:
        raise S3Error("MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(META_LIMIT))
    return kept, joined


def encryption(headers: Headers) -> dict[str, str]:
    """The encryption to say an object has; nothing is encrypted. Keys of the client's own are refused."""
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        raise S3Error("NotImplemented", Header="x-amz-server-side-encryption-customer-algorithm")
    kind = headers.get("x-amz-server-side-encryption") or "AES256"
    if kind not in ("AES256", "aws:kms", "aws:kms:dsse"):
        raise S3Error("InvalidArgument", "The encryption method specified is not supported")
    found = {"x-amz-server-side-encryption": kind}
    if key := headers.get("x-amz-server-side-encryption-aws-kms-key-id"):
        found["x-amz-server-side-encryption-aws-kms-key-id"] = key
    return found


def tags_from_header(value: str) -> dict[str, str]:
    """Tags as a query string. Raises InvalidTag, InvalidArgument."""
    try:
        pairs = parse_qsl(value, keep_blank_values=True, strict_parsing=bool(value))
    except ValueError as error:
        raise S3Error(
            "InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates."
        ) from error  # fmt: skip
    return _checked_tags(pairs, most=10)


def tags_from_document(data: bytes, *, most: int) -> dict[str, str]:
    """Tags as a Tagging document. Raises MalformedXML, InvalidTag."""
    try:
        root = parse(data)
    except BadDocument as error:
        raise S3Error("MalformedXML") from error
    if root.tag != "Tagging" or root.find("TagSet") is None:
        raise S3Error("MalformedXML")
    return _checked_tags(
        [(text_of(tag, "Key"), text_of(tag, "Value")) for tag in root.findall("TagSet/Tag")], most=most
    )


def _checked_tags(pairs: list[tuple[str, str]], *, most: int) -> dict[str, str]:
    """At most 10 tags on an object (50 on a bucket), keys up to 128 and values up to 256 characters."""
    if len(pairs) > most:
        raise S3Error("BadRequest", f"Object tags cannot be greater than {most}", status=400)
    if len(dict(pairs)) != len(pairs):
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
    for key, value in pairs:
        if not key or len(key) > 128 or key.startswith("aws:"):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > 256:
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", TagKey=key)
    return dict(pairs)
