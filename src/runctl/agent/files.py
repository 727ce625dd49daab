"""A person's own files on this machine: what there is, and streams of them out, in, and to and from a store.

A stream is a series of files. Each is one line of JSON (``name``, ``size``, ``modified``, ``executable``, ``offset``),
the bytes from ``offset`` on, and one line of JSON: the ``digest`` (SHA-256) of the whole content, or why it is ``left``.
A file that cannot be opened is a line with ``name`` and ``left`` and nothing more. A line with ``end`` ends it all.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from hashlib import sha256

from runctl.agent import wire
from runctl.agent.failure import AgentFailure
from runctl.agent.paths import check_path
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Optional

    from runctl.agent.store import Store

    Answer = Optional[dict[str, Any]]

CHUNK = 1 << 18  # bytes
LINE = 1 << 20  # bytes; the longest line of a stream
WORKERS = 8
TOLD_EVERY = 0.2  # seconds between two lines about progress
HALF, NOTES = (
    ".part",
    ".part.done",
)  # what is beside a file that has not arrived whole; as a download from S3 has it
PASSED_OVER = ("FileNotFoundError", "PermissionError", "IsADirectoryError", "NotADirectoryError")


def answer(request: dict[str, Any], source: wire.Input) -> Answer:
    """Do what the request's ``op`` says at its ``path``, which is relative to the home of the user."""
    home = os.path.expanduser("~")
    path = os.path.normpath(os.path.join(home, os.path.expanduser(wire.field(request, "path", str))))
    op = wire.field(request, "op", str)
    if op == "list":
        return Listing(path, target=bool(request.get("target"))).as_json()
    if op == "send":
        send(path, wire.field(request, "files", list))
        return None
    if op == "take":
        return Taking(path, source).all()
    if op == "remove":
        return remove(path, wire.field(request, "files", list))
    if op in ("store", "load"):
        return Copying(path, request).go(op)
    raise AgentFailure("agent-request", detail="no way to treat files: %r" % op)


def place_of(root: str, name: str) -> str:
    """Where the file ``name`` of ``root`` is; without a name ``root`` is the file itself."""
    return os.path.join(root, check_path(name, "agent-request")) if name else root


def why(error: OSError) -> str:
    """What the operating system says."""
    return error.strerror or type(error).__name__


