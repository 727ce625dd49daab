"""A store in an S3 bucket, by boto3.

Every object is whole or not there: a small one is one ``PutObject``, a large one a multipart upload that is aborted
where it was begun unless it is completed. Bytes are checked by CRC-32 on both ways, by S3 when they arrive there and here
when they come back. A body that breaks is continued from where it broke, if the object is still the same (``If-Match``).
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from runctl.aws.calls import AwsCalls
from runctl.core.cancel import limited, together
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.ports import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Surroundings

_CHUNK: Final = 1 << 18  # bytes between two looks at the token
_PART: Final = 8 << 20  # bytes; S3 wants at least 5 MiB
_MOST_PARTS: Final = 10_000  # what S3 takes
_SIDE_BY_SIDE: Final = 4  # parts in flight: 32 MiB of memory
_DELETES: Final = 1000  # keys that one DeleteObjects takes
_ABORT_SECONDS: Final = 5.0  # what the undo of an upload may take


class S3Store:
    """The store at ``s3://bucket/prefix``. May be used from several threads; nothing is asked before the first call.

    All methods raise what ``aws.errors`` makes of a failure, beside what they say themselves.
    """

    def __init__(self, url: str, surroundings: Surroundings) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise known("store-url", url=url, detail="it has to be s3://bucket or s3://bucket/prefix")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self.url = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._aws = AwsCalls.of(surroundings)
        self._read_only = surroundings.read_only

    def access(self) -> Mapping[str, str]:
        """How the agent reaches it: with its own credentials."""
        return {
            "kind": "s3",
            "bucket": self._bucket,
            "prefix": self._prefix,
            "region": self._aws.session.region,
        }

    def put(self, key: str, data: bytes | Path, *, if_absent: bool = False, cancel: CancelToken) -> bool:
        """Keep ``data`` under ``key``; false when ``if_absent`` and something was there. Safe to repeat.

        Raises:
            UsageError: ``file-changed`` when a file is not the same before and after it was read.
            Cancelled: nothing of it stays under ``key``; what was begun has been aborted.
        """
        if self._read_only:
            raise known("store-unwritable", url=self.url, key=key, detail="this is a dry run")
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        where = {"Bucket": self._bucket, "Key": self._key(key)}
        if isinstance(data, bytes):
            return self._put_bytes(where, data, condition, cancel)
        with _Unchanging(data) as file:
            if file.size <= _PART:
                body = file.read(0, file.size)
                file.check()
                return self._put_bytes(where, body, condition, cancel)
            return self._put_parts(where, file, condition, cancel)

    def _put_bytes(
        self, where: dict[str, Any], body: bytes, condition: dict[str, Any], cancel: CancelToken
    ) -> bool:
        def work(client: Any) -> bool:
            try:
                client.put_object(**where, **condition, Body=body, ChecksumCRC32=_crc32(body))
            except client.exceptions.ClientError as error:
                if _code(error) == "PreconditionFailed":
                    return False
                raise
            return True

        return self._aws.do("s3", "put_object", work, cancel=cancel)

    def _put_parts(
        self, where: dict[str, Any], file: _Unchanging, condition: dict[str, Any], cancel: CancelToken
    ) -> bool:
        size = max(_PART, -(-file.size // _MOST_PARTS))
        with self._upload(where, cancel) as upload:
            waiting = deque(enumerate(range(0, file.size, size), start=1))
            done: list[dict[str, Any]] = []

            def send(token: CancelToken) -> None:
                while True:
                    try:
                        number, start = waiting.popleft()
                    except IndexError:
                        return
                    body = file.read(start, size)
                    crc = _crc32(body)
                    answer = self._aws.call(
                        "s3", "upload_part", cancel=token, **where, UploadId=upload, PartNumber=number, Body=body,
                        ChecksumCRC32=crc,
                    )  # fmt: skip
                    done.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": crc})

            with together(cancel) as scope:
                for _ in range(min(_SIDE_BY_SIDE, len(waiting))):
                    scope.start("upload-part", lambda: send(scope.cancel))
            file.check()
            parts = sorted(done, key=lambda part: part["PartNumber"])
            return self._complete(where, upload, parts, condition, cancel)

    @contextlib.contextmanager
    def _upload(self, where: dict[str, Any], cancel: CancelToken) -> Iterator[str]:
        """A multipart upload; it is aborted unless the block ends well, also when nobody heard that it had begun."""
        upload: str = self._aws.call(
            "s3", "create_multipart_upload", cancel=cancel, **where, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
        )["UploadId"]  # fmt: skip
        try:
            yield upload
        except BaseException:
            with limited(cancel, _ABORT_SECONDS) as undo, contextlib.suppress(Exception):
                self._aws.call("s3", "abort_multipart_upload", cancel=undo, **where, UploadId=upload)
            raise

    def _complete(
        self,
        where: dict[str, Any],
        upload: str,
        parts: list[dict[str, Any]],
        condition: dict[str, Any],
        cancel: CancelToken,
    ) -> bool:
        """Make the parts one object. False when something was there; the upload is then aborted."""

        def work(client: Any) -> bool:
            try:
                client.complete_multipart_upload(
                    **where, **condition, UploadId=upload, MultipartUpload={"Parts": parts}
                )
            except client.exceptions.ClientError as error:
                if _code(error) == "PreconditionFailed":
                    client.abort_multipart_upload(**where, UploadId=upload)
                    return False
                raise
            return True

        return self._aws.do("s3", "complete_multipart_upload", work, cancel=cancel)

    def get(self, key: str, *, start: int = 0, length: int | None = None, cancel: CancelToken) -> bytes:
        """Bytes ``[start, start+length)`` of an object, fewer at its end.

        Raises:
            AgentError: ``store-missing``, ``store-corrupt``.
        """
        body = bytearray()
        self._read(key, body.extend, cancel, start=start, length=length)
        return bytes(body)

    def fetch(
        self, key: str, target: Path, *, cancel: CancelToken, on_bytes: Callable[[int], None] | None = None
    ) -> None:
        """Copy an object to a file, complete or not at all. Raises as ``get``."""
        part = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
        try:
            with part.open("xb") as file:

                def take(chunk: bytes) -> None:
                    file.write(chunk)
                    if on_bytes is not None:
                        on_bytes(len(chunk))

                self._read(key, take, cancel)
            part.replace(target)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()

    def _read(
        self,
        key: str,
        take: Callable[[bytes], None],
        cancel: CancelToken,
        *,
        start: int = 0,
        length: int | None = None,
    ) -> None:
        """Hand over an object, or a stretch of it, in order and each byte once; only whole ones can be verified."""
        if length == 0:
            return
        reading = _Reading(start, None if length is None else start + length)
        while not reading.done:
            before = reading.at
            try:
                self._aws.do(
                    "s3",
                    "get_object",
                    lambda client: self._attempt(client, key, reading, take, cancel),
                    cancel=cancel,
                )
            except RunctlError as error:
                if not error.transient or reading.at == before:
                    raise  # what went forward deserves fresh patience
        if reading.crc32 and reading.found != reading.crc32:
            detail = f"the CRC-32 of what arrived is {reading.found}, not {reading.crc32}"
            raise known("store-corrupt", key=key, url=self.url, detail=detail)

    def _attempt(
        self, client: Any, key: str, reading: _Reading, take: Callable[[bytes], None], cancel: CancelToken
    ) -> None:
        """Read on from where the last attempt broke."""
        from botocore.exceptions import FlexibleChecksumError  # noqa: PLC0415 - heavy

        where = {"Bucket": self._bucket, "Key": self._key(key), **reading.asks()}
        try:
            answer = client.get_object(**where)
        except client.exceptions.ClientError as error:
            code = _code(error)
            if code in ("NoSuchKey", "404"):
                raise known("store-missing", key=key, url=self.url) from error
            if code == "InvalidRange":  # nothing behind the end, which is what an empty stretch is
                reading.done = True
                return
            if code == "PreconditionFailed":
                raise known("store-changed", key=key, url=self.url) from error
            raise
        reading.begin(answer)
        try:
            with contextlib.closing(answer["Body"]) as body:
                while chunk := body.read(_CHUNK):
                    cancel.check()
                    take(chunk)
                    reading.took(chunk)
        except FlexibleChecksumError as error:  # what boto3 finds out of an answer that came whole
            raise known("store-corrupt", key=key, url=self.url, detail=str(error)) from error
        reading.done = True

    def list(self, prefix: str, *, after: str = "", cancel: CancelToken) -> Iterator[Stored]:
        """The objects whose keys begin with ``prefix``, in the order of their keys' bytes; only those behind ``after``."""
        asked = {"Bucket": self._bucket, "Prefix": self._key(prefix)}
        if after:
            asked["StartAfter"] = self._key(after)
        above = len(self._key(""))
        for page in self._aws.pages("s3", "list_objects_v2", cancel=cancel, **asked):
            for item in page.get("Contents", ()):
                modified = item["LastModified"].timestamp()
                yield Stored(item["Key"][above:], item["Size"], modified, item["ETag"].strip('"'))

    def delete(self, keys: Iterable[str], cancel: CancelToken) -> None:
        """Remove objects, a thousand at a time; what is not there is a success.

        Raises:
            AccessError: ``store-unwritable`` naming the first one that S3 would not remove; the others are gone.
        """
        if self._read_only:
            raise known(
                "store-unwritable", url=self.url, key=next(iter(keys), ""), detail="this is a dry run"
            )
        waiting = iter(keys)
        cancel.check()
        while batch := list(itertools.islice(waiting, _DELETES)):
            objects = [{"Key": self._key(key)} for key in batch]
            answer = self._aws.call(
                "s3",
                "delete_objects",
                cancel=cancel,
                Bucket=self._bucket,
                Delete={"Objects": objects, "Quiet": True},
            )
            for error in answer.get("Errors", ()):
                raise known("store-unwritable", url=self.url, key=error["Key"], detail=error["Message"])

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key


