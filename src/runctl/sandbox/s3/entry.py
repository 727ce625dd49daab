"""What is known of the things a bucket holds, and how the journal writes it down."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Part:
    """A part of a multipart object: where its bytes lie and what they sum to."""

    number: int
    size: int
    etag: str
    file: str  # its name among the bucket's files
    checksums: dict[str, str] = field(default_factory=dict)
    modified: float = 0.0
    upload: str = ""


@dataclass(slots=True)
class Entry:
    """One version of an object (or a delete marker). Its content is in `parts`, else in `file` from `at`."""

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
    file: str = ""  # empty: the parts have it, or there is none
    at: int = 0


@dataclass(slots=True)
class Upload:
    """A multipart upload in progress; `entry` is what the object will be."""

    id: str
    entry: Entry
    started: float
    algorithm: str = ""  # the checksum every part must carry; empty when none was asked for
    composite: bool = True
    parts: dict[int, Part] = field(default_factory=dict)


def plain(value: Entry | Part | Upload) -> dict[str, Any]:
    """The fields that are not as they usually are, for JSON; `dataclasses.asdict` would copy deeply."""
    return {name: found for name, usual in _USUAL[type(value)] if (found := getattr(value, name)) != usual}


def entry_from(value: dict[str, Any]) -> Entry:
    """An Entry as `plain` wrote it. Raises TypeError for fields it does not have."""
    parts = [Part(**part) for part in value.pop("parts", ())]
    return Entry(**value, parts=parts)


def upload_from(value: dict[str, Any]) -> Upload:
    """An Upload as `plain` wrote it, without parts. Raises TypeError for fields it does not have."""
    entry = entry_from(value.pop("entry"))
    return Upload(**value, entry=entry)


def _usual(kind: type[Entry | Part | Upload]) -> list[tuple[str, Any]]:
    """(name, default) of each field; what has no default is never usual."""
    return [
        (each.name, each.default if each.default_factory is MISSING else each.default_factory())
        for each in fields(kind)
    ]


_USUAL = {kind: _usual(kind) for kind in (Entry, Part, Upload)}
