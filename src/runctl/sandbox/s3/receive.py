"""Taking in a body: decoded, counted, hashed, verified, and put into a file, unless it is small."""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runctl.sandbox.s3 import checksums, chunked
from runctl.sandbox.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runctl.sandbox import http
    from runctl.sandbox.sigv4 import Identity

SMALL = (
    128 * 1024
)  # a body up to this size is hashed and written at once; a thread would cost more than it saves
BATCH = 1024 * 1024
MOST_PIECES = 64  # in one write; the system's limit is 1,024
LARGEST = 5 * 1024**3  # one PUT or one part, as AWS documents
DOCUMENT_LIMIT = 4 * 1024 * 1024
_POOL = ThreadPoolExecutor(max_workers=4, thread_name_prefix="s3-body")


@dataclass
class Wanted:
    """The digests a request announced, to be compared with what arrives."""

    md5: bytes | None = None
    sha256: str = ""
    algorithm: str = ""
    value: str = ""  # of `algorithm`; empty when it comes in a trailer or is only to be computed
    trailer: bool = False


@dataclass
class Received:
    """A body that arrived whole and is what its sender meant."""

    size: int
    md5: str
    checksums: dict[str, str] = field(default_factory=dict)
    content: bytes = b""  # of a small body, which is kept in memory and not in a file


