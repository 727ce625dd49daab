"""What a store knows of an object."""

from __future__ import annotations


class Stored:
    """One object: ``key`` relative to the store, ``size`` in bytes, ``modified`` in seconds since the epoch."""

    __slots__ = ("crc32", "etag", "key", "modified", "size")

    def __init__(self, key: str, size: int, modified: float, etag: str = "", crc32: str = "") -> None:
        self.key = key
        self.size = size
        self.modified = modified
        self.etag = etag  # changes when the content does; empty where the store has none
        self.crc32 = crc32  # of the whole, as S3 writes it; empty where it is not known