class _Reading:
    """How far the reading of one object is, over its attempts. Offsets in bytes of the object."""

    def __init__(self, start: int, end: int | None) -> None:
        self.at = start
        self.done = False
        self.crc32 = ""  # what S3 says of the whole object; it does not say it of a stretch
        self._end = end
        self._whole = start == 0 and end is None
        self._etag = ""
        self._sum = 0

    def asks(self) -> dict[str, Any]:
        """The rest, of the same object."""
        last = "" if self._end is None else str(self._end - 1)
        rest = {"Range": f"bytes={self.at}-{last}"} if self.at or self._end is not None else {}
        return {**rest, "IfMatch": self._etag} if self._etag else {**rest, "ChecksumMode": "ENABLED"}

    def begin(self, answer: Mapping[str, Any]) -> None:
        """Note what an answer says of the object."""
        self._etag = answer["ETag"]
        if self._whole and not self.at and answer.get("ChecksumType") != "COMPOSITE":
            self.crc32 = answer.get("ChecksumCRC32", "")

    def took(self, chunk: bytes) -> None:
        """Note what has been handed over."""
        self.at += len(chunk)
        if self.crc32:
            self._sum = zlib.crc32(chunk, self._sum)

    @property
    def found(self) -> str:
        """The CRC-32 of what was handed over, as S3 writes it."""
        return _encoded(self._sum)


class _Unchanging:
    """A file that is read at any offset, by several threads, and has to be the same when that is over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._before = os.fstat(self._file.fileno())
        self.size = self._before.st_size

    def read(self, start: int, length: int) -> bytes:
        """Bytes ``[start, start+length)``, fewer at the end."""
        return os.pread(self._file.fileno(), length, start)

    def check(self) -> None:
        """Raise ``file-changed`` if it is not what it was."""
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise known("file-changed", path=str(self._path))

    def __enter__(self) -> _Unchanging:  # noqa: PYI034 - final in practice
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _crc32(body: bytes) -> str:
    return _encoded(zlib.crc32(body))


def _encoded(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