class Sink:
    """Hashes and writes pieces; runs in a thread for large bodies. `path` empty: keeps them in memory."""

    def __init__(self, wanted: Wanted, path: str) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256() if wanted.sha256 else None
        self._checksum = checksums.begin(wanted.algorithm) if wanted.algorithm else None
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644) if path else -1
        self._wanted = wanted
        self.kept: list[bytes] = []
        self.size = 0

    def write(self, pieces: list[bytes]) -> None:
        """Takes pieces in order. Raises OSError when the disk does."""
        if len(pieces) > MOST_PIECES:
            pieces = [b"".join(pieces)]
        size = 0
        for data in pieces:  # piece by piece: what is summed up twice and written is still in the cache
            size += len(data)
            self._md5.update(data)
            if self._sha256 is not None:
                self._sha256.update(data)
            if self._checksum is not None:
                self._checksum.update(data)
        self.size += size
        if self._file < 0:
            self.kept += pieces
            return
        written = os.writev(self._file, pieces)
        while written < size:
            written += os.write(self._file, memoryview(b"".join(pieces))[written:])

    def close(self) -> None:
        """Closes the file; safe to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def result(self, trailers: dict[str, str]) -> Received:
        """Compares all digests. Raises S3Error: BadDigest, XAmzContentSHA256Mismatch, InvalidRequest."""
        wanted = self._wanted
        if self._sha256 is not None and self._sha256.hexdigest() != wanted.sha256:
            raise S3Error(
                "XAmzContentSHA256Mismatch", ClientComputedContentSHA256=wanted.sha256,
                S3ComputedContentSHA256=self._sha256.hexdigest(),
            )  # fmt: skip
        if wanted.md5 is not None and self._md5.digest() != wanted.md5:
            raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
        found = {}
        if self._checksum is not None:
            computed = checksums.encode(self._checksum.digest())
            said = wanted.value
            if wanted.trailer:
                said = trailers.get(f"x-amz-checksum-{wanted.algorithm}", "")
                if not said:
                    raise S3Error("InvalidRequest", "The announced trailer did not arrive")
            if said and said != computed:
                raise S3Error(
                    "BadDigest",
                    f"The {wanted.algorithm.upper()} you specified did not match the calculated checksum.",
                )
            found[wanted.algorithm] = computed
        return Received(self.size, self._md5.hexdigest(), found, b"".join(self.kept))


def announced(headers: http.Headers, identity: Identity) -> Wanted:
    """What a request says its body sums to. Raises S3Error for values that cannot be."""
    wanted = Wanted()
    if md5 := headers.get("content-md5"):
        wanted.md5 = checksums.decode(md5, 16)
        if wanted.md5 is None:
            raise S3Error("InvalidDigest")
    if len(identity.payload) == 64:
        wanted.sha256 = identity.payload
    wanted.trailer = bool(headers.get("x-amz-trailer")) and identity.payload.endswith("-TRAILER")
    wanted.algorithm, given = _algorithm(headers, trailer=wanted.trailer)
    if given:
        wanted.value = headers.get(f"x-amz-checksum-{wanted.algorithm}")
        if wanted.value and checksums.decode(wanted.value, checksums.SIZES[wanted.algorithm]) is None:
            raise S3Error("InvalidRequest", f"Value for x-amz-checksum-{wanted.algorithm} header is invalid.")
    return wanted


def _algorithm(headers: http.Headers, *, trailer: bool) -> tuple[str, bool]:
    """(the checksum a request names, whether it also carries its value). Raises S3Error."""
    names = [name for name in checksums.SIZES if f"x-amz-checksum-{name}" in headers]
    if trailer:
        field_name = headers.get("x-amz-trailer").strip().lower()
        name = field_name.removeprefix("x-amz-checksum-")
        if name not in checksums.SIZES or name == field_name:
            raise S3Error(
                "InvalidRequest", "The value specified in the x-amz-trailer header is not supported"
            )
        names.append(name)
    if len(names) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    asked = headers.get("x-amz-sdk-checksum-algorithm").lower()
    if asked and asked not in checksums.SIZES:
        raise S3Error("InvalidRequest", "Checksum algorithm provided is unsupported.")
    if asked and names and names[0] != asked:
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    return (names[0], True) if names else (asked, False)


def body_of(
    request: http.Request, identity: Identity
) -> tuple[AsyncIterator[bytes], int, chunked.ChunkedBody | None]:
    """(the content's pieces, its length, the decoder of an aws-chunked body). Raises S3Error."""
    headers = request.headers
    if identity.payload.startswith("STREAMING-"):
        modes = (chunked.SIGNED, chunked.SIGNED_TRAILER, chunked.UNSIGNED_TRAILER)
        if identity.payload not in modes:
            raise S3Error("NotImplemented", Header="x-amz-content-sha256")
        length = headers.get("x-amz-decoded-content-length")
        if not (length.isascii() and length.isdigit()):
            raise S3Error("MissingContentLength")
        decoder = chunked.ChunkedBody(aiter(request.body), identity, identity.payload)
        return aiter(decoder), int(length), decoder
    if request.body.length is None:
        raise S3Error("NotImplemented", Header="Transfer-Encoding")
    return aiter(request.body), request.body.length, None


async def receive(request: http.Request, identity: Identity, path: str, *, small: int = SMALL) -> Received:
    """Takes a request's body in and verifies it: one up to `small` is in `content`, a larger one in the file `path`.

    Raises S3Error (BadDigest, IncompleteBody, EntityTooLarge, …) and http.ClientGone; the file is then the
    caller's to delete, if it is there.
    """
    wanted = announced(request.headers, identity)
    source, length, decoder = body_of(request, identity)
    if length > LARGEST:
        raise S3Error("EntityTooLarge", ProposedSize=str(length), MaxSizeAllowed=str(LARGEST))
    sink = Sink(wanted, path if length > small else "")
    try:
        if length <= small:
            await _pour_small(source, sink, length)
        else:
            await _pour(source, sink, length)
    finally:
        sink.close()
    if sink.size != length:
        raise S3Error("IncompleteBody")
    return sink.result(decoder.trailers if decoder else {})


async def _pour_small(source: AsyncIterator[bytes], sink: Sink, length: int) -> None:
    pieces: list[bytes] = []
    size = 0
    async for piece in source:
        pieces.append(piece)
        size += len(piece)
        if size > length:
            raise S3Error("IncompleteBody", "The request body is longer than announced")
    if pieces:
        sink.write(pieces)


async def _pour(source: AsyncIterator[bytes], sink: Sink, length: int) -> None:
    """Reads the next batch while a thread hashes and writes the last one."""
    loop = asyncio.get_running_loop()
    batch: list[bytes] = []
    size = total = 0
    working: asyncio.Future[None] | None = None
    try:
        async for piece in source:
            batch.append(piece)
            size += len(piece)
            total += len(piece)
            if total > length:
                raise S3Error("IncompleteBody", "The request body is longer than announced")
            if size >= BATCH:
                if working is not None:
                    await working
                working = loop.run_in_executor(_POOL, sink.write, batch)
                batch, size = [], 0
    finally:
        if working is not None:
            await asyncio.wait([working])
    if working is not None:
        working.result()
    if batch:
        await loop.run_in_executor(_POOL, sink.write, batch)


async def receive_document(request: http.Request, identity: Identity, *, of_object: bool = False) -> bytes:
    """A small body (an XML or JSON document), verified like an object's.

    `of_object` says that checksum headers are of an object and not of this body. Raises S3Error, http.ClientGone.
    """
    source, length, decoder = body_of(request, identity)
    if length > DOCUMENT_LIMIT:
        raise S3Error("MalformedXML", "The document is too large")
    wanted = announced(request.headers, identity)
    if of_object:
        wanted.algorithm = ""
    sink = Sink(wanted, "")
    await _pour_small(source, sink, length)
    if sink.size != length:
        raise S3Error("IncompleteBody")
    return sink.result(decoder.trailers if decoder else {}).content
