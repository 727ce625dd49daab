"""A folder as a store: a disk that machines share, and what tests look into."""

from __future__ import annotations

import os
import threading
from hashlib import sha256

from runctl.agent.failure import AgentFailure
from runctl.agent.home import make_folder
from runctl.s3.client import checked
from runctl.s3.patience import Patience
from runctl.s3.stored import Stored

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    Told = Callable[[int], Any]

CHUNK = 1 << 20  # bytes
INCOMING = ".incoming"  # what is being written; no key begins with it


class Directory:
    """``Store`` in a folder: a file for each object, at the path its key says, replaced by rename."""

    def __init__(self, path: str, *, patience: Patience | None = None) -> None:
        self.path = os.path.abspath(path)
        self.url = "file://" + self.path
        self.patience = patience or Patience()

    def close(self) -> None:
        """Nothing is kept open."""

    def _file(self, key: str) -> str:
        if checked(key).partition("/")[0] == INCOMING:
            raise AgentFailure("agent-request", detail="not a key of the store: %r" % key)
        return os.path.join(self.path, key)

    def _opened(self, key: str) -> BinaryIO:
        try:
            return open(self._file(key), "rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise AgentFailure("store-missing", url=self.url, key=key, detail="no such file") from error

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """The object's bytes from ``start`` on, at most ``length``. Raises ``store-missing``."""
        with self._opened(key) as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def get_file(
        self,
        key: str,
        path: str,
        *,
        size: int | None = None,
        digest: str = "",
        told: Told = lambda _count: None,
    ) -> None:
        """Copy the object to ``path``, whole and as expected or not at all. Raises ``store-corrupt``."""
        part = path + ".part"
        with self._opened(key) as source:
            found = self._copied(source, part, told)
        if (size is not None and found[0] != size) or (digest and found[1] != digest):
            os.unlink(part)
            detail = "it is not what was recorded: %d bytes, digest %s" % found
            raise AgentFailure("store-corrupt", url=self.url, key=key, detail=detail)
        os.replace(part, path)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object whole; false when ``if_absent`` and it was there."""
        target = self._file(key)
        part = self._part()
        try:
            with open(part, "wb") as file:
                file.write(data)
            make_folder(os.path.dirname(target))
            if if_absent:
                os.link(part, target)
            else:
                os.rename(part, target)
        except FileExistsError:
            return False
        finally:
            _forget(part)
        return True

    def put_file(self, key: str, path: str, *, told: Told = lambda _count: None) -> tuple[int, str]:
        """Write an object out of a file; size and SHA-256 of what was stored."""
        target = self._file(key)
        part = self._part()
        try:
            with open(path, "rb") as source:
                found = self._copied(source, part, told)
            make_folder(os.path.dirname(target))
            os.rename(part, target)
        finally:
            _forget(part)
        return found

    def size(self, key: str) -> int | None:
        """Bytes in the object; None when there is none."""
        try:
            return os.stat(self._file(key)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Stored]:
        """The objects whose keys begin with ``prefix``, in the order of their keys, beginning behind ``after``."""
        top = prefix.rpartition("/")[0]
        found = []
        for folder, _, names in os.walk(os.path.join(self.path, top)):
            base = os.path.relpath(folder, self.path)
            for name in names:
                key = name if base == "." else "%s/%s" % (base, name)
                if key.startswith(prefix) and key > after and not key.startswith(INCOMING + "/"):
                    found.append(key)
        for key in sorted(found, key=os.fsencode):
            try:
                known = os.stat(os.path.join(self.path, key))
            except FileNotFoundError:
                continue
            yield Stored(key, known.st_size, known.st_mtime, "%x-%x" % (known.st_mtime_ns, known.st_ino))

    def _part(self) -> str:
        folder = os.path.join(self.path, INCOMING)
        make_folder(folder)
        return os.path.join(folder, "%s.%d.%d" % (os.uname().nodename, os.getpid(), threading.get_ident()))

    def _copied(self, source: BinaryIO, part: str, told: Told) -> tuple[int, str]:
        state = sha256()
        size = 0
        with open(part, "wb") as target:
            while True:
                self.patience.check()
                data = source.read(CHUNK)
                if not data:
                    return size, state.hexdigest()
                target.write(data)
                state.update(data)
                size += len(data)
                told(len(data))


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
