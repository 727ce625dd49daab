"""Leave nothing on this machine but installed environments, tried out: what an image may be made of."""

from __future__ import annotations

import os

from runctl.agent import env_proof
from runctl.agent.env_recipe import Place
from runctl.agent.failure import AgentFailure
from runctl.agent.home import read_json, remove_tree

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home

KEPT = ("agent", "envs", "tools")  # of $RUNCTL_HOME; code, data, runs and what is known of stores go


def alone(key: str, *, home: Home) -> dict[str, Any]:
    """Try the environment ``key``, remove all else of $RUNCTL_HOME, and see it on the disk: ``{checked}``. Safe to repeat.

    Raises:
        AgentFailure: ``env-unknown``; ``env-untried`` when nothing of it can be imported.
    """
    place = Place(home.path, key)
    record = read_json(place.marker)
    if record is None:
        raise AgentFailure("env-unknown", key=key, where="this machine")
    checks = env_proof.learn(place.python)
    if record["packages"] and not checks:
        raise AgentFailure("env-untried", key=key, packages=record["packages"])
    for name in os.listdir(home.path):
        path = os.path.join(home.path, name)
        if name in KEPT:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)
        else:
            os.unlink(path)
    os.sync()
    return {"checked": len(checks)}
