"""aws-chunked bodies: pieces with or without signatures, then trailers."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.sigv4 import EMPTY_SHA256

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runctl.sandbox.sigv4 import Identity

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
LINE_LIMIT = 1024
TRAILER_LIMIT = 16 * 1024


class ChunkedBody:
    """Decodes an aws-chunked body piece by piece; `trailers` is filled at its end.

    Chunk signatures and the trailer's are checked as the bytes pass, so nothing may be made visible before the
    iteration has ended. Iterating raises S3Error: SignatureDoesNotMatch, IncompleteBody or InvalidRequest.
    """

    def __init__(self, source: AsyncIterator[bytes], identity: Identity, mode: str) -> None:
        self._source = source
        self._identity = identity
        self._signed = mode in (SIGNED, SIGNED_TRAILER)
        self._trailer = mode in (SIGNED_TRAILER, UNSIGNED_TRAILER)
        self._previous = identity.signature
        self._buffer = b""
        self.trailers: dict[str, str] = {}

    async def _more(self) -> bool:
        async for piece in self._source:
            self._buffer = self._buffer + piece if self._buffer else piece
            return True
        return False

    async def _line(self, limit: int) -> bytes:
        while (at := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > limit:
                raise S3Error("InvalidRequest", "The chunked body is malformed")
            if not await self._more():
                raise S3Error("IncompleteBody")
        line, self._buffer = self._buffer[:at], self._buffer[at + 2 :]
        return line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            size, signature = _chunk_head(await self._line(LINE_LIMIT), signed=self._signed)
            digest = hashlib.sha256() if self._signed else None
            left = size
            while left:
                if not self._buffer and not await self._more():
                    raise S3Error("IncompleteBody")
                piece, self._buffer = self._buffer[:left], self._buffer[left:]
                left -= len(piece)
                if digest is not None:
                    digest.update(piece)
                yield piece
            if digest is not None:
                self._check("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_SHA256}\n{digest.hexdigest()}", signature)
            if size == 0:
                break
            if await self._line(2) != b"":
                raise S3Error("InvalidRequest", "The chunked body is malformed")
        await self._end()

    def _check(self, kind: str, hashed: str, signature: str) -> None:
        who = self._identity
        wanted = who.sign(f"{kind}\n{who.stamp}\n{who.scope}\n{self._previous}\n{hashed}")
        if not hmac.compare_digest(wanted, signature):
            raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=who.access_key)
        self._previous = wanted

    async def _end(self) -> None:
        """Reads the trailers and whatever closes the body."""
        signature = ""
        canonical = []
        size = 0
        while self._buffer or await self._more():
            line = await self._line(TRAILER_LIMIT)
            size += len(line)
            if size > TRAILER_LIMIT:
                raise S3Error("InvalidRequest", "The trailers are too long")
            if not line:
                continue
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not self._trailer:
                raise S3Error("InvalidRequest", "The chunked body is malformed")
            name, value = name.strip().lower(), value.strip()
            if name == "x-amz-trailer-signature":
                signature = value
            else:
                self.trailers[name] = value
                canonical.append(f"{name}:{value}\n")
        if self._trailer and self._signed:
            hashed = hashlib.sha256("".join(canonical).encode("latin-1")).hexdigest()
            self._check("AWS4-HMAC-SHA256-TRAILER", hashed, signature)


def _chunk_head(line: bytes, *, signed: bool) -> tuple[int, str]:
    """(size, signature) of `1f4;chunk-signature=…`. Raises S3Error."""
    text = line.decode("latin-1")
    digits, _, extension = text.partition(";")
    name, _, signature = extension.partition("=")
    try:
        size = int(digits, 16) if digits.isalnum() else -1
    except ValueError:
        size = -1
    if size < 0 or (signed and name != "chunk-signature"):
        raise S3Error("InvalidRequest", "The chunked body is malformed")
    return size, signature
