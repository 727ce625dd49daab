"""The project's content at one moment: a digest for everything that travels, and one for the whole tree.

The tree digest is defined in ``docs/architecture.md``; the agent computes it again before it builds the tree.
A file is read again only when its state (``project.memory``) says that it may have changed.
"""

from __future__ import annotations

import os
import stat
import time
from array import array
from collections import deque
from functools import cached_property
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runctl.core.cancel import CancelToken, together
from runctl.core.catalogue import known
from runctl.project.memory import UNKNOWN, Remembered, ScanMemory, States, state_of
from runctl.project.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from runctl.project.listing import FileEntry, Folder, Listing
    from runctl.project.memory import State
    from runctl.project.root import Root

    _Bytes = bytes  # the class below has an attribute of that name
    Progress = Callable[[int, int, str], None]

_CHUNK: Final = 1 << 20  # bytes
_TRIES: Final = 3  # readings of a file that changes meanwhile
# Hashing lets other threads run, opening does not: 20,000 small files took 300 ms on one thread and 370 ms on two,
# two large ones half the time. So threads are for large files, and the small ones share one.
_LARGE: Final = _CHUNK
_THREADS: Final = 4  # a laptop's disk and memory give no more beyond that
_FIELDS: Final = 5  # numbers in a state; the first one is the size
_REPORT_EVERY: Final = 0.1  # seconds between two calls of on_progress


class Source(NamedTuple):
    """Where the bytes of a digest can be read, and the file's state when it had them."""

    path: str
    state: tuple[int, int, int, int]  # size, modification and change time in ns, inode
    followed: bool


class _File(NamedTuple):
    """A file whose content is known."""

    state: State
    digest: str


class Snapshot:
    """What travels, with its content's names.

    ``digest`` names the tree; ``files`` counts files, links and empty folders, ``bytes`` those of all files, each path
    counted; ``hashed`` files were read, ``reused`` ones known already. ``memory`` is what the next look need not read;
    nothing is written until its ``save`` is called.
    """

    def __init__(
        self,
        root: str,
        listing: Listing,
        read: Mapping[str, _File],
        memory: ScanMemory,
        *,
        digest: str,
    ) -> None:
        self.root = root
        self.memory = memory
        self._listing = listing
        self._read = read
        self._digest = digest
        sizes = (array("Q", folder.states)[::_FIELDS] for folder in memory.folders.values())
        names = sum(len(folder.names) for folder in memory.folders.values())
        instead = [entry for entry in listing.others if entry.kind == "file"]
        self.files = names + len(listing.others)
        self.bytes = sum(map(sum, sizes)) + sum(read[entry.path].state[0] for entry in instead)
        self.hashed = len(read)
        self.reused = names + len(instead) - len(read)

    @cached_property
    def digest(self) -> str:
        """The digest of the tree, as ``docs/architecture.md`` defines it."""
        return self._digest or tree_digest(self.entries)

    @property
    def entries(self) -> tuple[dict[str, Any], ...]:
        """Have the shape of ``Entry`` in ``docs/architecture.md``, ready for JSON, sorted by the bytes of their path."""
        return self._told[0]

    @property
    def sources(self) -> dict[str, Source]:
        """Where each content can be read."""
        return self._told[1]

    @cached_property
    def _told(self) -> tuple[tuple[dict[str, Any], ...], dict[str, Source]]:
        entries: list[dict[str, Any]] = []
        sources: dict[str, Source] = {}

        def add(path: str, state: State, digest: str, *, followed: bool = False) -> None:
            executable = state[4] & 0o100 != 0
            entries.append(
                {"path": path, "type": "file", "digest": digest, "size": state[0], "exec": executable}
            )
            if digest not in sources:
                sources[digest] = Source(path, state[:4], followed)

        for above, folder in self.memory.folders.items():
            digests = folder.digests.hex()
            for number, (name, state) in enumerate(
                zip(folder.names, States.unpacked(folder.states), strict=True)
            ):
                add(above + name, state, digests[number * 64 : number * 64 + 64])
        for entry in self._listing.others:
            if entry.kind == "file":
                add(entry.path, *self._read[entry.path], followed=True)
            elif entry.kind == "link":
                entries.append({"path": entry.path, "type": "link", "target": entry.target, "exec": False})
            else:
                entries.append({"path": entry.path, "type": "dir", "exec": False})
        is_plain = all(entry["path"].isascii() for entry in entries)
        entries.sort(key=itemgetter("path") if is_plain else _path_bytes)
        return tuple(entries), sources

    def read_blob(self, digest: str) -> Iterator[_Bytes]:
        """The bytes of ``digest`` in chunks of at most 1 MiB, verified while they are read.

        Raises:
            UsageError: ``file-changed`` before the first chunk when the file's state differs, at the end when its
                content does; the receiver verifies the digest too, so nothing wrong is ever kept.
            KeyError: no file of this snapshot has that content.
        """
        source, file = self._opened(digest)
        try:
            state, left = sha256(), source.state[0]
            while left:
                chunk = os.read(file, min(left, _CHUNK))
                if not chunk:
                    break
                state.update(chunk)
                left -= len(chunk)
                yield chunk
            if left or state.hexdigest() != digest:
                raise known("file-changed", path=shown(source.path))
        finally:
            os.close(file)

    def pieces(self, digest: str, length: int, cancel: CancelToken) -> tuple[str, ...]:
        """The digests of the stretches of ``length`` bytes that the content consists of, on as many threads as pay.

        Raises:
            UsageError: ``file-changed`` when the file's state is another one before or afterwards.
        """
        source, file = self._opened(digest)
        starts = range(0, source.state[0], length)
        found = [""] * len(starts)
        waiting = iter(range(len(starts)))

        def work(token: CancelToken) -> None:
            for number in waiting:  # ``next`` of a range's iterator is one step of the interpreter
                token.check()
                found[number] = sha256(os.pread(file, length, starts[number])).hexdigest()

        try:
            with together(cancel) as scope:
                for _ in range(min(_THREADS, len(starts))):
                    scope.start("pieces", lambda: work(scope.cancel))
            if state_of(os.fstat(file))[:4] != source.state:
                raise known("file-changed", path=shown(source.path))
        finally:
            os.close(file)
        return tuple(found)

    def read_part(self, digest: str, start: int, length: int, *, expected: str) -> _Bytes:
        """Bytes ``[start, start+length)`` of ``digest``, whose own digest is ``expected``. Raises as ``read_blob``."""
        source, file = self._opened(digest)
        try:
            data = os.pread(file, length, start)
        finally:
            os.close(file)
        if sha256(data).hexdigest() != expected:
            raise known("file-changed", path=shown(source.path))
        return data

    def _opened(self, digest: str) -> tuple[Source, int]:
        """The file with that content, open, in the state it had then."""
        source = self.sources[digest]
        try:
            file = _open(os.path.join(self.root, source.path), followed=source.followed)
        except OSError as error:
            raise known("file-changed", path=shown(source.path)) from error
        if state_of(os.fstat(file))[:4] != source.state:
            os.close(file)
            raise known("file-changed", path=shown(source.path))
        return source, file


