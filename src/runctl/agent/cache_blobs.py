"""Large files of projects on the volume that keeps caches: asked before the store, kept for later runs.

Only copies travel between it and the blobs on the machine's own disk, each verified: a full or damaged volume can
neither stop a run nor change its code.
"""

from __future__ import annotations

import os
import time

from runctl.agent import blobs
from runctl.agent.failure import AgentFailure
from runctl.agent.home import free_bytes, make_folder, read_json

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from runctl.agent.home import Home, RunFolder

LARGE = 1 << 20  # bytes; smaller files lie together in packs, which are read quicker than single files
PART = 1 << 20  # bytes between two looks at whether to stop
UNUSED_DAYS = 30.0  # then a file goes


def take(entries: Iterable[Mapping[str, Any]], cache: str, *, home: Home) -> int:
    """Bring what the tree needs and the volume has; how many files came. Safe to repeat."""
    count = 0
    for digest in _large(entries):
        if blobs.is_here(digest, home=home):
            continue
        try:
            blobs.copy_in(_place(cache, digest), digest, home=home)
            os.utime(_place(cache, digest))
        except AgentFailure:  # damaged: the store has it whole
            _forget(_place(cache, digest))
        except OSError:
            continue  # not there, or unreadable: the store has it
        else:
            count += 1
    return count


def keep(run: RunFolder, cache: str, *, home: Home, stopped: Callable[[], bool]) -> None:
    """Put the tree's large files there, as far as there is room, and remove what no run has used for a month.

    ``stopped`` ends it early. What the volume does not take is not kept.
    """
    try:
        for digest in _large((read_json(run.spec) or {}).get("tree") or ()):
            target = _place(cache, digest)
            if os.path.exists(target) or not blobs.is_here(digest, home=home):
                continue
            if os.path.getsize(home.blob(digest)) < free_bytes(cache):
                make_folder(os.path.dirname(target))
                _copy(home.blob(digest), target, stopped)
        _prune(os.path.join(cache, "blobs"), time.time() - UNUSED_DAYS * 86400.0)
    except (OSError, AgentFailure):
        pass  # full, broken or gone: the store has all of it


def _large(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({each["digest"] for each in entries if each["type"] == "file" and each["size"] >= LARGE})


def _place(cache: str, digest: str) -> str:
    return os.path.join(cache, "blobs", digest)


def _copy(source: str, target: str, stopped: Callable[[], bool]) -> None:
    part = "%s.%d.tmp" % (target, os.getpid())
    try:
        with open(source, "rb") as file, open(part, "wb") as copy:
            while not stopped():
                data = file.read(PART)
                copy.write(data)
                if not data:
                    copy.flush()
                    os.rename(part, target)
                    return
    finally:
        _forget(part)


def _prune(folder: str, before: float) -> None:
    if not os.path.isdir(folder):
        return
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.stat(path).st_mtime < before:
            _forget(path)


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
