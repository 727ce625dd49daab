"""An environment in the store: where its objects are, what its manifest says, and which of two ways was faster so far.

``envs/<key>/<sha256>`` are parts; ``envs/<key>/manifest.json`` names them and is written last, so its presence proves all
of it is there. ``envs/of/<digest of the request>/<key>.json`` is a short form of it, found by who does not know the
machine's Python yet. ``envs/<key>/times.json`` holds the last timings, of builds and of restores.
"""

from __future__ import annotations

import json

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.store import Store

VERSION = 1
KEPT = 10  # timings of each kind
ENOUGH = 2  # restores that were timed, before they may speak against restoring


def manifest_key(key: str) -> str:
    """Where the manifest of an environment is."""
    return "envs/%s/manifest.json" % key


def part_key(key: str, digest: str) -> str:
    """Where a part is."""
    return "envs/%s/%s" % (key, digest)


def found_key(request_digest: str, key: str) -> str:
    """Where the short form of the manifest is."""
    return "envs/of/%s/%s.json" % (request_digest, key)


def times_key(key: str) -> str:
    """Where the timings are."""
    return "envs/%s/times.json" % key


def read(store: Store, key: str) -> bytes | None:
    """The manifest's bytes; None when the store does not have the environment."""
    try:
        return store.get(manifest_key(key))
    except AgentFailure as error:
        if error.code == "store-missing":
            return None
        raise


def understood(data: bytes, key: str) -> dict[str, Any] | None:
    """The manifest; None when it is damaged, or of a version this one does not know. Pure."""
    try:
        found = json.loads(data)
        known: bool = found["v"] == VERSION and found["key"] == key
        for part in found["parts"]:
            known = known and part["codec"] in ("zlib", "raw") and len(part["digest"]) == 64
            known = known and isinstance(part["size"], int) and isinstance(part["bytes"], int)
        known = known and all(
            isinstance(found[name], list) for name in ("folders", "moves", "bound", "checks")
        )
        known = known and isinstance(found["links"], dict) and isinstance(found["empty"], list)
    except (ValueError, KeyError, TypeError):
        return None
    return dict(found) if known else None


def times(store: Store, key: str) -> dict[str, list[float]]:
    """Seconds that builds and restores took, the oldest first."""
    try:
        found = json.loads(store.get(times_key(key)))
        return {kind: [float(each) for each in found.get(kind, ())] for kind in ("build", "restore")}
    except AgentFailure as error:
        if error.code != "store-missing":
            raise
    except (ValueError, TypeError, AttributeError):
        pass
    return {"build": [], "restore": []}


def add_time(store: Store, key: str, kind: str, seconds: float) -> None:
    """Remember one more. Two machines at once may lose one of theirs, which costs a figure."""
    known = times(store, key)
    known[kind] = [*known[kind], round(seconds, 3)][-KEPT:]
    store.put(times_key(key), json.dumps(known, separators=(",", ":")).encode())


def slower(known: dict[str, list[float]]) -> bool:
    """Whether restoring took longer than building did, by what was recorded. Pure."""
    if not known["build"] or len(known["restore"]) < ENOUGH:
        return False
    return _middle(known["restore"]) > _middle(known["build"])


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
