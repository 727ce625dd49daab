"""Listings in memory, over the real files below tests/data/checkpoints: what a format is given, without a disk."""

from __future__ import annotations

from pathlib import Path

from runctl.formats import scan
from runctl.formats.base import File, Found

DATA = Path(__file__).parents[2] / "data" / "checkpoints"


def real(folder: str = "") -> dict[str, bytes]:
    """The real files below a folder of the data, by path relative to it."""
    base = DATA / folder
    return {
        path.relative_to(base).as_posix(): path.read_bytes() for path in base.rglob("*") if path.is_file()
    }


def look(files: dict[str, bytes], *, verify: bool = False) -> Found:
    """What all formats make of ``files``; their times are the order they are given in."""

    def read(path: str, offset: int, length: int) -> bytes:
        return files[path][offset : offset + length]

    listing = [File(path, len(data), float(at)) for at, (path, data) in enumerate(files.items())]
    return scan(listing, read, verify=verify)


def complete(files: dict[str, bytes], *, verify: bool = False) -> list[str]:
    """The paths that are complete."""
    return [checkpoint.path for checkpoint in look(files, verify=verify).complete]


def why(files: dict[str, bytes], *, verify: bool = False) -> str:
    """Why the one checkpoint in ``files`` is not complete; the test fails when it is, or when there are more."""
    found = look(files, verify=verify)
    assert not found.complete
    (only,) = found.incomplete
    return only.why
