"""What a store knows of an object."""

from __future__ import annotations


class Stored:
    """One object: ``key`` relative to the store, ``size`` in bytes, ``modified`` in seconds since the epoch."""

    __slots__ = ("etag", "key", "modified", "size")

    def __init__(self, key: str, size: int, modified: float, etag: str = "") -> None:
        self.key = key
        self.size = size
        self.modified = modified
        self.etag = etag  # changes when the content does; empty where the store has none
