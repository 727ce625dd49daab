"""A file into S3: in one piece, or in parts that travel side by side. What is read is what is hashed is what arrives."""

from __future__ import annotations

import os
from hashlib import sha256

from runctl.s3.checksum import Crc32
from runctl.s3.continuing import Notes, abort, parts
from runctl.s3.crew import together
from runctl.s3.failure import KnownFailure
from runctl.s3.patience import Passing, Patience, Stopped
from runctl.s3.refusals import Refusal

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from runctl.s3.continuing import Part
    from runctl.s3.objects import Objects

    Told = Callable[[int], Any]
    Result = TypeVar("Result")

CHUNK = 1 << 18  # bytes in memory for each part that travels
ONE_PIECE = 16 << 20  # bytes; above, parts
PART = 8 << 20  # bytes; S3 wants 5 MiB at least
MOST_PARTS = 10_000  # S3's limit
WORKERS = 4
MISMATCHES = (
    "XAmzContentSHA256Mismatch",
    "BadDigest",
)  # S3: the body is not the one whose checksums were sent


def upload(
    s3: Objects,
    key: str,
    path: str,
    told: Told = lambda _count: None,
    *,
    if_absent: bool = False,
    notes: str = "",
    whole: bool = True,
) -> tuple[int, str]:
    """Store the file at ``path`` whole; its size and the SHA-256 of what was stored.

    The service checks every piece against the digest we computed before sending it, so a file that changes while it
    is read is refused, and tried anew. Parts of an upload that does not end well are deleted; with ``notes`` they stay
    when the process is killed or S3 is out of reach, and the next call goes on with them.

    Args:
        s3: where to.
        key: under which name; an object of that name is replaced at the very end, or not at all.
        path: the file.
        told: called with the number of bytes that have just arrived.
        if_absent: replace nothing.
        notes: a file to note in which upload is under way, one for each ``key`` and ``path``; its folder exists.
        whole: whether the SHA-256 is wanted; of a file that goes in parts it is a hashing more, and empty without.

    Raises:
        Refusal: 412: ``if_absent``, and something was there.
        KnownFailure: what S3 refused; ``store-file-changed`` when the file keeps changing.
        OSError: the file could not be read.
        Stopped: we were told to.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        condition = {"if-none-match": "*"} if if_absent else {}
        if size <= ONE_PIECE:
            return size, s3.patience.persist(
                lambda: _whole(s3, key, fd, size, told=told, condition=condition)
            )
        of = (s3.url, key, *_state(fd), os.fstat(fd).st_ino)
        mark = sha256(repr(of).encode()).hexdigest()
        with Notes(notes, mark, url=s3.url, key=key) as kept:
            parts = _Parts(s3, key, fd, size, told=told, condition=condition, notes=kept, whole=whole)
            return size, parts.go()
    finally:
        os.close(fd)


def _whole(s3: Objects, key: str, fd: int, size: int, *, told: Told, condition: dict[str, str]) -> str:
    def send() -> str:
        crc32, before = Crc32(), _state(fd)
        digest: str = _hashed(fd, 0, size, s3.patience, crc32).hexdigest()
        headers = {"x-amz-checksum-crc32": crc32.coded(), **condition}
        body = lambda: _unchanged(fd, before, _read(fd, 0, size, s3.patience))  # noqa: E731
        with s3.send("PUT", key, headers=headers, body=body, size=size, digest=digest):
            return digest

    digest = _persist(s3.patience, send)
    told(size)
    return digest


def _persist(patience: Patience, send: Callable[[], Result]) -> Result:
    """Patience that tells a file that keeps changing from a bad link."""
    try:
        return patience.persist(send)
    except Passing as error:
        if not isinstance(error, Changed) and not error.facts["detail"].startswith(MISMATCHES):
            raise
        detail = "what was sent is not what had been read a moment before"
        raise KnownFailure("store-file-changed", detail=detail) from error


def _hashed(fd: int, start: int, length: int, patience: Patience, *also: Any) -> Any:
    """The state of SHA-256 over a stretch of a file; ``also`` are states that take the same bytes."""
    state = sha256()
    for data in _read(fd, start, length, patience):
        state.update(data)
        for other in also:
            other.update(data)
    return state


def _unchanged(fd: int, before: tuple[int, int], chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks; the last one only if the file is still what it was ``before``: S3 keeps nothing that is not whole."""
    last = b""
    for chunk in chunks:
        if last:
            yield last
        last = chunk
    if _state(fd) != before:
        raise Changed("store-file-changed", detail="its size or its time is another now")
    yield last


def _read(fd: int, start: int, length: int, patience: Patience) -> Iterator[bytes]:
    while length:
        patience.check()
        data = os.pread(fd, min(length, CHUNK), start)
        if not data:
            raise KnownFailure("store-file-changed", detail="it became shorter while it was stored")
        yield data
        start += len(data)
        length -= len(data)


