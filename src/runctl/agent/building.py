"""A tree that is made out of another version of it: what is the same stays, the rest is linked or copied."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

from runctl.agent import tree
from runctl.agent.failure import AgentFailure
from runctl.agent.worktree_manifest import Manifest, place_of, row_of, says

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from runctl.agent.home import Home
    from runctl.agent.worktree_manifest import Row

    Entry = dict[str, Any]


class Building:
    """Work on the tree at ``place``, which nobody else sees. ``kept`` is what it holds; None: it is an empty folder.

    ``changed`` are the paths of it that are not what ``kept`` says any more.
    ``rows`` is what its manifest will say, ``written`` how many files were made. ``aside`` takes a folder with
    something of somebody else's in it out of the way.
    """

    def __init__(
        self,
        place: str,
        kept: Manifest | None,
        changed: Iterable[str] = (),
        *,
        home: Home,
        aside: Callable[[bytes], None],
    ) -> None:
        self._place = place
        self._home = home
        self._aside = aside
        self._before = {} if kept is None else dict(kept.rows)
        for path in changed:
            self._before[path] = ("?", "", 0, 0, 0)  # something else is there: it goes
        self._folders = set() if kept is None else kept.folders()
        self._other: Manifest | None = None
        self._other_place = ""
        self._waiting: dict[str, list[Entry]] = {}  # files that are not made yet, by their content
        self._last: list[Entry] = []  # links and empty folders
        self._lock = threading.Lock()
        self.rows: dict[str, Row] = {}
        self.verified: set[str] = set()  # contents that were verified a moment ago
        self.written = 0

    def others(self, place: str, manifest: Manifest | None) -> None:
        """Another tree whose files may be shared: what is the same there is linked, not copied."""
        self._other, self._other_place = manifest, place

    def begin(self, entries: list[Entry]) -> None:
        """Take away what is not in ``entries`` and make their folders; what is the same stays."""
        wanted = {entry["path"]: entry for entry in entries}
        stays = {path for path, row in self._before.items() if path in wanted and says(wanted[path], row)}
        folders = _folders(entries)
        self._remove(stays, folders)
        for folder in sorted(folders - self._folders):
            self._folder(folder)
        for path in stays:
            self.rows[path] = self._before[path]
        for path, entry in wanted.items():
            if path in stays:
                continue
            if entry["type"] == "file":
                self._waiting.setdefault(entry["digest"], []).append(entry)
            else:
                self._last.append(entry)

    def content(self, digest: str, data: bytes) -> None:
        """Make the files with that content, which has just come. Safe from several threads."""
        for entry in self._waiting.pop(digest, ()):
            self._write(entry, data)

    def finish(self) -> None:
        """Make what is left, out of blobs and of the other tree; links last: nothing goes through one.

        Raises:
            AgentFailure: ``blob-missing``, ``blob-corrupt``; ``tree-unsafe`` where two names are one on this machine.
        """
        for entries in self._waiting.values():
            for entry in entries:
                self._make(entry)
        for entry in self._last:
            self._make(entry)

    def _remove(self, stays: set[str], folders: set[str]) -> None:
        for path, row in self._before.items():
            if path not in stays and not (row[0] == "d" and path in folders):
                self._unlink(path)
        for folder in sorted(self._folders - folders, key=lambda path: -path.count("/")):
            try:
                os.rmdir(place_of(self._place, folder))
            except OSError:
                pass  # it holds something that nobody sent

    def _unlink(self, path: str) -> None:
        place = place_of(self._place, path)
        try:
            os.unlink(place)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            self._aside(place)

    def _folder(self, folder: str) -> None:
        try:
            os.mkdir(place_of(self._place, folder), 0o755)
        except FileExistsError:
            pass

    def _make(self, entry: Entry) -> None:
        place = place_of(self._place, entry["path"])
        if entry["type"] == "file" and not self._shared(entry, place):
            self.written += 1
            with _one_name(entry):
                tree.copy(entry, place, self._home, verify=entry["digest"] not in self.verified)
        elif entry["type"] == "link":
            self.written += 1
            with _one_name(entry):
                os.symlink(tree.encoded(entry["target"]), place)
        self.rows[entry["path"]] = row_of(entry, os.lstat(place))

    def _write(self, entry: Entry, data: bytes) -> None:
        mode = 0o755 if entry.get("exec") else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _one_name(entry):
            fd = os.open(place_of(self._place, entry["path"]), flags, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, mode)
            self.rows[entry["path"]] = row_of(entry, os.fstat(fd))
        finally:
            os.close(fd)
        with self._lock:
            self.written += 1

    def _shared(self, entry: Entry, place: bytes) -> bool:
        """Link the file of the other tree that has the content; it is verified by its state."""
        row = None if self._other is None else self._other.rows.get(entry["path"])
        if row is None or entry["type"] != "file" or not says(entry, row):
            return False
        there = place_of(self._other_place, entry["path"])
        try:
            status = os.lstat(there)
            if (status.st_mtime_ns, status.st_size, status.st_ino) != (row[3], row[2], row[4]):
                return False
            os.link(there, place, follow_symlinks=False)
        except OSError:
            return False
        return True


@contextmanager
def _one_name(entry: Entry) -> Iterator[None]:
    """Say so when two names are one on a file system that ignores case."""
    try:
        yield
    except FileExistsError as error:
        detail = "another entry has the same name on this machine"
        raise AgentFailure("tree-unsafe", path=entry["path"], detail=detail) from error


def _folders(entries: list[Entry]) -> set[str]:
    """Every folder that has to be there."""
    found: set[str] = set()
    for entry in entries:
        folder = entry["path"] if entry["type"] == "dir" else entry["path"].rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
