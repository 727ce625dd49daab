"""Checkpoints on their way to the store: complete ones only, the newest first, named only once all of it is there."""

from __future__ import annotations

import os

from runctl.agent import manifest
from runctl.agent.checkpoints import Watcher
from runctl.agent.failure import AgentFailure
from runctl.agent.journal import timestamp
from runctl.formats.order import age
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runctl.agent.store import Store

WORKERS = 4  # files of one checkpoint that travel side by side


class CheckpointKeeping:
    """Keeps the store's checkpoints of one attempt in step with a folder.

    What the folder loses, the store keeps. A checkpoint that is replaced or deleted while it travels is given up: the
    store goes on naming the one it had.
    """

    def __init__(self, store: Store, attempt: str, folder: str) -> None:
        """``attempt``: ``runs/<run>/<attempt>/``; ``folder``: where the script saves."""
        self._store, self._attempt, self._folder = store, attempt, folder
        self._watcher: Watcher | None = None
        self._listed: list[dict[str, Any]] | None = None
        self._waiting: dict[str, dict[str, Any]] = {}
        # Files that are in the store, by what they were: those of the checkpoints listed there, and those of one
        # whose storing failed half-way.
        self._sent: dict[tuple[Any, ...], dict[str, Any]] = {}

    @property
    def waiting(self) -> int:
        """Bytes of complete checkpoints that the store does not have."""
        return sum(each["size"] for each in list(self._waiting.values()))

    def look(self, *, last: bool = False) -> None:
        """Note what is complete; ``last``: nothing writes any more."""
        if self._watcher is None:
            self._watcher = Watcher(self._folder)
        for found in self._watcher.poll(last=last):
            self._waiting[found["path"]] = found

    def store_newest(self, told: Callable[[int], Any]) -> dict[str, Any] | None:
        """Store the newest that waits; its entry in the manifest, or None when none waits or it was given up.

        Raises:
            AgentFailure: the store's; the checkpoint goes on waiting.
            Stopped: as the store's patience says.
        """
        if not self._waiting:
            return None
        if self._listed is None:
            self._listed = manifest.load(self._store, self._attempt)
        found = max(self._waiting.values(), key=_age)
        entry = None
        try:
            if not self._has(found):
                entry = self._stored(found, told)
        except (FileNotFoundError, NotADirectoryError, _Changed):
            pass  # deleted or replaced: the watcher will tell of what is there now
        if self._waiting.get(found["path"]) is found:
            del self._waiting[found["path"]]
        return entry

    def _has(self, found: dict[str, Any]) -> bool:
        """Whether the store has this very checkpoint, from a keeper that was killed."""
        assert self._listed is not None
        known = manifest.entry(self._listed, found["path"])
        return known is not None and {*map(tuple, found["files"])} == {*map(_stamp, known["files"])}

    def _stored(self, found: dict[str, Any], told: Callable[[int], Any]) -> dict[str, Any]:
        assert self._listed is not None
        together(self._jobs(found, told), workers=WORKERS)
        files = [self._sent[tuple(stamp)] for stamp in found["files"]]
        names = ("path", "format", "size", "modified", "step", "epoch")
        entry = {**{name: found[name] for name in names}, "stored_at": timestamp(), "files": files}
        others = [each for each in self._listed if each["path"] != found["path"]]
        listed = sorted([entry, *others], key=_age, reverse=True)
        manifest.save(self._store, self._attempt, listed)
        self._listed = listed
        self._sent = {}
        return entry

    def _jobs(self, found: dict[str, Any], told: Callable[[int], Any]) -> Iterator[Callable[[], None]]:
        used = {file["key"]: file for each in self._listed or () for file in each["files"]}
        self._sent.update((_stamp(file), file) for file in used.values())
        for stamp in found["files"]:
            if tuple(stamp) not in self._sent:
                free = next(key for key in manifest.places(stamp[0]) if key not in used)
                yield self._job(stamp, free, told)

    def _job(self, stamp: list[Any], key: str, told: Callable[[int], Any]) -> Callable[[], None]:
        def store() -> None:
            local = os.path.join(self._folder, stamp[0])
            self._check(local, stamp)
            try:
                size, digest = self._store.put_file(self._attempt + key, local, told=told)
            except AgentFailure as error:
                if error.code == "store-file-changed":
                    raise _Changed from error
                raise
            self._check(local, stamp)
            file = {"path": stamp[0], "size": size, "modified": stamp[2], "digest": digest, "key": key}
            self._sent[tuple(stamp)] = file

        return store

    @staticmethod
    def _check(local: str, stamp: list[Any]) -> None:
        now = os.lstat(local)
        if [now.st_size, now.st_mtime] != stamp[1:]:
            raise _Changed


class _Changed(Exception):
    """A file is not the one that was found complete."""


def _age(found: dict[str, Any]) -> Any:
    return age(found["step"], found["epoch"], found["modified"], found["path"])


def _stamp(file: dict[str, Any]) -> tuple[Any, ...]:
    """A file of the manifest as the watcher would describe it."""
    return file["path"], file["size"], file["modified"]