def take(
    root: Root,
    listing: Listing,
    *,
    memory: ScanMemory | None = None,
    cancel: CancelToken | None = None,
    on_progress: Progress | None = None,
) -> Snapshot:
    """Name the content of everything in ``listing``. Reads only; safe to repeat.

    Args:
        root: the project the listing was made of.
        listing: what travels.
        memory: what earlier snapshots learnt; without one every file is read.
        cancel: ends the reading within one chunk of each thread.
        on_progress: called in this thread, at most ten times a second and once at the end, with the files read, the
            files to read and the one being read.

    Raises:
        UsageError: ``project-unreadable`` naming what cannot be read, ``file-changing`` for a file that changes
            each time it is read.
        Cancelled: the token was set.
    """
    fatal = [problem for problem in listing.problems if problem.fatal]
    if fatal:
        raise _unreadable([(problem.path, problem.what) for problem in fatal])
    cancel = cancel or CancelToken()
    before = memory or ScanMemory(None)
    looked_at = time.time_ns()
    kept: dict[str, Remembered] = {}
    to_read = [entry for entry in listing.others if entry.kind == "file"]
    for path, folder in listing.folders.items():
        if folder.same is not None and UNKNOWN not in folder.same.digests:
            kept[path] = folder.same
        else:
            to_read += _unknown(folder, before.folders.get(path))
    read = _Reading(str(root.path), to_read, cancel, on_progress).all()
    folders = {
        path: kept.get(path) or _remembered(folder, before.folders.get(path), read)
        for path, folder in listing.folders.items()
    }
    others = sha256(repr(listing.others).encode("utf-8", "surrogateescape")).hexdigest()
    same = len(kept) == len(folders) == len(before.folders) and others == before.others
    update = before.updated(folders, others=others, tree="", looked_at=looked_at)
    found = Snapshot(str(root.path), listing, read, update, digest=before.tree if same else "")
    update.tree = found.digest
    return found


def _unknown(folder: Folder, before: Remembered | None) -> Iterator[FileEntry]:
    """The files of a folder that have to be read."""
    known = {} if before is None else before.by_name()
    for name, state, entry in zip(
        folder.names, States.unpacked(folder.states), folder.entries(), strict=True
    ):
        if name not in known or known[name][0] != state or known[name][1] == UNKNOWN:
            yield entry


