"""A store in an S3 bucket.

Every object is whole or not there: a small one is one ``PutObject``, a large one a multipart upload that is aborted
where it was begun unless it is completed. Bytes are checked by CRC-32 on both ways, by S3 when they arrive there and here
when they come back. A body that breaks is continued from where it broke, if the object is still the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from runctl.aws import direct
from runctl.aws.calls import AwsCalls
from runctl.core.cancel import SLICE, Child
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled
from runctl.core.ports import Stored
from runctl.s3.failure import KnownFailure
from runctl.s3.patience import Stopped
from runctl.s3.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Surroundings
    from runctl.s3.objects import Objects

_DELETES: Final = 1000  # keys that one DeleteObjects takes
_UNDO_SECONDS: Final = 5.0  # what the undo of a cancelled upload may take
_PRECONDITION: Final = 412

T = TypeVar("T")


@contextlib.contextmanager
def _alone(path: Path | None) -> Iterator[bool]:
    """Whether nobody else is in such a block with the same ``path``; the file is there as long as somebody is."""
    if path is None:
        yield False
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(file)


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
        self._lock = threading.Lock()
        self._made: Objects | None = None

    @property
    def _s3(self) -> Objects:
        with self._lock:
            if self._made is None:
                self._made = direct.s3_at(self._aws, self._bucket, self._prefix)
            return self._made

    def access(self) -> Mapping[str, str]:
        """How the agent reaches it: with its own credentials."""
        return {"kind": "s3", "bucket": self._bucket, "prefix": self._prefix, "region": self._s3.region}

    def close(self) -> None:
        """Close what is open and idle. Safe to repeat."""
        if self._made is not None:
            self._made.close()

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None] | None = None,
        notes: Path | None = None,
    ) -> bool:
        """Keep ``data`` under ``key``; false when ``if_absent`` and something was there. Safe to repeat.

        Raises:
            UsageError: ``file-changed`` when a file is not the same before and after it was read.
            Cancelled: nothing of it stays under ``key``; what was begun has been aborted.
        """
        self._check_writable(key)

        def put_bytes(s3: Objects) -> bool:
            assert isinstance(data, bytes)
            return s3.put(key, data, if_absent=if_absent)

        def put_file(s3: Objects) -> bool:
            assert not isinstance(data, bytes)
            told, noted = on_bytes or (lambda _count: None), "" if notes is None else os.fspath(notes)
            try:
                path = os.fspath(data)
                s3.put_file(key, path, told=told, if_absent=if_absent, notes=noted, whole=False)
            except Refusal as refusal:
                if refusal.status == _PRECONDITION:
                    return False
                raise
            except KnownFailure as error:
                if error.code == "store-file-changed":
                    raise known("file-changed", path=str(data)) from error
                raise
            return True

        return self._do("s3:PutObject", put_bytes if isinstance(data, bytes) else put_file, cancel)

    def give_up(self, key: str, notes: Path, cancel: CancelToken) -> None:
        """Delete the parts of an upload that was cut off, and its notes. Safe to repeat; one that goes on is left alone."""
        self._check_writable(key)
        self._do("s3:AbortMultipartUpload", lambda s3: s3.give_up(key, os.fspath(notes)), cancel)

    def get(self, key: str, *, start: int = 0, length: int | None = None, cancel: CancelToken) -> bytes:
        """Bytes ``[start, start+length)`` of an object, fewer at its end.

        Raises:
            AgentError: ``store-missing``, ``store-corrupt``, ``store-changed``.
        """
        return self._do("s3:GetObject", lambda s3: s3.get(key, start=start, length=length), cancel)

    def fetch(
        self,
        key: str,
        target: Path,
        *,
        cancel: CancelToken,
        on_bytes: Callable[[int], None] | None = None,
        resume: bool = False,
    ) -> None:
        """Copy an object to a file, complete or not at all. Raises as ``get``.

        With ``resume``, ``NAME.part`` and ``NAME.part.done`` beside it stay after a failure; while one call writes them,
        another one of the same target does without.
        """

        def work(s3: Objects, part: Path) -> None:
            s3.get_file(key, os.fspath(part), told=on_bytes or (lambda _count: None))
            part.replace(target)

        with _alone(target.with_name(f"{target.name}.part.lock") if resume else None) as alone:
            part = target if alone else target.with_name(f"{target.name}.{os.urandom(4).hex()}")
            try:
                self._do("s3:GetObject", lambda s3: work(s3, part), cancel)
            finally:
                if not alone:
                    for left in (part, *(part.with_name(part.name + end) for end in (".part", ".part.done"))):
                        with contextlib.suppress(OSError):
                            left.unlink()

    def list(self, prefix: str, *, after: str = "", cancel: CancelToken) -> Iterator[Stored]:
        """The objects whose keys begin with ``prefix``, in the order of their keys' bytes; only those behind ``after``."""
        cancel.check()
        view = self._s3.view(direct.Persistence(self._aws, "s3:ListBucket", cancel))
        pages = view.pages(prefix, after=after)
        while True:
            page = self._run("s3:ListBucket", view, lambda: next(pages, None), cancel)
            if page is None:
                return
            for found in page:
                yield Stored(found.key, found.size, found.modified, found.etag)

    def delete(self, keys: Iterable[str], cancel: CancelToken) -> None:
        """Remove objects, a thousand at a time; what is not there is a success.

        Raises:
            AccessError: ``store-unwritable`` naming the first one that S3 would not remove; the others are gone.
        """
        waiting = iter(keys)
        cancel.check()
        while batch := list(itertools.islice(waiting, _DELETES)):
            self._check_writable(batch[0])
            for key, message in self._do("s3:DeleteObject", lambda s3: s3.delete(batch), cancel):
                raise known("store-unwritable", url=self.url, key=key, detail=message)

    def _check_writable(self, key: str) -> None:
        if self._read_only:
            raise known("store-unwritable", url=self.url, key=key, detail="this is a dry run")

    def _do(self, action: str, work: Callable[[Objects], T], cancel: CancelToken) -> T:
        cancel.check()
        view = self._s3.view(direct.Persistence(self._aws, action, cancel))
        return self._run(action, view, lambda: work(view), cancel)

    def _run(self, action: str, view: Objects, work: Callable[[], T], cancel: CancelToken) -> T:
        """Do it on a daemon thread and wait in slices. A cancel breaks what is going on; an undo gets its time."""
        child: Child[T] = Child(action, work)
        threading.Thread(target=child.run, name=action, daemon=True).start()
        while not child.done.wait(SLICE):
            if cancel.cancelled:
                view.interrupt()
                child.done.wait(0 if cancel.hurried else _UNDO_SECONDS)
                raise Cancelled(what=cancel.reason)
        try:
            return child.result()
        except Stopped as error:
            raise Cancelled(what=cancel.reason) from error
        except KnownFailure as error:
            raise direct.worded(error, self._aws, action) from error
