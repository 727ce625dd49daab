"""A run's ``status.json``, as its supervisor keeps it."""

from __future__ import annotations

import json
import os

from runctl.agent import processes
from runctl.agent.home import RunFolder, write_json
from runctl.agent.journal import timestamp

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 1


def begun(request: dict[str, Any]) -> dict[str, Any]:
    """The first status of a run whose supervisor is this process."""
    return {
        "v": SCHEMA,
        "run": request["run"],
        "name": request["name"],
        "attempt": request["attempt"],
        "state": "preparing",
        "outcome": None,
        "exit_code": None,
        "signal": None,
        "reason": "",
        "error": None,
        "pid": None,
        "pid_start": None,
        "started_at": timestamp(),
        "script_started_at": None,
        "ended_at": None,
        "supervisor": processes.identity(os.getpid()),
        "killed": [],
        "output_bytes": 0,
        "peak_memory_bytes": None,
        "cgroups": [],
        "env_key": "",
        "command": [],
    }


def unstarted(
    run: RunFolder, attempt: int, *, outcome: str, reason: str, error: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The last status of a run that never had a supervisor: its code did not come, or somebody cancelled it.

    Written down too, unless the disk is full.
    """
    now = begun({"run": run.id, "name": run.id, "attempt": attempt})
    now.update(state="ended", outcome=outcome, reason=reason, error=error, ended_at=timestamp())
    try:
        write_json(run.status, now)
    except OSError:
        pass
    return now


class Record:
    """The status in memory and on disk; every change is written whole."""

    def __init__(self, run: RunFolder, request: dict[str, Any]) -> None:
        self._run = run
        self.now = begun(request)
        write_json(run.status, self.now)
        self._fd = os.open(run.status, os.O_WRONLY | os.O_CLOEXEC)

    def change(self, **fields: Any) -> None:
        """Set fields and write, also on a full disk: then in place, over the block the file has already."""
        self.now.update(fields)
        try:
            write_json(self._run.status, self.now)
        except OSError:
            self._overwrite()
            return
        os.close(self._fd)
        self._fd = os.open(self._run.status, os.O_WRONLY | os.O_CLOEXEC)

    def _overwrite(self) -> None:
        """Write over the old bytes, padded with spaces to their length, so that no new block is asked for.

        Through the file that is open already: on a full layered file system the path cannot be opened for writing.
        """
        data = json.dumps(self.now, separators=(",", ":")).encode()
        os.pwrite(self._fd, data.ljust(os.fstat(self._fd).st_size - 1) + b"\n", 0)
        os.fsync(self._fd)
