"""Removing many objects with one request."""

from __future__ import annotations

from hashlib import sha256

from runctl.s3.checksum import crc32_of
from runctl.s3.client import checked

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.s3.client import S3


def delete(s3: S3, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Remove at most 1,000 objects; what is not there is a success. Gives (key, why) of those that stay."""
    from xml.etree.ElementTree import Element, SubElement, fromstring, tostring  # noqa: PLC0415 - rarely

    root = Element("Delete")
    SubElement(root, "Quiet").text = "true"
    for key in keys:
        SubElement(SubElement(root, "Object"), "Key").text = s3.prefix + checked(key)
    body = tostring(root)
    headers = {"x-amz-checksum-crc32": crc32_of(body), "content-type": "application/xml"}

    def ask() -> bytes:
        with s3.send(
            "POST",
            None,
            [("delete", "")],
            headers=headers,
            body=lambda: [body],
            size=len(body),
            digest=sha256(body).hexdigest(),
        ) as answer:
            return answer.whole()

    said = fromstring(s3.patience.persist(ask))  # noqa: S314 - S3's own answer
    space = said.tag[: said.tag.index("}") + 1] if "}" in said.tag else ""
    return [
        ((node.findtext(space + "Key") or "")[len(s3.prefix) :], node.findtext(space + "Message") or "")
        for node in said.iter(space + "Error")
    ]
