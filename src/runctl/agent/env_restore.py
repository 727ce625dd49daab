"""Takes an environment out of the store: fetched and unpacked side by side, verified, made to belong here, and tried.

Whatever is wrong with it is said, and the environment is built instead; what was restored half-way is never used, because
the marker is written last.
"""

from __future__ import annotations

import os
import threading
import time
from hashlib import sha256

from runctl.agent import env_move, env_object, env_parts, env_proof
from runctl.agent.failure import AgentFailure, disk_failure
from runctl.agent.home import free_bytes, make_folder, remove_tree, write_json
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runctl.agent.env_recipe import Recipe
    from runctl.agent.store import Store

MOST_WORKERS = 8  # each holds a part twice: 256 MiB in all
BEAT = 0.2  # seconds between two tellings


class Unrestorable(Exception):
    """Why it cannot be taken from the store; ``damaged``: nobody can, until somebody stores it anew."""

    def __init__(self, reason: str, *, damaged: bool = False) -> None:
        super().__init__(reason)
        self.damaged = damaged


class Restore:
    """One try, under the environment's lock."""

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        *,
        told: Callable[[int, int], Any],
        cancelled: Callable[[], bool],
    ) -> None:
        """``told``: bytes that are here, of all that are fetched; at most five times a second."""
        self._recipe, self._place = recipe, recipe.place
        self._store, self._told, self._cancelled = store, told, cancelled
        self._lock = threading.Lock()
        self._done = self._total = self._shown = 0
        self._beat = 0.0
        self.manifest_digest = ""  # of what was found; empty when there was nothing
        self.manifest: dict[str, Any] = {}
        self.seconds = 0.0

    def find(self) -> bool:
        """Whether the store has it. Writes nothing.

        Raises:
            Unrestorable: it has something that nobody can use.
            AgentFailure: what the store says.
        """
        data = env_object.read(self._store, self._place.key)
        if data is None:
            return False
        self.manifest_digest = sha256(data).hexdigest()
        manifest = env_object.understood(data, self._place.key)
        if manifest is None:
            raise Unrestorable("its manifest cannot be read", damaged=True)
        self.manifest = manifest
        if manifest["bound"] and manifest["folders"] != [self._place.folder]:
            place = "%s holds the path %s" % (manifest["bound"][0], manifest["folders"][0])
            raise Unrestorable("it works only where it was built: %s" % place)
        return True

    def check_worth(self) -> None:
        """Raise ``Unrestorable`` where restoring took longer than building so far."""
        if env_object.slower(env_object.times(self._store, self._place.key)):
            raise Unrestorable("building it was faster so far")

    def work(self) -> None:
        """Restore, verify, try it out; the environment is complete when this returns.

        Raises:
            Unrestorable: what is wrong with it. The folder is gone then.
            AgentFailure: ``cancelled``, ``disk-full``; what the store says.
        """
        began = time.monotonic()
        folder, manifest = self._place.folder, self.manifest
        free = free_bytes(self._place.envs)
        if free < manifest["bytes"]:
            raise AgentFailure("disk-full", path=folder, free_bytes=free)
        try:
            remove_tree(folder)
            make_folder(folder)
            self._total = manifest["packed"]
            together(self._jobs(), workers=min(MOST_WORKERS, 2 * (os.cpu_count() or 1)))
            try:
                self._finish_tree()
            except ValueError as error:
                raise Unrestorable(str(error), damaged=True) from error
            self._prove()
        except BaseException as error:
            if not (isinstance(error, AgentFailure) and error.code == "cancelled"):
                remove_tree(folder)  # a cancel must be quick; the next try removes what it left
            known = disk_failure(error, folder)
            if known is not None:
                raise known from error
            raise
        self.seconds = time.monotonic() - began
        write_json(self._place.marker, self._record())

    def _jobs(self) -> Iterator[Callable[[], None]]:
        for part in self.manifest["parts"]:
            yield lambda part=part: self._part(part)  # type: ignore[misc]

    def _part(self, part: dict[str, Any]) -> None:
        if self._cancelled():
            raise AgentFailure("cancelled", step="environment")
        try:
            data = self._store.get(env_object.part_key(self._place.key, part["digest"]))
        except AgentFailure as error:
            if error.code == "store-missing":
                raise Unrestorable("a part of it is missing", damaged=True) from error
            raise
        if len(data) != part["size"] or sha256(data).hexdigest() != part["digest"]:
            raise Unrestorable("a part of it is damaged", damaged=True)
        try:
            env_parts.unpack(data, part["codec"], part["bytes"], self._place.folder)
        except ValueError as error:
            raise Unrestorable("a part of it is damaged: %s" % error, damaged=True) from error
        self._progress(part["size"])

    def _progress(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._beat >= BEAT or self._done == self._total:
                self._beat = now
                self._told(self._done, self._total)

    def _finish_tree(self) -> None:
        """Links last: no file is ever written through one."""
        folder, manifest = self._place.folder, self.manifest
        base = self._recipe.interpreter.path
        for path in manifest["empty"]:
            os.makedirs(os.path.join(folder, env_parts.inside(path, folder)), exist_ok=True)
        for path, target in env_move.links(manifest["links"], base).items():
            where = os.path.join(folder, env_parts.inside(path, folder))
            os.makedirs(os.path.dirname(where), exist_ok=True)
            os.symlink(target, where)
        moves = [env_parts.inside(path, folder) for path in manifest["moves"]]
        env_move.relocate(folder, moves, manifest["folders"], base=base)

    def _prove(self) -> None:
        reason = env_proof.prove(
            self._place.python,
            self._place.folder,
            self._recipe.interpreter.version,
            self.manifest["checks"],
        )
        if reason:
            raise Unrestorable("it does not work on this machine: %s" % reason)

    def _record(self) -> dict[str, Any]:
        manifest = self.manifest
        return self._recipe.record(
            installer=manifest["installer"],
            packages=manifest["packages"],
            seconds=manifest["build_seconds"],
            restored={
                "seconds": round(self.seconds, 3),
                "bytes": manifest["bytes"],
                "packed": manifest["packed"],
            },
        )
