"""Deletes a run's folder on this machine."""

from __future__ import annotations

import os
import time

from runctl.agent import lock, status, wire
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, RunFolder, read_json, remove_tree

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

LOCK_WAIT = 30.0  # seconds; as for a launch
DOOMED = ".removing-"  # no run id begins with a dot


def remove(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """The command: whether there was such a run, and the bytes it took. Safe to repeat.

    The folder is renamed first, so a run is there whole or not at all; what an interrupted removal left behind is
    deleted by the next one.

    Raises:
        AgentFailure: ``run-active`` for a run that has not ended.
    """
    run = home.run(wire.field(request, "run", str))
    if not os.path.isdir(home.runs):
        return {"removed": False, "bytes": 0}
    held = lock.take(home.lock, seconds=LOCK_WAIT)
    try:
        current = status.observe(run)
        if current is not None and current["state"] != "ended":
            raise AgentFailure("run-active", run=run.id, name=current["name"], state=current["state"])
        there = os.path.isdir(run.path)
        if there:
            _end_leftovers(run)
            os.rename(run.path, os.path.join(home.runs, DOOMED + run.id))
    finally:
        os.close(held)
    freed = 0
    for name in os.listdir(home.runs):
        if name.startswith(DOOMED):
            path = os.path.join(home.runs, name)
            freed += size_below(path) if name == DOOMED + run.id else 0
            remove_tree(path)
    return {"removed": there, "bytes": freed}


def _end_leftovers(run: RunFolder) -> None:
    """A supervisor that was killed may have left processes behind; they end before their folder does."""
    written = read_json(run.status)
    if written is None or written["state"] == "ended":
        return
    from runctl.agent import cgroups, ending  # noqa: PLC0415 - seldom needed

    family = ending.Family(run=run, script=status.script_of(written), groups=written["cgroups"])
    ending.end(family, grace=lambda: 0.0, pause=time.sleep)
    cgroups.remove(written["cgroups"])


def size_below(path: str) -> int:
    """Bytes of the files in a folder, links not followed."""
    total = 0
    with os.scandir(path) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                total += size_below(item.path)
            else:
                total += item.stat(follow_symlinks=False).st_size
    return total
