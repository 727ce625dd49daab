"""Contents by digest: which are missing, and receiving them. A blob is verified before it gets its name."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager
from hashlib import sha256

from runctl.agent import processes
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, free_bytes, make_folder

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from runctl.agent.wire import Input

HEADER_LIMIT = 128  # bytes: 64 digits, a space, a decimal size


def missing(digests: Iterable[str], *, home: Home) -> list[str]:
    """Those of ``digests`` that are not here, in the order given, each once. Read-only."""
    return [digest for digest in dict.fromkeys(digests) if not os.path.exists(home.blob(digest))]


PART = 1 << 20  # bytes copied at once


def nothing_is_here(home: Home) -> bool:
    """Whether there is no content at all, not even a part of one."""
    try:
        found = [os.path.join(home.blobs, name) for name in os.listdir(home.blobs)]
        return all(folder == home.incoming and not os.listdir(folder) for folder in found)
    except FileNotFoundError:
        return True


def receive(source: Input, *, home: Home) -> dict[str, Any]:
    """Take blobs until the input ends; those that are here already are read past. Repeating it changes nothing.

    A power cut can leave a blob's name without its bytes (nothing is fsynced here: ten thousand small files would
    take minutes); assembling a tree verifies every content again and drops such a blob, so the next try sends it.

    Raises:
        AgentFailure: ``blob-corrupt`` when bytes do not match their digest, ``transfer-truncated`` when the input
            ends within a blob, ``disk-full``. The blobs completed before stay, nothing of the failed one does.
    """
    received = total = 0
    _sweep(home)
    while True:
        header = source.line(HEADER_LIMIT)
        if not header:
            return {"received": received, "bytes": total}
        digest, size = _header(header)
        _receive_one(source, digest, size, home=home)
        received += 1
        total += size


def _sweep(home: Home) -> None:
    """Delete what receivers left half when they were killed; what a living one is writing stays."""
    try:
        listed = os.listdir(home.incoming)
    except FileNotFoundError:
        return
    for name in listed:
        pid = name.partition(".")[0]
        if pid.isdigit() and processes.find(int(pid)) is None:
            _forget(os.path.join(home.incoming, name))


def _header(line: bytes) -> tuple[str, int]:
    digest, _, size = line.decode("ascii", "replace").partition(" ")
    if not size.isdigit():
        raise AgentFailure("agent-request", detail="not a blob's header: %r" % line[:80])
    return digest, int(size)


def is_here(digest: str, *, home: Home) -> bool:
    """Whether the content is here."""
    return os.path.exists(home.blob(digest))


def keep(digest: str, data: bytes, *, home: Home) -> None:
    """Keep a verified content. Safe to repeat, and from several threads and processes."""
    with _incoming(digest, home) as fd:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


def copy_in(path: str, digest: str, *, home: Home) -> None:
    """Keep a content that lies in a file, verified as it is copied. Raises ``blob-corrupt``, or OSError."""
    state = sha256()
    with open(path, "rb") as source, _incoming(digest, home) as fd:
        while True:
            part = memoryview(source.read(PART))
            if not part:
                break
            state.update(part)
            while part:
                part = part[os.write(fd, part) :]
        _verify(state.hexdigest(), digest)


def _receive_one(source: Input, digest: str, size: int, *, home: Home) -> None:
    if is_here(digest, home=home):
        _copy(source, size, -1)
        return
    try:
        with _incoming(digest, home) as fd:
            _verify(_copy(source, size, fd), digest)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = free_bytes(home.path)
            raise AgentFailure("disk-full", path=home.path, free_bytes=free, needed_bytes=size) from error
        raise


@contextmanager
def _incoming(digest: str, home: Home) -> Iterator[int]:
    """A file to write a content into; it gets its name when the block ends well, and is gone otherwise."""
    target = home.blob(digest)
    part = os.path.join(home.incoming, "%d.%d.%s" % (os.getpid(), threading.get_ident(), digest))
    fd = _created(part, target, home)
    try:
        try:
            yield fd
        finally:
            os.close(fd)
        os.rename(part, target)
    except BaseException:
        _forget(part)
        raise


def _created(part: str, target: str, home: Home) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    make_folder(os.path.dirname(target))
    try:
        return os.open(part, flags, 0o400)
    except FileNotFoundError:
        make_folder(home.incoming)
        return os.open(part, flags, 0o400)


def _verify(found: str, digest: str) -> None:
    if found != digest:
        raise AgentFailure("blob-corrupt", digest=digest, found=found, where="on the way")


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _copy(source: Input, size: int, fd: int) -> str:
    """Read exactly ``size`` bytes, write them to ``fd`` unless it is -1, and return their digest."""
    state = sha256()
    left = size
    while left:
        part = source.some(left)
        if not part:
            raise AgentFailure("transfer-truncated", expected_bytes=size, got_bytes=size - left)
        state.update(part)
        left -= len(part)
        view = memoryview(part)
        while fd >= 0 and view:
            view = view[os.write(fd, view) :]
    return state.hexdigest()
