"""Go on with an upload in parts that was cut off: what was noted of it here, and what S3 has of it."""

from __future__ import annotations

import fcntl
import json
import os

from runctl.s3.failure import KnownFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Tuple

    from runctl.s3.objects import Objects

    Part = Tuple[int, str, str]  # a part that S3 has: its size in bytes, its ETag, its CRC-32 as S3 spells it


class Notes:
    """The file that says which upload is under way; one process at a time has it.

    It holds ``mark``, which stands for the content, where it goes, and the id of the upload. To be used as a context
    manager. Whoever finds it in use gets one that notes nothing.
    """

    def __init__(self, path: str, mark: str, *, url: str, key: str) -> None:
        self._path, self._mark = path, mark
        self._url, self._key = url, key
        self._fd: int | None = None

    def __enter__(self) -> Notes:  # noqa: PYI034 - Self is newer than Python 3.8
        if not self._path:
            return self
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._fd = fd
        except BlockingIOError:
            os.close(fd)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def kept(self) -> bool:
        """Whether anything is noted: an upload may then be left for a later call."""
        return self._fd is not None

    def upload(self) -> tuple[str, bool]:
        """The id of the upload that was noted last, empty without one, and whether it is of the same content."""
        if self._fd is None:
            return "", False
        found = _understood(os.pread(self._fd, 1 << 16, 0)) or {}
        return found.get("upload", ""), found.get("mark") == self._mark

    def begun(self, upload: str) -> None:
        """Note that ``upload`` is under way."""
        if self._fd is not None:
            told = {"mark": self._mark, "upload": upload, "url": self._url, "key": self._key}
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(told).encode(), 0)

    def ended(self) -> None:
        """Nothing is under way any more."""
        if self._fd is not None:
            os.unlink(self._path)


def _understood(data: bytes) -> dict[str, str] | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    wanted = ("mark", "upload", "url", "key")
    return (
        found if isinstance(found, dict) and all(isinstance(found.get(key), str) for key in wanted) else None
    )


def noted(path: str) -> tuple[str, str] | None:
    """To which ``url`` and ``key`` the upload went that ``path`` notes; None where that says nothing, or it goes on now.

    Reads only. Raises ``OSError`` when there are no such notes.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        found = _understood(os.pread(fd, 1 << 16, 0))
    except BlockingIOError:
        return None
    finally:
        os.close(fd)
    return None if found is None else (found["url"], found["key"])


def give_up(s3: Objects, key: str, path: str) -> None:
    """Delete the parts of an upload that was cut off, and the notes. Safe to repeat; one that goes on now is left alone."""
    with Notes(path, "", url=s3.url, key=key) as notes:
        upload, _ = notes.upload()
        if upload:
            s3.patience.persist(lambda: abort(s3, key, upload))
        notes.ended()


def abort(s3: Objects, key: str, upload: str) -> None:
    """Delete the parts of an upload; one that is gone is a success. Raises what S3 refuses."""
    try:
        with s3.send("DELETE", key, [("uploadId", upload)]):
            pass
    except KnownFailure as error:
        if error.code != "store-missing":
            raise


def parts(s3: Objects, key: str, upload: str) -> dict[int, Part] | None:
    """What S3 has of an upload; None when that is gone, or may not be looked at.

    Only parts with a CRC-32 count: nothing else says here what they hold.
    """
    from xml.etree.ElementTree import fromstring  # noqa: PLC0415 - only for this

    found: dict[int, Part] = {}
    after = "0"
    while True:
        query = [("uploadId", upload), ("part-number-marker", after)]

        def ask() -> bytes:
            with s3.send("GET", key, query) as answer:  # noqa: B023 - called before it changes
                return answer.whole()

        try:
            root = fromstring(s3.patience.persist(ask))  # noqa: S314 - S3's own answer
        except KnownFailure as error:
            if error.code in ("store-missing", "store-denied"):
                return None
            raise
        space = root.tag[: root.tag.index("}") + 1] if "}" in root.tag else ""
        for node in root.iter(space + "Part"):
            fields = {child.tag[len(space) :]: child.text or "" for child in node}
            if fields.get("ChecksumCRC32"):
                part = int(fields["Size"]), fields["ETag"], fields["ChecksumCRC32"]
                found[int(fields["PartNumber"])] = part
        after = root.findtext(space + "NextPartNumberMarker") or ""
        if root.findtext(space + "IsTruncated") != "true" or not after:
            return found
