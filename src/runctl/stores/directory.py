"""A store in a folder: a disk of this computer, or one that several computers mount.

An object is a file below the folder. It is written beside it, in ``.incoming``, and gets its name with one rename (or
one link, where nothing may be replaced), so it is there whole or not at all, whoever is killed when.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from runctl.core.catalogue import known
from runctl.core.ports import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Surroundings

_CHUNK: Final = 1 << 20  # bytes
_INCOMING: Final = ".incoming"
_STALE_SECONDS: Final = 24 * 3600  # a part that nobody wrote to for so long has no writer any more


class DirectoryStore:
    """The store at ``file:///path``. Safe to use from several threads, processes and computers.

    A key is a relative path of UTF-8 text. Unlike in a bucket, ``a`` and ``a/b`` cannot both be there: the second one
    is refused as ``store-unwritable``.
    """

    def __init__(self, url: str, surroundings: Surroundings) -> None:
        parts = urlsplit(url)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise known("store-url", url=url, detail="it has to be file:/// and an absolute path")
        self._root = Path(unquote(parts.path))
        self.url = "file://" + quote(str(self._root))
        self._read_only = surroundings.read_only

    def access(self) -> Mapping[str, str]:
        """How the agent reaches it, on a computer that has the same folder."""
        return {"kind": "directory", "path": str(self._root)}

    def close(self) -> None:
        """Nothing is held open."""

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None] | None = None,
        notes: Path | None = None,  # noqa: ARG002 - nothing is gained by half a copy on a disk
    ) -> bool:
        """Keep ``data`` under ``key``; false when ``if_absent`` and something was there. Safe to repeat.

        Raises:
            AccessError: ``store-unwritable``.
            UsageError: ``file-changed`` when a file is not the same before and after it was read.
            Cancelled: nothing of it stays.
        """
        cancel.check()
        target = self._path(key)
        if self._read_only:
            raise known("store-unwritable", url=self.url, key=key, detail="this is a dry run")
        if if_absent and target.exists():
            return False
        part = self._root / _INCOMING / f"{os.getpid()}.{os.urandom(8).hex()}"
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            self._sweep(part.parent)
            with part.open("xb") as file:
                _write(file.fileno(), data, cancel, on_bytes or (lambda _count: None))
                os.fsync(file.fileno())
            return self._name(part, target, if_absent=if_absent)
        except OSError as error:
            detail = error.strerror or str(error)
            raise known("store-unwritable", url=self.url, key=key, detail=detail) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()

    def _name(self, part: Path, target: Path, *, if_absent: bool) -> bool:
        """Give what was written its name; false when there is one already and it has to stay."""
        for last in (False, False, True):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if if_absent:
                    os.link(part, target)
                else:
                    part.replace(target)
            except FileExistsError:
                return False
            except FileNotFoundError:  # whoever deletes also removes the folders that it empties
                if last:
                    raise
            else:
                return True
        raise AssertionError("the loop ends by itself")

    def _sweep(self, folder: Path) -> None:
        """Forget the parts of writers that were killed long ago."""
        for part in folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                    part.unlink()

    def give_up(self, key: str, notes: Path, cancel: CancelToken) -> None:  # noqa: ARG002 - nothing of it has a name
        """Forget it: what was written in part is swept by itself."""
        notes.unlink(missing_ok=True)

    def get(self, key: str, *, start: int = 0, length: int | None = None, cancel: CancelToken) -> bytes:
        """Bytes ``[start, start+length)`` of an object, fewer at its end.

        Raises:
            AgentError: ``store-missing``.
            AccessError: ``store-unreadable``.
        """
        cancel.check()
        with self._reading(key) as path, path.open("rb") as file:
            file.seek(start)
            return file.read() if length is None else file.read(length)

    def fetch(
        self,
        key: str,
        target: Path,
        *,
        cancel: CancelToken,
        on_bytes: Callable[[int], None] | None = None,
        resume: bool = False,  # noqa: ARG002 - as in ``put``
    ) -> None:
        """Copy an object to a file, complete or not at all. Raises as ``get``."""
        part = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
        try:
            with self._reading(key) as path, path.open("rb") as source, part.open("xb") as copy:
                while chunk := source.read(_CHUNK):
                    cancel.check()
                    copy.write(chunk)
                    if on_bytes is not None:
                        on_bytes(len(chunk))
            part.replace(target)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()

    def list(self, prefix: str, *, after: str = "", cancel: CancelToken) -> Iterator[Stored]:
        """The objects whose keys begin with ``prefix``, in the order of their keys' bytes; only those behind ``after``."""
        folder, _, start = prefix.rpartition("/")
        base = self._path(folder) if folder else self._root
        for path, key in self._walk(base, f"{folder}/" if folder else "", start):
            cancel.check()
            if key.encode() <= after.encode():
                continue
            try:
                found = path.stat()
            except OSError:
                continue  # deleted meanwhile
            etag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
            yield Stored(key, found.st_size, found.st_mtime, etag)

    def _walk(self, folder: Path, above: str, start: str) -> Iterator[tuple[Path, str]]:
        """The files below ``folder`` whose names there begin with ``start``, by key: ``a-b`` comes before ``a/b``."""
        try:
            with os.scandir(folder) as items:
                found = [(item.name, item.is_dir()) for item in items if item.name.startswith(start)]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            detail = error.strerror or str(error)
            raise known("store-unreadable", url=self.url, key=above, detail=detail) from error
        for name, is_folder in sorted(found, key=lambda item: (item[0] + "/" * item[1]).encode()):
            if not above and name == _INCOMING:
                continue
            if is_folder:
                yield from self._walk(folder / name, f"{above}{name}/", "")
            else:
                yield folder / name, above + name

    def delete(self, keys: Iterable[str], cancel: CancelToken) -> None:
        """Remove objects; what is not there is a success. Folders that are left empty go too."""
        for key in keys:
            cancel.check()
            path = self._path(key)
            if self._read_only:
                raise known("store-unwritable", url=self.url, key=key, detail="this is a dry run")
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as error:
                detail = error.strerror or str(error)
                raise known("store-unwritable", url=self.url, key=key, detail=detail) from error
            for folder in path.parents:
                if folder == self._root or not _removed(folder):
                    break

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts) or parts[0] == _INCOMING:
            raise known("store-key", key=key, url=self.url)
        return self._root.joinpath(*parts)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        """Translate what reading an object may say."""
        try:
            yield self._path(key)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise known("store-missing", key=key, url=self.url) from error
        except PermissionError as error:
            raise known("store-unreadable", url=self.url, key=key, detail=str(error.strerror)) from error


def _write(target: int, data: bytes | Path, cancel: CancelToken, told: Callable[[int], None]) -> None:
    """Write all of ``data`` to a file descriptor; a file has to be the same before and after."""
    if isinstance(data, bytes):
        for start in range(0, len(data), _CHUNK):
            cancel.check()
            _write_all(target, data[start : start + _CHUNK])
        return
    with data.open("rb", buffering=0) as source:
        before = os.fstat(source.fileno())
        while chunk := source.read(_CHUNK):
            cancel.check()
            _write_all(target, chunk)
            told(len(chunk))
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise known("file-changed", path=str(data))


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
