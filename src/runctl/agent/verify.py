"""What a run on this machine ran, computed anew from what lies here: its code, its environment."""

from __future__ import annotations

import os
import stat
from hashlib import sha256

from runctl.agent import receipt, status, tree, wire
from runctl.agent.failure import AgentFailure
from runctl.agent.home import read_json

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home

MOST = 20  # paths that are named
CHUNK = 1 << 20  # bytes


def verify(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """The command: ``{tree, asked, changed, files, script, args, env_key, environment}``. Reads only.

    ``asked`` is the tree that was asked for, ``tree`` the digest of what lies in the run's code folder now under the
    same paths; ``changed`` names the first that differ. What the script added to its folder is not looked at.

    Raises:
        AgentFailure: ``run-unknown``.
    """
    run = home.run(wire.field(request, "run", str))
    current = status.known(run)
    spec = read_json(run.spec)
    if spec is None:
        raise AgentFailure("run-unknown", run=run.id)
    found, changed = [], []
    for entry in spec["tree"]:
        now = _seen(run.code, entry)
        if now != entry:
            changed.append(entry["path"])
        if now is not None:
            found.append(now)
    key = current.get("env_key") or ""
    return {
        "tree": tree.digest_of(found),
        "asked": spec["tree_digest"],
        "told": tree.digest_of(spec["tree"]),
        "files": len(spec["tree"]),
        "changed": changed[:MOST],
        "changes": len(changed),
        "script": spec["script"],
        "args": spec["args"],
        "env_key": key,
        "environment": receipt.environment(home, key),
    }


def _seen(code: str, entry: dict[str, Any]) -> dict[str, Any] | None:
    """An entry as it is now; None when nothing of its kind is there."""
    path = os.path.join(os.fsencode(code), tree.encoded(entry["path"]))
    try:
        state = os.lstat(path)
        if entry["type"] == "link":
            return {**entry, "target": tree.decoded(os.fsdecode(os.readlink(path)))}
        if entry["type"] == "dir":
            return entry if stat.S_ISDIR(state.st_mode) else None
        if not stat.S_ISREG(state.st_mode):
            return None
        digest = sha256()
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(CHUNK), b""):
                digest.update(chunk)
        seen = {**entry, "digest": digest.hexdigest(), "size": state.st_size}
        return {**seen, "exec": bool(state.st_mode & 0o100)} if "exec" in entry else seen
    except OSError:
        return None
