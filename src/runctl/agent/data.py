"""Data sets out of a store: everything below a prefix, in a folder that later runs on this machine share."""

from __future__ import annotations

import json
import os
from hashlib import sha256

from runctl.agent import lock
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, make_folder
from runctl.agent.outputs import walk
from runctl.agent.paths import check_path
from runctl.agent.store import access_of, open_store
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from runctl.agent.store import Store
    from runctl.s3.patience import Patience
    from runctl.s3.stored import Stored

    Progress = Callable[[int, int], None]

WORKERS = 8


def bring(url: str, access: Mapping[str, Any], *, home: Home, patience: Patience, progress: Progress) -> str:
    """Make a folder of this machine equal to what is at ``url``; its path.

    A prefix gives everything below it, an object's own address that one object. What is here and unchanged (by size
    and ETag) is not read again, also after a try that was killed; what is no longer there is deleted here.

    Args:
        url: ``s3://bucket/prefix`` or ``file:///path``.
        access: the run's own store, for the region.
        home: where; the folder is ``data/<digest of the url>/files``.
        patience: with the store, and who may stop it.
        progress: told bytes that are here, and all there are.

    Raises:
        AgentFailure: ``data-missing`` when nothing is there; ``data-unsafe`` for names that cannot be files here; what
            else the store says.
        OSError: the disk.
        Stopped: as ``patience`` says.
    """
    base = os.path.join(home.data, sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32])
    make_folder(os.path.join(base, "files"))
    with open(os.path.join(base, "lock"), "w") as held:
        while not lock.try_take(held.fileno()):
            patience.rest(1.0)  # another run brings the same data
        place = dict(access_of(url))
        prefix = str(place.pop("prefix", "")).strip("/")
        if place["kind"] == "s3":
            place["region"] = access.get("region") or ""
        else:
            prefix, place["path"] = str(place["path"]).strip("/"), "/"
        store = open_store(place, patience=patience)
        try:
            _DataSet(store, url, base, progress).bring(_listed(store, prefix, url))
        finally:
            store.close()
    return os.path.join(base, "files")


def _listed(store: Store, prefix: str, url: str) -> dict[str, Stored]:
    """What there is: path here → object there.

    Raises:
        AgentFailure: ``data-missing``, ``data-unsafe``.
    """
    folder = prefix + "/" if prefix else ""
    found = {}
    for each in store.list(folder):
        if not each.key.endswith("/"):  # consoles make empty objects that stand for folders
            found[check_path(each.key[len(folder) :], "data-unsafe", url=url)] = each
    if not found and prefix:
        found = {each.key.rpartition("/")[2]: each for each in store.list(prefix) if each.key == prefix}
    if not found:
        raise AgentFailure("data-missing", url=url)
    for path in found:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in found:
                raise AgentFailure("data-unsafe", url=url, key=parent, detail="both a file and a folder")
            parent = parent.rpartition("/")[0]
    return found


class _DataSet:
    """One folder on its way to be equal to a listing. ``index`` says which ETag a file here had, a line for each."""

    def __init__(self, store: Store, url: str, base: str, progress: Progress) -> None:
        self._store, self._url, self._progress = store, url, progress
        self._files = os.path.join(base, "files")
        self._index = os.path.join(base, "index")
        self._done = 0
        self._total = 0

    def bring(self, found: dict[str, Stored]) -> None:
        """Delete what is no longer there, read what is new."""
        self._total = sum(each.size for each in found.values())
        known = self._known()
        wanted = {}
        for path, each in found.items():
            if known.get(path) == [each.etag, each.size] and self._size(path) == each.size:
                self._done += each.size
            else:
                wanted[path] = each
        for path, _ in list(walk(self._files)):
            partial = path.partition(".part")[0]
            if path not in found and partial not in wanted:
                os.unlink(os.path.join(self._files, path))
        self._progress(self._done, self._total)
        fd = os.open(self._index, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            together(self._jobs(wanted, fd), workers=WORKERS)
        finally:
            os.close(fd)

    def _known(self) -> dict[str, Any]:
        """path → [etag, size] of what earlier tries completed; the last line of a path counts."""
        found = {}
        try:
            with open(self._index, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        path, *rest = json.loads(line)
                        found[path] = rest
        except FileNotFoundError:
            pass
        return found

    def _size(self, path: str) -> int:
        try:
            return os.stat(os.path.join(self._files, path)).st_size
        except OSError:
            return -1

    def _jobs(self, wanted: dict[str, Stored], index: int) -> Iterator[Callable[[], None]]:
        for path, each in wanted.items():
            yield lambda path=path, each=each: self._read(path, each, index)  # type: ignore[misc]

    def _read(self, path: str, each: Stored, index: int) -> None:
        target = os.path.join(self._files, path)
        make_folder(os.path.dirname(target))
        self._store.get_file(each.key, target, size=each.size, told=self._told)
        os.write(index, json.dumps([path, each.etag, each.size]).encode() + b"\n")

    def _told(self, count: int) -> None:
        self._done += count
        self._progress(self._done, self._total)