def _state(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns


class Changed(Passing):
    """The file is not what it was when its sending began."""


class _Parts:
    """One multipart upload."""

    def __init__(
        self,
        s3: Objects,
        key: str,
        fd: int,
        size: int,
        *,
        told: Told,
        condition: dict[str, str],
        notes: Notes,
        whole: bool,
    ) -> None:
        self._s3, self._key, self._fd, self._size, self._told = s3, key, fd, size, told
        self._condition, self._notes = condition, notes
        self._there: dict[int, Part] = {}  # what S3 had of it when we began
        self._before = _state(fd)
        self._crc32s: dict[int, str] = {}
        self._length = max(PART, -(-size // MOST_PARTS))
        self._whole = sha256() if whole else None
        self._etags: dict[int, str] = {}
        self._upload = ""

    def go(self) -> str:
        """All of it; the digest of the whole."""
        if not self._continued():
            self._upload = self._s3.patience.persist(self._begin)
            self._notes.begun(self._upload)
        try:
            together(self._jobs(), workers=WORKERS)
            self._check()
            self._s3.patience.persist(self._completed)
        except BaseException as error:
            if not (self._notes.kept and isinstance(error, Passing)):
                self._abort()
                self._notes.ended()
            raise
        self._notes.ended()
        return "" if self._whole is None else str(self._whole.hexdigest())

    def _continued(self) -> bool:
        """Whether there is an earlier upload of this content to go on with; one of another content is deleted."""
        self._upload, same = self._notes.upload()
        if self._upload and not same:
            self._abort()
            return False
        found = parts(self._s3, self._key, self._upload) if self._upload else None
        self._there = found or {}
        return found is not None

    def _check(self) -> None:
        if _state(self._fd) != self._before:
            raise KnownFailure("store-file-changed", detail="its size or its time is another now")

    def _begin(self) -> str:
        kind = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}
        with self._s3.send("POST", self._key, [("uploads", "")], headers=kind, body=list) as answer:
            return _element(answer.whole(), "UploadId")

    def _jobs(self) -> Iterator[Callable[[], None]]:
        for number, start in enumerate(range(0, self._size, self._length), 1):
            length = min(self._length, self._size - start)
            crc32 = Crc32()
            also = (crc32,) if self._whole is None else (crc32, self._whole)
            digest = _hashed(self._fd, start, length, self._s3.patience, *also).hexdigest()
            self._crc32s[number] = crc32.coded()
            there, etag, its_crc32 = self._there.get(number, (0, "", ""))
            if (there, its_crc32) == (length, crc32.coded()):
                self._etags[number] = etag
                self._told(length)
            else:
                yield self._job(number, start, length, digest)

    def _job(self, number: int, start: int, length: int, digest: str) -> Callable[[], None]:
        def send() -> None:
            query = [("partNumber", str(number)), ("uploadId", self._upload)]
            body = lambda: _read(self._fd, start, length, self._s3.patience)  # noqa: E731
            headers = {"x-amz-checksum-crc32": self._crc32s[number]}
            with self._s3.send(
                "PUT", self._key, query, headers=headers, body=body, size=length, digest=digest
            ) as answer:
                self._etags[number] = answer.headers["etag"]

        def go() -> None:
            _persist(self._s3.patience, send)
            self._told(length)

        return go

    def _completed(self) -> None:
        try:
            self._complete()
        except KnownFailure as error:
            # An answer that was lost on its way: the upload is gone because it has become the object.
            if error.code != "store-missing" or not self._is_there():
                raise

    def _is_there(self) -> bool:
        found = self._s3.find(self._key)
        return (
            found is not None and found.size == self._size and found.etag.endswith("-%d" % len(self._etags))
        )

    def _complete(self) -> None:
        parts = "".join(
            "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><ChecksumCRC32>%s</ChecksumCRC32></Part>"
            % (number, self._etags[number], self._crc32s[number])
            for number in sorted(self._etags)
        )
        data = ("<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % parts).encode()
        digest = sha256(data).hexdigest()
        query = [("uploadId", self._upload)]
        with self._s3.send(
            "POST",
            self._key,
            query,
            headers=self._condition,
            body=lambda: [data],
            size=len(data),
            digest=digest,
        ) as answer:
            text = answer.whole()
        if b"<Error>" in text:  # it may begin its answer with 200 and fail afterwards
            raise Passing("store-unreachable", host=self._s3.url, detail=_element(text, "Message"))

    def _abort(self) -> None:
        try:
            abort(self._s3, self._key, self._upload)
        except (KnownFailure, Refusal, Stopped):
            pass  # the bucket's own rule for uploads that were given up deletes the parts


def _element(text: bytes, name: str) -> str:
    begin, end = b"<%s>" % name.encode(), b"</%s>" % name.encode()
    return text.partition(begin)[2].partition(end)[0].decode("utf-8", "replace")
