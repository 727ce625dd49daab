"""An environment as parts of an archive: what it consists of, cut into pieces, and each part by itself.

A part is one line of JSON (``[[path, mode, mtime in ns, size, offset, length]…]``) and the bytes of those pieces behind
it, as a whole deflated unless that gains nothing. It needs no other part, so that parts are made, stored, fetched and
unpacked side by side; a large file is pieces of several parts. Times are kept: compiled modules name those of their source.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections import namedtuple

from runctl.agent.failure import AgentFailure
from runctl.agent.paths import check_path

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PART = (
    16 << 20
)  # bytes before compression: enough to keep a connection busy, little enough to hold eight at once
LEVEL = 1  # of zlib; benchmarks/environments.py measures what the alternatives cost
GAIN = 0.95  # what is hardly smaller deflated is stored as it is: it need not be inflated
LEFT_BEHIND = re.compile(r"^\.runctl\.json$|\.pyc\.\d+$|(^|/)_runctl_gate(\.pth)?$")


class Unpackable(Exception):
    """Why an environment would not be the same elsewhere, in words for the user."""


class Found(namedtuple("Found", "path mode mtime size")):  # noqa: PYI024 - typing costs 5 ms
    """A regular file of the environment; ``path`` is relative, ``mtime`` in nanoseconds."""

    __slots__ = ()


class Piece(namedtuple("Piece", "file offset length")):  # noqa: PYI024 - as above
    """A stretch of a file."""

    __slots__ = ()


class Listing:
    """What is below a folder: files, links (path → target) and empty folders."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: list[Found] = []
        self.links: dict[str, str] = {}
        self.empty: list[str] = []
        self._walk("")

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(each.size for each in self.files)

    def _walk(self, below: str) -> None:
        with os.scandir(os.path.join(self.folder, below)) as items:
            found = sorted(items, key=lambda item: item.name)
        for item in found:
            path = below + item.name
            if LEFT_BEHIND.search(path):
                continue
            if item.is_symlink():
                self.links[path] = os.readlink(item.path)
            elif item.is_dir():
                self._walk(path + "/")
            else:
                self._file(path, item.path)
        if not found and below:
            self.empty.append(below.rstrip("/"))

    def _file(self, path: str, where: str) -> None:
        try:
            known = os.lstat(where)
        except FileNotFoundError:
            return  # a compiled module that was just replaced
        if not stat.S_ISREG(known.st_mode):
            raise Unpackable("%s is neither a file, a folder nor a link" % path)
        self.files.append(Found(path, stat.S_IMODE(known.st_mode), known.st_mtime_ns, known.st_size))


def cut(files: list[Found]) -> Iterator[list[Piece]]:
    """The pieces of each part, in order; pure."""
    part: list[Piece] = []
    room = PART
    for each in files:
        offset = 0
        while True:
            length = min(each.size - offset, room)
            part.append(Piece(each, offset, length))
            offset, room = offset + length, room - length
            if not room:
                yield part
                part, room = [], PART
            if offset >= each.size:
                break
    if part:
        yield part


class Packed:
    """One part: ``data`` to be stored, its ``codec`` (``zlib`` or ``raw``), bytes before, and what was noticed."""

    def __init__(self, folder: str, pieces: list[Piece], marks: list[bytes]) -> None:
        """Read the pieces. ``marks``: byte strings whose bearers are ``holding``; raises ``Unpackable``."""
        self.holding: list[tuple[str, bool]] = []  # path, whether it is a whole text
        index, body = [], []
        for each in pieces:
            data = _read(folder, each)
            if data is None:
                continue
            if any(mark in data for mark in marks):
                self.holding.append((each.file.path, len(data) == each.file.size and b"\0" not in data))
            index.append([each.file.path, *each.file[1:], each.offset, each.length])
            body.append(data)
        raw = b"".join([json.dumps(index, separators=(",", ":")).encode() + b"\n", *body])
        self.bytes = len(raw)
        self.content = sum(map(len, body))
        small = zlib.compress(raw, LEVEL)
        self.codec, self.data = ("zlib", small) if len(small) < GAIN * len(raw) else ("raw", raw)


def _read(folder: str, piece: Piece) -> bytes | None:
    """A piece's bytes; None of a compiled module that is gone, which Python writes again."""
    path = piece.file.path
    try:
        with open(os.path.join(folder, path), "rb") as file:
            file.seek(piece.offset)
            data = file.read(piece.length)
            now = os.fstat(file.fileno())
    except FileNotFoundError:
        data, now = b"", None
    if now is None or (now.st_size, now.st_mtime_ns) != (piece.file.size, piece.file.mtime):
        if path.endswith(".pyc") and piece.length == piece.file.size:
            return None
        raise Unpackable("%s changed while it was read" % path)
    return data


def unpack(data: bytes, codec: str, raw: int, folder: str) -> int:
    """Write the pieces of a part into ``folder``; the bytes of content. Parts may come in any order, and at once.

    Raises:
        ValueError: it is no part, not as long as was recorded, or one of its paths leads out of the folder.
        OSError: the disk.
    """
    if codec == "zlib":
        try:
            data = zlib.decompress(data, bufsize=max(raw, 1))
        except zlib.error as error:
            raise ValueError(str(error)) from error
    if len(data) != raw:
        raise ValueError("%d bytes instead of %d" % (len(data), raw))
    line = data.index(b"\n") + 1
    index: list[list[Any]] = json.loads(data[:line])
    view, at, known = memoryview(data), line, ""
    for path, mode, mtime, _size, offset, length in index:
        target = os.path.join(folder, inside(path, folder))
        parent = os.path.dirname(target)
        if parent != known:
            os.makedirs(parent, exist_ok=True)
            known = parent
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _write(fd, view[at : at + length], offset)
            os.fchmod(fd, mode | stat.S_IWUSR)
            os.utime(fd, ns=(mtime, mtime))
        finally:
            os.close(fd)
        at += length
    if at != len(data):
        raise ValueError("%d bytes behind its last file" % (len(data) - at))
    return len(data) - line


def inside(path: object, folder: str) -> str:
    """``path``, if it stays in ``folder``; raises ``ValueError`` otherwise."""
    try:
        return check_path(path, "agent-request")
    except AgentFailure as error:
        raise ValueError("%r leads out of %s" % (path, folder)) from error


def _write(fd: int, view: memoryview, offset: int) -> None:
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done