def _remembered(folder: Folder, before: Remembered | None, read: Mapping[str, _File]) -> Remembered:
    """What to remember of a folder: the state and digest of each file as it was read or known."""
    known = {} if before is None else before.by_name()
    numbers: list[int] = []
    digests = []
    for name, state in zip(folder.names, States.unpacked(folder.states), strict=True):
        fresh = read.get(folder.path + name)
        if fresh is None:
            numbers += state
            digests.append(known[name][1])
        else:
            numbers += fresh.state
            digests.append(bytes.fromhex(fresh.digest))
    return Remembered(
        folder.stamp,
        folder.rules,
        folder.names,
        States.packed(numbers),
        b"".join(digests),
        folder.links,
        folder.folders,
        folder.special,
        tuple(map(tuple, folder.left_out)),  # type: ignore[arg-type]
        tuple(map(tuple, folder.secrets)),  # type: ignore[arg-type]
    )


def _path_bytes(entry: Mapping[str, Any]) -> bytes:
    path: str = entry["path"]
    return path.encode("utf-8", "surrogateescape")


def tree_digest(entries: Iterable[Mapping[str, Any]]) -> str:
    """The digest of a tree, as ``docs/architecture.md`` defines it. Pure; the order of ``entries`` does not matter."""
    lines = []
    for entry in entries:
        kind = entry["type"]
        if kind == "file":
            lines.append((entry["path"], "x" if entry["exec"] else "f", entry["digest"]))
        else:
            lines.append((entry["path"], "l" if kind == "link" else "d", entry.get("target", "")))
    lines.sort(key=lambda line: line[0].encode("utf-8", "surrogateescape"))
    text = "".join([f"{kind}\0{path}\0{value}\0" for path, kind, value in lines])
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class _Reading:
    """The reading of many files, on a few threads when that pays."""

    def __init__(
        self, root: str, entries: list[FileEntry], cancel: CancelToken, on_progress: Progress | None
    ) -> None:
        self._root = root
        self._entries = entries
        self._cancel = cancel
        self._report = on_progress
        self._found: dict[str, _File] = {}
        self._failed: list[tuple[str, str]] = []
        self._item = ""

    def all(self) -> dict[str, _File]:
        """State and digest of each file."""
        large = [entry for entry in self._entries if entry.size >= _LARGE]
        if len(large) > 1:
            self._side_by_side(large, [entry for entry in self._entries if entry.size < _LARGE])
        else:
            self._work(deque(self._entries), self._cancel, alone=True)
        if self._failed:
            raise _unreadable(self._failed)
        if self._entries:
            self._tell()
        return self._found

    def _side_by_side(self, large: list[FileEntry], small: list[FileEntry]) -> None:
        threads = min(_THREADS, os.cpu_count() or 1, len(large))
        queue = deque(sorted(large, key=lambda entry: -entry.size))
        with together(self._cancel) as scope:
            work = [queue] * threads + ([deque(small)] if small else [])
            children = [
                scope.start(f"read-{n}", lambda part=part: self._work(part, scope.cancel))  # type: ignore[misc]
                for n, part in enumerate(work)
            ]
            for child in children:
                while not child.done.wait(_REPORT_EVERY):
                    self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            self._report(len(self._found), len(self._entries), self._item)

    def _work(self, waiting: deque[FileEntry], cancel: CancelToken, *, alone: bool = False) -> None:
        told = time.monotonic()
        while True:
            try:
                entry = waiting.popleft()
            except IndexError:
                return
            cancel.check()
            self._item = entry.path
            try:
                self._found[entry.path] = self._file(entry, cancel)
            except OSError as error:
                self._failed.append(
                    (entry.path, f"it cannot be read: {(error.strerror or str(error)).lower()}")
                )
            if alone and time.monotonic() - told >= _REPORT_EVERY:
                told = time.monotonic()
                self._tell()

    def _file(self, entry: FileEntry, cancel: CancelToken) -> _File:
        """Read one file until its state is the same before and after."""
        place = os.path.join(self._root, entry.path)
        for _ in range(_TRIES):
            try:
                file = _open(place, followed=entry.followed)
            except FileNotFoundError:
                break
            try:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    break
                before = state_of(status)
                digest = _digest(file, before[0], cancel)
                if digest is not None and state_of(os.fstat(file)) == before:
                    return _File(before, digest)
            finally:
                os.close(file)
        raise known("file-changing", path=shown(entry.path))


def _digest(file: int, size: int, cancel: CancelToken) -> str | None:
    """The SHA-256 of an open file; None when it is not ``size`` bytes long."""
    if size < _CHUNK:
        data = os.read(file, size + 1)
        return sha256(data).hexdigest() if len(data) == size else None
    state, done = sha256(), 0
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    while True:
        count = os.readv(file, [buffer])
        if not count:
            return state.hexdigest() if done == size else None
        state.update(view[:count])
        done += count
        if done > size:
            return None
        cancel.check()


def _open(path: str, *, followed: bool) -> int:
    """Open for reading without waiting for a pipe, and without following a link that took the file's place."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if followed else os.O_NOFOLLOW))


def _unreadable(problems: list[tuple[str, str]]) -> Exception:
    problems = sorted(problems)
    path, what = problems[0]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    listed = "; ".join(f"{shown(name)}: {why}" for name, why in problems[:5])
    return known("project-unreadable", path=shown(path), more=more, detail=listed, problem=what)
