"""What a script was started with, as its machine knows it: stamped on the run, so that it outlives the machine."""

from __future__ import annotations

import os

from runctl.agent.env_recipe import Place
from runctl.agent.home import read_json
from runctl.agent.probe import cpus, memory_bytes

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home

KEPT = ("key", "request", "python", "packages", "platform", "installer")  # of an environment's marker


def receipt(request: dict[str, Any], *, home: Home, command: list[str], env_key: str) -> dict[str, Any]:
    """The fields of the event ``run.receipt``: values of variables are not in it, their names are. Reads only.

    ``code`` is the digest of the tree that was assembled and compared, entry for entry. ``environment`` is None where
    none was made, or where it is not complete yet (``--deps background``).
    """
    system = os.uname()
    return {
        "attempt": request["attempt"],
        "code": request["tree_digest"],
        "files": len(request["tree"]),
        "command": command,
        "environment": environment(home, env_key),
        "machine": {
            "hostname": system.nodename,
            "platform": "%s-%s" % (system.sysname.lower(), system.machine),
            "kernel": system.release,
            "cpus": cpus(),
            "memory_bytes": memory_bytes(),
        },
        "variables": sorted(request["env"]),
        "data": [each["from"] for each in request.get("data") or ()],
        "resumed_from": _origin(request.get("resume_from")),
    }


def environment(home: Home, key: str) -> dict[str, Any] | None:
    """What the marker of the environment ``key`` says of it; None while there is no complete one."""
    marker = read_json(Place(home.path, key).marker) if key else None
    return None if marker is None else {name: marker.get(name) for name in KEPT}


def _origin(resume: Any) -> str:
    if isinstance(resume, dict):
        return str(resume["store"])
    return str(resume or "")
