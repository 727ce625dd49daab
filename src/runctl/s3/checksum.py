"""CRC-32 as S3 writes it: S3 checks it when bytes arrive, we when they come back. SHA-256 it only keeps for whole parts."""

from __future__ import annotations

import base64
import zlib


class Crc32:
    """The CRC-32 of what it was given."""

    def __init__(self) -> None:
        self.sum = 0

    def update(self, data: bytes | memoryview) -> None:
        """Go on with these bytes."""
        self.sum = zlib.crc32(data, self.sum)

    def coded(self) -> str:
        """As it stands in a header."""
        return base64.b64encode(self.sum.to_bytes(4, "big")).decode()


def crc32_of(data: bytes) -> str:
    """The CRC-32 of some bytes, as it stands in a header."""
    state = Crc32()
    state.update(data)
    return state.coded()
