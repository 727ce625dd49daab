"""The CRC-32 of a whole out of those of its stretches, so that what came side by side need not be read again."""

from __future__ import annotations

import base64

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

POLYNOMIAL = 0xEDB88320  # reflected


def joined(parts: Sequence[tuple[int, int]]) -> str:
    """The CRC-32 of stretches laid end to end, each given as (CRC-32, bytes). Pure.

    A CRC is linear: what follows a stretch multiplies its CRC by x to the power of the bits that follow, modulo the
    polynomial, as zlib's crc32_combine does.
    """
    total, powers = 0, {}
    for crc32, length in parts:
        if length not in powers:
            powers[length] = _power(8 * length)
        total = _times(total, powers[length]) ^ crc32
    return base64.b64encode(total.to_bytes(4, "big")).decode()


def _times(one: int, other: int) -> int:
    """The product of two polynomials modulo that of CRC-32, bits reflected: bit 31 is x to the power of 0."""
    product = 0
    bit = 1 << 31
    while other and bit:
        if one & bit:
            product ^= other
        other = (other >> 1) ^ (POLYNOMIAL if other & 1 else 0)
        bit >>= 1
    return product


def _power(exponent: int) -> int:
    """x to that power."""
    result, square = 1 << 31, 1 << 30
    while exponent:
        if exponent & 1:
            result = _times(result, square)
        square = _times(square, square)
        exponent >>= 1
    return result
