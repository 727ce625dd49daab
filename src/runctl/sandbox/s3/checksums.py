"""The checksums of S3: SHA-256, SHA-1, CRC32, CRC32C, CRC64NVME, of whole objects, of parts, and of both."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# name → bytes of the digest; names as in `x-amz-checksum-<name>`
SIZES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
# reflected polynomials: ISO 3309, RFC 3720, NVM Express command set 1.0
_POLYNOMIALS = {"crc32": 0xEDB88320, "crc32c": 0x82F63B78, "crc64nvme": 0x9A6C9329AC4BC9B5}


class Hash(Protocol):
    """A running checksum."""

    def update(self, data: bytes, /) -> None:
        """Takes more data."""

    def digest(self) -> bytes:
        """The checksum of all that was taken, most significant byte first."""


class _Crc:
    """A running CRC made of a function (data, previous) → value."""

    def __init__(self, step: Callable[[bytes, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


@functools.lru_cache(maxsize=4)
def _table(polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (polynomial if crc & 1 else 0)
        table.append(crc)
    return table


def _table_crc(name: str) -> Callable[[bytes, int], int]:
    """A CRC by table, for where no compiled one is installed; a few MB/s."""
    table = _table(_POLYNOMIALS[name])
    mask = (1 << (8 * SIZES[name])) - 1

    def step(data: bytes, previous: int) -> int:
        crc = previous ^ mask
        for byte in data:
            crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
        return crc ^ mask

    return step


def _step(name: str) -> Callable[[bytes, int], int]:
    if name == "crc32":
        return zlib.crc32
    try:
        from awscrt import checksums  # noqa: PLC0415 - compiled, and not everywhere
    except ImportError:
        return _table_crc(name)
    found: Callable[[bytes, int], int] = checksums.crc32c if name == "crc32c" else checksums.crc64nvme
    return found


def begin(name: str) -> Hash:
    """A new running checksum. Raises KeyError for a name that is not in SIZES."""
    if name == "sha1":
        return hashlib.sha1(usedforsecurity=False)
    if name == "sha256":
        return hashlib.sha256()
    return _Crc(_step(name), SIZES[name])


def encode(digest: bytes) -> str:
    """A digest as headers carry it: base64."""
    return base64.b64encode(digest).decode()


def decode(text: str, size: int) -> bytes | None:
    """The digest of a header's value; None when it is not base64 of `size` bytes."""
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return digest if len(digest) == size else None


def composite(name: str, parts: list[str]) -> str:
    """The checksum of a multipart object made of its parts' checksums: of their digests, with `-N`."""
    whole = begin(name)
    for part in parts:
        whole.update(base64.b64decode(part))
    return f"{encode(whole.digest())}-{len(parts)}"


def full_object(name: str, parts: list[tuple[str, int]]) -> str:
    """The CRC of the whole object out of its parts' CRCs and lengths, without reading a byte again."""
    polynomial, size = _POLYNOMIALS[name], SIZES[name]
    crc = 0
    for text, length in parts:
        shift = _power(polynomial, size * 8, length * 8)
        crc = _multiply(polynomial, size * 8, shift, crc) ^ int.from_bytes(base64.b64decode(text), "big")
    return encode(crc.to_bytes(size, "big"))


def _multiply(polynomial: int, width: int, a: int, b: int) -> int:
    """a·b modulo the polynomial, bits reflected (the highest bit is x⁰)."""
    product = 0
    bit = 1 << (width - 1)
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = (b >> 1) ^ (polynomial if b & 1 else 0)
    return product


def _power(polynomial: int, width: int, exponent: int) -> int:
    """x to a power modulo the polynomial, by squaring."""
    result = 1 << (width - 1)
    base = 1 << (width - 2)
    while exponent:
        if exponent & 1:
            result = _multiply(polynomial, width, base, result)
        base = _multiply(polynomial, width, base, base)
        exponent >>= 1
    return result
