"""What was put into a tree on this machine, and the state every file had then."""

from __future__ import annotations

import os
import stat
import sys
from hashlib import sha256

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    # kind as in the tree digest (f x l d), digest or target, size, modification time in ns, inode
    Row = tuple[str, str, int, int, int]

HEADER = "runctl-manifest 1 %s %d" % (sys.implementation.cache_tag, sys.byteorder == "little")


class Manifest:
    """``tree`` is its digest, ``rows`` by path, as the client wrote it."""

    def __init__(self, tree: str, rows: dict[str, Row]) -> None:
        self.tree = tree
        self.rows = rows
        self._folders: set[str] | None = None

    @classmethod
    def read(cls, path: str) -> Manifest | None:
        """The manifest in a file; None when there is none, or another Python wrote it, or it is damaged."""
        import marshal  # noqa: PLC0415 - only for a project's tree

        try:
            with open(path, "rb") as file:
                header, _, body = file.read().partition(b"\n")
        except OSError:
            return None
        if header.decode("ascii", "replace") != "%s %s" % (HEADER, sha256(body).hexdigest()):
            return None
        tree, rows = marshal.loads(body)  # noqa: S302 - its digest has been verified
        return cls(tree, rows)

    def write(self, path: str) -> None:
        """Keep it, all or nothing."""
        import marshal  # noqa: PLC0415 - as above

        body = marshal.dumps((self.tree, self.rows))
        part = "%s.%d.tmp" % (path, os.getpid())
        with open(part, "wb") as file:
            file.write(("%s %s\n" % (HEADER, sha256(body).hexdigest())).encode() + body)
        os.replace(part, path)

    def entries(self) -> list[dict[str, Any]]:
        """The tree as entries of the protocol."""
        return [_entry(path, row) for path, row in self.rows.items()]

    def changed(self, tree: str) -> set[str]:
        """The paths that are not what was put there any more."""
        base = os.fsencode(tree) + b"/"
        lstat = os.lstat
        found = set()
        for path, row in self.rows.items():
            try:
                status = lstat(base + path.encode("utf-8", "surrogateescape"))
            except OSError:
                found.add(path)
                continue
            if row[0] == "d":
                if not stat.S_ISDIR(status.st_mode):
                    found.add(path)
            elif (status.st_mtime_ns, status.st_size, status.st_ino) != (row[3], row[2], row[4]):
                found.add(path)
        return found

    def folders(self) -> set[str]:
        """Every folder of the tree but its top."""
        if self._folders is None:
            self._folders = set()
            for path, row in self.rows.items():
                above = path if row[0] == "d" else path.rpartition("/")[0]
                while above and above not in self._folders:
                    self._folders.add(above)
                    above = above.rpartition("/")[0]
        return self._folders

    def is_plain(self, tree: str) -> bool:
        """Whether its folders are still folders, so that nothing is written through a link somebody put there."""
        try:
            return all(stat.S_ISDIR(os.lstat(place_of(tree, path)).st_mode) for path in ("", *self.folders()))
        except OSError:
            return False

    def strangers(self, tree: str) -> list[bytes]:
        """What is in the tree and was not put there, each folder of it once; relative paths."""
        ours = {path.encode("utf-8", "surrogateescape") for path in self.rows}
        folders = {path.encode("utf-8", "surrogateescape") for path in self.folders()}
        found = []
        for folder in (b"", *sorted(folders)):
            prefix = folder + b"/" if folder else b""
            try:
                names = os.listdir(os.path.join(os.fsencode(tree), folder))
            except OSError:
                continue
            paths = (prefix + name for name in names)
            found += [path for path in paths if path not in ours and path not in folders]
        return found


def place_of(tree: str, path: str) -> bytes:
    """Where a path of the client lies below ``tree``."""
    return os.path.join(os.fsencode(tree), path.encode("utf-8", "surrogateescape"))


def row_of(entry: dict[str, Any], status: os.stat_result) -> Row:
    """What is remembered of an entry that was just made."""
    kind = {"link": "l", "dir": "d"}.get(entry["type"]) or ("x" if entry.get("exec") else "f")
    value = entry.get("digest") or entry.get("target") or ""
    return kind, value, status.st_size, status.st_mtime_ns, status.st_ino


def says(entry: dict[str, Any], row: Row) -> bool:
    """Whether a row is about the same content as an entry."""
    kind = row[0]
    if entry["type"] == "file":
        return kind == ("x" if entry.get("exec") else "f") and row[1] == entry["digest"]
    if entry["type"] == "link":
        return kind == "l" and row[1] == entry["target"]
    return kind == "d"


def _entry(path: str, row: Row) -> dict[str, Any]:
    kind, value, size = row[:3]
    if kind == "l":
        return {"path": path, "type": "link", "target": value, "exec": False}
    if kind == "d":
        return {"path": path, "type": "dir", "exec": False}
    return {"path": path, "type": "file", "digest": value, "size": size, "exec": kind == "x"}
