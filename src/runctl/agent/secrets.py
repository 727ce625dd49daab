"""Values of variables that stand in no file: handed from a client's command to the waiting supervisor, through a pipe."""

from __future__ import annotations

import json
import os
import select
import time

from runctl.agent import lock, status, wire
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, RunFolder, read_json

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

LOOK = 0.05  # seconds between two looks for a run that is to come
TAKEN_WAIT = 10.0  # seconds a supervisor may need to take what was written
LOCK_WAIT = 10.0  # seconds to wait for another command that hands over at this moment
DEFAULT_WAIT = 60.0  # seconds the command waits for the run, unless it says otherwise
CHUNK = 65536


def deliver(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """The command: ``{"delivered": bool, "state"}``; false when the run has them already or never waited for any.

    Args:
        request: ``run``, ``values`` (name → text), and ``wait``, the seconds the run may take to come to this machine.
        home: where.

    Raises:
        AgentFailure: ``run-unknown`` when it did not come; ``agent-request`` when a value it waits for is missing;
            ``agent-stopped`` when its supervisor died.
    """
    run = home.run(wire.field(request, "run", str))
    values = wire.field(request, "values", dict)
    limit = time.monotonic() + float(request.get("wait", DEFAULT_WAIT))
    while True:
        current = status.observe(run)
        if os.path.exists(run.secrets):
            break
        if current is not None and (
            current["state"] != "preparing" or not awaited(read_json(run.spec) or {})
        ):
            return {"delivered": False, "state": current["state"]}
        if time.monotonic() > limit:
            raise AgentFailure("run-unknown", run=run.id)
        time.sleep(LOOK)
    lacking = [name for name in awaited(read_json(run.spec) or {}) if not isinstance(values.get(name), str)]
    if lacking:
        raise AgentFailure("agent-request", detail="no value for %s" % ", ".join(lacking))
    held = lock.take(run.secrets + ".lock", seconds=LOCK_WAIT)
    try:
        return {"delivered": _hand_over(run, values), "state": status.known(run)["state"]}
    finally:
        os.close(held)


def _hand_over(run: RunFolder, values: dict[str, str]) -> bool:
    try:
        fd = os.open(run.secrets, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # another command was faster
    except OSError as error:  # ENXIO: nobody reads
        raise AgentFailure("agent-stopped", command="secrets", detail="nobody waits for them") from error
    os.set_blocking(fd, True)
    try:
        # The first newline ends what a writer that was killed may have left half.
        wire.send(b"\n" + json.dumps(values).encode() + b"\n", fd)
    finally:
        os.close(fd)
    limit = time.monotonic() + TAKEN_WAIT
    while os.path.exists(run.secrets):
        if time.monotonic() > limit:
            raise AgentFailure("agent-stopped", command="secrets", detail="they were not taken")
        time.sleep(LOOK)
    return True


def awaited(request: dict[str, Any]) -> list[str]:
    """The names in ``secret_env`` whose values the request does not have. Pure."""
    env = request.get("env") or {}
    return [name for name in request.get("secret_env") or () if not isinstance(env.get(name), str)]


class Awaited:
    """The supervisor's end. A pipe in the run's folder: what goes through it is never on a disk."""

    def __init__(self, run: RunFolder) -> None:
        self._path = run.secrets
        os.mkfifo(self._path, 0o600)
        self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._buffer = b""

    def look(self) -> dict[str, str] | None:
        """The values, once they have come whole. Never waits."""
        while select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, CHUNK)
            if not data:
                return None  # nobody writes now
            self._buffer += data
            values = _line_of(self._buffer)
            if values is not None:
                self.close()
                return values
        return None

    def close(self) -> None:
        """Take the pipe away. Safe to repeat."""
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self._path)
            self._fd = -1


def _line_of(data: bytes) -> dict[str, str] | None:
    """The object on the last line, if that is whole. Pure."""
    if not data.endswith(b"\n"):
        return None
    try:
        values = json.loads(data.splitlines()[-1])
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
