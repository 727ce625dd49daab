"""Stores an environment that was built here, for the next machine. Beside a run, and never in its way."""

from __future__ import annotations

import json
import os
import threading
import time
from hashlib import sha256

from runctl.agent import env_move, env_object, env_proof
from runctl.agent.env_parts import Listing, Packed, Unpackable, cut
from runctl.agent.home import read_json
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runctl.agent.env_parts import Piece
    from runctl.agent.env_recipe import Place
    from runctl.agent.store import Store

WORKERS = 2  # the script has the machine


def deposit(
    place: Place,
    store: Store,
    *,
    home: str,
    workers: int = WORKERS,
    told: Callable[[int], Any] = lambda _count: None,
    stopped: Callable[[], None] = lambda: None,
) -> dict[str, Any] | None:
    """Store a complete environment: its parts, then its manifest; None when the store has it.

    Killed, it leaves parts nobody names, which the next try reuses and ``runctl env prune`` removes. Of two machines at
    once one is first; the other's manifest is not written.

    Args:
        place: of the environment, which has its marker.
        store: where to.
        home: $RUNCTL_HOME.
        workers: parts at once.
        told: bytes of a part that arrived.
        stopped: raises what ends it.

    Raises:
        Unpackable: it would not be the same elsewhere.
        AgentFailure: what the store says.
        OSError: the disk.
    """
    record = read_json(place.marker) or {}
    there = env_object.read(store, place.key)
    broken = there is not None and record.get("replaces") == sha256(there).hexdigest()
    if there is not None and not broken:
        return None
    return _Deposit(place, store, record, told, stopped).work(home, workers, replace=broken)


class _Deposit:
    def __init__(
        self,
        place: Place,
        store: Store,
        record: dict[str, Any],
        told: Callable[[int], Any],
        stopped: Callable[[], None],
    ) -> None:
        self._place, self._store, self._record = place, store, record
        self._told, self._stopped = told, stopped
        self._parts: dict[int, dict[str, Any]] = {}
        self._moves: set[str] = set()
        self._bound: set[str] = set()
        self._lock = threading.Lock()
        folders = {place.folder, os.path.realpath(place.folder)}
        self._folders = sorted(folders)

    def work(self, home: str, workers: int, *, replace: bool) -> dict[str, Any] | None:
        began = time.monotonic()
        listing = Listing(self._place.folder)
        env_move.check_alone(listing, home)
        self._check_unchanged(listing)
        together(self._jobs(listing), workers=workers)
        checks = env_proof.learn(self._place.python)
        manifest = self._manifest(listing, checks)
        data = json.dumps(manifest, separators=(",", ":")).encode("utf-8", "surrogatepass")
        self._stopped()
        if not self._store.put(env_object.manifest_key(self._place.key), data, if_absent=not replace):
            return None
        short = {name: value for name, value in manifest.items() if name not in LONG}
        key = env_object.found_key(str(manifest["request"]), self._place.key)
        self._store.put(key, json.dumps(short, separators=(",", ":")).encode())
        env_object.add_time(self._store, self._place.key, "build", float(self._record.get("seconds") or 0))
        return dict(short, seconds=time.monotonic() - began)

    def _check_unchanged(self, listing: Listing) -> None:
        """What a script installed into it by itself is not what its key stands for."""
        built = float(self._record.get("created_at") or 0) + 1
        for each in listing.files:
            if each.mtime / 1e9 > built and not each.path.endswith(".pyc"):
                raise Unpackable("%s was changed after it was built" % each.path)

    def _jobs(self, listing: Listing) -> Iterator[Callable[[], None]]:
        for number, pieces in enumerate(cut(listing.files)):
            yield lambda number=number, pieces=pieces: self._part(number, pieces)  # type: ignore[misc]

    def _part(self, number: int, pieces: list[Piece]) -> None:
        self._stopped()
        packed = Packed(self._place.folder, pieces, [os.fsencode(each) for each in self._folders])
        digest = sha256(packed.data).hexdigest()
        key, size = env_object.part_key(self._place.key, digest), len(packed.data)
        if self._store.size(key) != size:
            self._store.put(key, packed.data)
        self._told(size)
        with self._lock:
            for path, text in packed.holding:
                if not path.endswith(".pyc"):
                    (self._moves if text else self._bound).add(path)
            self._parts[number] = {
                "digest": digest, "size": size, "bytes": packed.bytes, "content": packed.content,
                "codec": packed.codec,
            }  # fmt: skip

    def _manifest(self, listing: Listing, checks: list[list[str]]) -> dict[str, Any]:
        parts = [self._parts[number] for number in sorted(self._parts)]
        record = self._record
        return {
            "v": env_object.VERSION, "key": self._place.key, "request": record.get("request", ""),
            "python": record["python"], "platform": record.get("platform", ""), "libc": record.get("libc", ""),
            "kind": record.get("kind", ""),
            "source": record.get("source", ""), "installer": record["installer"],
            "packages": record["packages"], "build_seconds": record["seconds"], "stored_at": time.time(),
            "files": len(listing.files), "bytes": sum(part["content"] for part in parts),
            "packed": sum(part["size"] for part in parts), "parts": parts, "links": listing.links,
            "empty": listing.empty, "folders": self._folders, "moves": sorted(self._moves),
            "bound": sorted(self._bound), "checks": checks,
        }  # fmt: skip


LONG = ("parts", "links", "empty", "moves", "bound", "checks", "folders")  # what the short form does without
