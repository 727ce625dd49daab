"""What is known of one stored thing, kept at the end of its own file.

A file is `content, JSON, length of the JSON (4 bytes), magic (8 bytes)`: content and metadata become visible by
one rename, so there is never the one without the other, whenever the process is killed.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any

MAGIC = b"runctlS3"
_TAIL = struct.Struct(">I8s")


class NotAnEntry(ValueError):
    """The file does not end as an entry does: it was never finished."""


@dataclass(slots=True)
class Part:
    """A part of a multipart object: where its bytes lie and what they sum to."""

    number: int
    size: int
    etag: str
    file: str  # its name in the bucket's `parts` folder
    checksums: dict[str, str] = field(default_factory=dict)
    modified: float = 0.0
    seq: int = 0
    upload: str = ""


@dataclass(slots=True)
class Entry:
    """One version of an object (or a delete marker)."""

    key: str
    size: int = 0
    etag: str = ""
    modified: float = 0.0
    seq: int = 0
    version: str = "null"
    marker: bool = False
    headers: dict[str, str] = field(default_factory=dict)  # content-type and its like, as given
    meta: dict[str, str] = field(default_factory=dict)  # x-amz-meta-*, names in lower case
    checksums: dict[str, str] = field(default_factory=dict)
    composite: bool = False  # whether the checksums are of the parts' checksums
    parts: list[Part] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


def footer(value: Entry | Part) -> bytes:
    """The bytes that follow the content."""
    text = json.dumps(value, default=_fields, separators=(",", ":")).encode()
    return text + _TAIL.pack(len(text), MAGIC)


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass as a dict; `dataclasses.asdict` copies deeply, which costs as much as the write itself."""
    return {name: getattr(value, name) for name in value.__slots__}


def read_footer(path: str) -> tuple[dict[str, Any], int]:
    """(the JSON, the content's length) of a file. Raises NotAnEntry, or OSError when it cannot be read."""
    with open(path, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        start = max(0, end - 4096)  # nearly every footer fits, so one read does
        data = os.pread(file.fileno(), end - start, start)
        if len(data) < _TAIL.size or not data.endswith(MAGIC):
            raise NotAnEntry(path)
        length, _ = _TAIL.unpack(data[-_TAIL.size :])
        at = end - _TAIL.size - length
        if at < 0:
            raise NotAnEntry(path)
        text = os.pread(file.fileno(), length, at) if at < start else data[at - start : at - start + length]
    try:
        return json.loads(text), at
    except ValueError as error:
        raise NotAnEntry(path) from error


def entry_from(value: dict[str, Any]) -> Entry:
    """An Entry out of its JSON. Raises NotAnEntry when fields are missing or unknown."""
    try:
        parts = [Part(**part) for part in value.pop("parts", [])]
        return Entry(**value, parts=parts)
    except TypeError as error:
        raise NotAnEntry(str(error)) from error


def part_from(value: dict[str, Any]) -> Part:
    """A Part out of its JSON. Raises NotAnEntry when fields are missing or unknown."""
    try:
        return Part(**value)
    except TypeError as error:
        raise NotAnEntry(str(error)) from error