class Listing:
    """What is at a path: links are followed, what cannot be copied is ``left`` with its reason.

    A ``target`` is what may be deleted from: there a link to a folder is not entered.
    """

    def __init__(self, path: str, *, target: bool) -> None:
        self._path, self._target = path, target
        self.kind = "none"
        self.files: list[tuple[str, int, float]] = []
        self.left: list[tuple[str, str]] = []
        self.halves: dict[
            str, tuple[int, str]
        ] = {}  # what has not arrived whole: its bytes, what its notes say
        try:
            state = os.stat(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self.left.append((".", why(error)))
            return
        if stat.S_ISDIR(state.st_mode):
            self.kind = "folder"
            self._enter(path, "", ())
        elif stat.S_ISREG(state.st_mode):
            self.kind = "file"
            self.files.append(("", state.st_size, state.st_mtime))
        else:
            self.left.append((".", "neither a file nor a folder"))

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: sizes in bytes, seconds since the epoch."""
        folder = os.path.dirname(self._path)
        if self.kind != "folder" and os.path.isdir(folder):
            self._half(os.path.basename(self._path), folder, "")
        return {
            "path": self._path, "kind": self.kind, "files": self.files, "left": self.left, "halves": self.halves,
        }  # fmt: skip

    def _enter(self, folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> None:
        here = prefix.rstrip("/") or "."
        try:
            state = os.stat(folder)
            identity = (state.st_dev, state.st_ino)
            if identity in above:
                self.left.append((here, "a link that leads back into itself"))
                return
            with os.scandir(folder) as found:
                entries = {entry.name: entry for entry in found}
        except OSError as error:
            self.left.append((here, why(error)))
            return
        for name in sorted(entries):
            stem = (
                name[: -len(NOTES)]
                if name.endswith(NOTES)
                else name[: -len(HALF)]
                if name.endswith(HALF)
                else ""
            )
            if not stem or stem + HALF not in entries or stem + NOTES not in entries:
                self._look(entries[name], prefix + name, (*above, identity))
            elif name.endswith(HALF):
                self._half(stem, folder, prefix)
                self.left.append((prefix + name, "half of a transfer that was cut off"))

    def _half(self, name: str, folder: str, prefix: str) -> None:
        """Note what has arrived of a file."""
        try:
            with open(os.path.join(folder, name + NOTES), errors="replace") as notes:
                mark = notes.readline().rstrip("\n")
            self.halves[prefix + name if prefix or self.kind == "folder" else ""] = (
                os.stat(os.path.join(folder, name + HALF)).st_size,
                mark,
            )
        except OSError:
            pass

    def _look(self, entry: os.DirEntry[str], name: str, above: tuple[tuple[int, int], ...]) -> None:
        try:
            state = entry.stat()
        except OSError as error:
            self.left.append((name, "a link to nothing" if entry.is_symlink() else why(error)))
            return
        if stat.S_ISDIR(state.st_mode):
            if not (self._target and entry.is_symlink()):
                self._enter(entry.path, name + "/", above)
        elif not stat.S_ISREG(state.st_mode):
            self.left.append((name, "neither a file nor a folder"))
        elif not os.access(entry.path, os.R_OK):
            self.left.append((name, "Permission denied"))
        else:
            self.files.append((name, state.st_size, state.st_mtime))


def remove(root: str, names: list[str]) -> dict[str, Any]:
    """Delete files, and the folders that this leaves empty. What is not there is a success; nothing goes through a link."""
    real = os.path.realpath(root)
    for name in names:
        path = place_of(root, name)
        if os.path.realpath(os.path.dirname(path)) != os.path.normpath(
            os.path.join(real, os.path.dirname(name))
        ):
            continue
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        folder = os.path.dirname(path)
        while folder != root and folder.startswith(root):
            try:
                os.rmdir(folder)
            except OSError:
                break
            folder = os.path.dirname(folder)
    return {"removed": len(names)}


def send(root: str, files: list[list[Any]]) -> None:
    """Write the stream of ``files``: each a name, and the byte to begin with."""
    for name, offset in files:
        try:
            fd = os.open(place_of(root, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            _line({"name": name, "left": why(error)})
            continue
        try:
            _send_file(fd, name, offset)
        finally:
            os.close(fd)
    _line({"end": True})


def _line(value: dict[str, Any]) -> None:
    _write(json.dumps(value, separators=(",", ":")).encode() + b"\n")


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _send_file(fd: int, name: str, offset: int) -> None:
    before = os.fstat(fd)
    size, digest, at = before.st_size, sha256(), 0
    _line(
        {
            "name": name, "size": size, "modified": before.st_mtime, "offset": min(offset, size),
            "executable": bool(before.st_mode & 0o111),
        }
    )  # fmt: skip
    while at < size:
        data = os.pread(fd, min(CHUNK, size - at), at)
        if not data:
            break
        digest.update(data)
        if at + len(data) > offset:
            _write(data[max(offset - at, 0) :])
        at += len(data)
    for start in range(
        max(at, offset), size, CHUNK
    ):  # it became shorter: the stream goes on, the file does not count
        _write(bytes(min(CHUNK, size - start)))
    after = os.fstat(fd)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        _line({"left": "it changed while it was read"})
    else:
        _line({"digest": digest.hexdigest()})


class Taking:
    """Reads a stream and writes its files, each whole or not at all. A half one stays, for the next stream."""

    def __init__(self, root: str, source: wire.Input) -> None:
        self._root, self._source = root, source
        self._real = os.path.realpath(root)
        self._left: list[tuple[str, str]] = []
        self._files = self._bytes = 0
        self._mask = _umask()

    def all(self) -> dict[str, Any]:
        """Every file of the stream."""
        while True:
            head = self._json()
            if head.get("end"):
                return {"files": self._files, "bytes": self._bytes, "left": self._left}
            if "left" in head:
                self._left.append((head["name"], head["left"]))
            else:
                self._one(head)

    def _json(self) -> dict[str, Any]:
        line = self._source.line(LINE)
        value = json.loads(line) if line else None
        if not isinstance(value, dict):
            raise AgentFailure("agent-request", detail="the stream of files ended early")
        return value

    def _one(self, head: dict[str, Any]) -> None:
        path = place_of(self._root, head["name"])
        fd, problem = -1, self._way(path, head["name"])
        if not problem:
            try:
                fd = self._opened(path, head)
            except OSError as error:
                if type(error).__name__ not in PASSED_OVER:
                    raise
                problem = why(error)
        try:
            digest = self._poured(fd, head)
            tail = self._json()
            problem = problem or tail.get("left") or ""
            if not problem and tail.get("digest") != digest:
                problem = "it arrived with another content"
            if fd >= 0:
                self._end(fd, path, head, keep=not problem)
        finally:
            if fd >= 0:
                os.close(fd)
        if problem:
            self._left.append((head["name"], problem))
        else:
            self._files += 1
            self._bytes += head["size"]

    def _way(self, path: str, name: str) -> str:
        """Why nothing can be written there; empty when it can."""
        parent = os.path.realpath(os.path.dirname(path))
        if name and parent != self._real and not parent.startswith(self._real.rstrip("/") + "/"):
            return "a link there leads out of the folder"
        if os.path.isdir(path) and not os.path.islink(path):
            return "a folder has its name there"
        return ""

    def _opened(self, path: str, head: dict[str, Any]) -> int:
        """What it is written to, with as many bytes in it as the stream counts on."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not head["offset"]:
            with open(path + NOTES, "w") as notes:
                notes.write(mark_of(head["size"], head["modified"]) + "\n")
        fd = os.open(path + HALF, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, head["offset"])
        return fd

    def _poured(self, fd: int, head: dict[str, Any]) -> str:
        """The bytes of one file; the digest of all that is there then."""
        digest, at = sha256(), 0
        while fd >= 0 and at < head["offset"]:
            data = os.pread(fd, min(CHUNK, head["offset"] - at), at)
            digest.update(data)
            at += len(data)
        at, left = head["offset"], head["size"] - head["offset"]
        while left:
            data = self._source.some(min(left, wire.CHUNK))
            if not data:
                raise AgentFailure("agent-request", detail="the stream of files ended early")
            left -= len(data)
            if fd >= 0:
                digest.update(data)
                view = memoryview(data)
                while view:
                    wrote = os.pwrite(fd, view, at)
                    at += wrote
                    view = view[wrote:]
        return digest.hexdigest()

    def _end(self, fd: int, path: str, head: dict[str, Any], *, keep: bool) -> None:
        if keep:
            os.fchmod(fd, _mode(path, self._mask, executable=head["executable"]))
            os.utime(fd, (head["modified"], head["modified"]))
            os.replace(path + HALF, path)
        else:
            os.unlink(path + HALF)
        os.unlink(path + NOTES)


def mark_of(size: int, modified: float) -> str:
    """What the notes of a half file say of the whole one."""
    return "transfer %d %r" % (size, modified)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _mode(path: str, mask: int, *, executable: bool) -> int:
    """That of the file that is replaced, or of a new one."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return (0o777 if executable else 0o666) & ~mask


class Copying:
    """Files to or from a store that this machine reaches by itself; one line of JSON for each file that is done."""

    def __init__(self, root: str, request: dict[str, Any]) -> None:
        from runctl.agent.store import open_store  # noqa: PLC0415 - only for this
        from runctl.s3.patience import Patience  # noqa: PLC0415

        self._root = root
        self._files = wire.field(request, "files", list)
        access = wire.field(request, "store", dict)
        self._is_s3 = access.get("kind") == "s3"
        self._store: Store = open_store(access, patience=Patience())
        self._lock = threading.Lock()
        self._arrived, self._told_at = 0, 0.0
        self._mask = _umask()

    def go(self, op: str) -> Answer:
        """All of them, side by side.

        Raises:
            AgentFailure: ``store-no-credentials``, before anything else is tried.
        """
        if self._is_s3:
            from runctl.agent.credentials import Credentials  # noqa: PLC0415 - only for this

            Credentials().keys()  # once, and not by every worker: where there are none it takes seconds to say so
        work = self._put if op == "store" else self._get
        together(self._jobs(work), workers=WORKERS)
        self._say({"arrived": self._arrived, "end": True})
        return None

    def _jobs(self, work: Callable[[str, str, float], None]) -> Iterator[Callable[[], None]]:
        for name, key, modified in self._files:
            yield lambda name=name, key=key, modified=modified: self._one(work, name, key, modified)  # type: ignore[misc]

    def _one(self, work: Callable[[str, str, float], None], name: str, key: str, modified: float) -> None:
        try:
            work(name, key, modified)
        except AgentFailure as failure:
            if failure.code not in ("store-missing", "store-file-changed"):
                raise
            self._say({"name": name, "left": str(failure.facts.get("detail") or failure.code)})
        except OSError as error:
            if type(error).__name__ not in PASSED_OVER:
                raise
            self._say({"name": name, "left": why(error)})
        else:
            self._say({"name": name})

    def _put(self, name: str, key: str, _modified: float) -> None:
        self._store.put_file(key, place_of(self._root, name), told=self._told)

    def _get(self, name: str, key: str, modified: float) -> None:
        path = place_of(self._root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        mode = _mode(path, self._mask, executable=False)
        self._store.get_file(key, path, told=self._told)
        os.chmod(path, mode)
        os.utime(path, (modified, modified))

    def _told(self, more: int) -> None:
        with self._lock:
            self._arrived += more
            now = time.monotonic()
            if now - self._told_at < TOLD_EVERY:
                return
            self._told_at = now
            _line({"arrived": self._arrived})

    def _say(self, value: dict[str, Any]) -> None:
        with self._lock:
            _line(value)
