"""A code tree out of blobs: checked, copied, verified, and there with one rename or not at all.

Files are copies, never links to a blob: a script that writes into its own code must not reach the store.
"""

from __future__ import annotations

import os
from hashlib import sha256

from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, remove_tree
from runctl.agent.large import copied

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Progress = Callable[[int, int, str], None]

CHUNK = 1 << 20  # bytes


def encoded(text: str) -> bytes:
    """A name the client sent as the bytes it has there, whatever this machine's locale is."""
    return text.encode("utf-8", "surrogateescape")


def decoded(path: str) -> str:
    """The inverse for a path of this machine, so that ``encoded`` gives its true bytes."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def check(entries: Iterable[dict[str, Any]]) -> None:
    """Refuse a tree that could write outside its folder, or that says one thing twice. Pure.

    Raises:
        AgentFailure: ``tree-unsafe`` naming the path and why.
    """
    kinds: dict[str, str] = {}
    for entry in entries:
        path, kind = entry.get("path"), entry.get("type")
        if not isinstance(path, str) or not path or "\0" in path or path.startswith("/"):
            raise AgentFailure("tree-unsafe", path=repr(path), detail="not a relative path")
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise AgentFailure("tree-unsafe", path=path, detail="empty, . or .. in the path")
        if kind not in ("file", "link", "dir"):
            raise AgentFailure("tree-unsafe", path=path, detail="unknown type %r" % (kind,))
        if path in kinds:
            raise AgentFailure("tree-unsafe", path=path, detail="listed twice")
        target = entry.get("target")
        if kind == "link" and (not isinstance(target, str) or not target or "\0" in target):
            raise AgentFailure("tree-unsafe", path=path, detail="a link without a target")
        kinds[path] = kind
    for path in kinds:
        parent = path.rpartition("/")[0]
        while parent:
            if kinds.get(parent, "dir") != "dir":
                raise AgentFailure("tree-unsafe", path=path, detail="%s is no folder" % parent)
            parent = parent.rpartition("/")[0]


def digest_of(entries: Iterable[dict[str, Any]]) -> str:
    """The tree's digest, as ``docs/architecture.md`` defines it. Pure."""
    state = sha256()
    for name, entry in sorted((encoded(entry["path"]), entry) for entry in entries):
        kind = entry["type"]
        if kind == "link":
            mark, value = b"l", encoded(entry["target"])
        elif kind == "dir":
            mark, value = b"d", b""
        else:
            mark, value = (b"x" if entry.get("exec") else b"f"), encoded(entry["digest"])
        state.update(mark + b"\0" + name + b"\0" + value + b"\0")
    return state.hexdigest()


def assemble(
    entries: list[dict[str, Any]],
    *,
    digest: str,
    target: str,
    home: Home,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> bool:
    """Build the tree at ``target``; false when ``cancelled`` said so (nothing is left then).

    Every content is verified while it is copied, so the tree is what the snapshot says, byte for byte, or this
    raises and ``target`` does not exist. A blob found to be corrupt is deleted, so that the next try sends it.

    Raises:
        AgentFailure: ``tree-unsafe``, ``tree-digest``, ``blob-missing``, ``blob-corrupt``.
        OSError: the disk, among them ENOSPC.
    """
    check(entries)
    found = digest_of(entries)
    if found != digest:
        raise AgentFailure("tree-digest", expected=digest, found=found)
    part = "%s.%d.tmp" % (target, os.getpid())
    try:
        os.mkdir(part, 0o755)
        whole = _fill(os.fsencode(part), entries, home=home, progress=progress, cancelled=cancelled)
        if whole:
            os.rename(part, target)
    except BaseException:
        remove_tree(part)
        raise
    if not whole:
        remove_tree(part)
    return whole


def _fill(
    base: bytes,
    entries: list[dict[str, Any]],
    *,
    home: Home,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> bool:
    """Folders and files first, links last: so nothing is ever written through a link of the tree."""
    made = {b""}
    for done, entry in enumerate(sorted(entries, key=_order)):
        if cancelled():
            return False
        progress(done, len(entries), entry["path"])
        name = encoded(entry["path"])
        _folders(base, name if entry["type"] == "dir" else name.rpartition(b"/")[0], made)
        try:
            if entry["type"] == "link":
                os.symlink(encoded(entry["target"]), base + b"/" + name)
            elif entry["type"] == "file":
                copy(entry, base + b"/" + name, home)
        except FileExistsError as error:  # a file system that ignores case
            detail = "another entry has the same name on this machine"
            raise AgentFailure("tree-unsafe", path=entry["path"], detail=detail) from error
    return True


def _order(entry: dict[str, Any]) -> tuple[bool, str]:
    """Links last; else by path, so that the files of one folder are made together."""
    return entry["type"] == "link", entry["path"]


def _folders(base: bytes, name: bytes, made: set[bytes]) -> None:
    if name in made:
        return
    _folders(base, name.rpartition(b"/")[0], made)
    try:
        os.mkdir(base + b"/" + name, 0o755)
    except FileExistsError:
        pass
    made.add(name)


def copy(entry: dict[str, Any], target: bytes, home: Home, *, verify: bool = True) -> None:
    """Make one file of a tree out of its blob, verified while it is copied. Raises as ``assemble`` does.

    Without ``verify`` for a blob that was verified a moment ago: the kernel copies it then, if it can.
    """
    digest = entry["digest"]
    blob = home.blob(digest)
    try:
        source = os.open(blob, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise AgentFailure("blob-missing", digest=digest, path=entry["path"]) from error
    try:
        mode = 0o755 if entry.get("exec") else 0o644
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(copy, mode)
            if verify:
                found = _copy_bytes(source, copy)
            else:
                copied(source, 0, copy, 0, os.fstat(source).st_size)
                found = digest
        finally:
            os.close(copy)
    finally:
        os.close(source)
    if found != digest:
        os.unlink(blob)
        raise AgentFailure("blob-corrupt", digest=digest, found=found, where="on the machine's disk")


def _copy_bytes(source: int, copy: int) -> str:
    state = sha256()
    left = os.fstat(source).st_size
    while left:
        part = os.read(
            source, min(left, CHUNK)
        )  # no more than there is: a buffer costs more than a small file
        if not part:
            break
        left -= len(part)
        state.update(part)
        view = memoryview(part)
        while view:
            view = view[os.write(copy, view) :]
    return state.hexdigest()
