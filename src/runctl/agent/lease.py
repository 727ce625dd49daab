"""The machine's own deadline: unless it is moved forward in time, the machine shuts itself down, which ends the lease."""

from __future__ import annotations

import os
import subprocess
import time

from runctl.agent import wire
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, make_folder, read_json, write_json
from runctl.agent.journal import timestamp

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"  # cloud-init and sessions do not always have the first two
WAIT = 20.0  # seconds ``shutdown`` may take to answer


def renew(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """The command: move the deadline to ``seconds`` from now; ``{"expires_at": ISO 8601}``. Safe to repeat.

    Raises:
        AgentFailure: ``lease-not-armed``.
    """
    seconds = float(wire.field(request, "seconds", (int, float)))
    if seconds <= 0:
        raise AgentFailure("agent-request", detail="seconds is %r" % seconds)
    return {"expires_at": timestamp(arm(home, seconds))}


def arm(home: Home, seconds: float) -> float:
    """Let the machine shut down in ``seconds``, rounded up to minutes; when that is, in seconds since the epoch.

    A deadline that was there before is replaced.

    Raises:
        AgentFailure: ``lease-not-armed``: not root, or no ``shutdown`` here.
    """
    minutes = max(1, -int(-seconds // 60))
    _shutdown("+%d" % minutes)
    return note(home, 60.0 * minutes)


def note(home: Home, seconds: float) -> float:
    """Write down that the machine shuts down in ``seconds``, as somebody has told it to; seconds since the epoch."""
    at = time.time() + seconds
    try:
        make_folder(home.path)
        write_json(home.lease, {"v": 1, "expires_at": timestamp(at)})
    except OSError:
        pass  # a full disk: the deadline holds, only nobody can read when it is
    return at


def release() -> None:
    """Shut the machine down now. Raises ``lease-not-armed``."""
    _shutdown("now")


def expires_at(home: Home) -> str:
    """When the machine shuts itself down, ISO 8601; empty when nobody said so."""
    return str((read_json(home.lease) or {}).get("expires_at") or "")


def _shutdown(when: str) -> None:
    env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":" + SYSTEM_PATH)
    try:
        done = subprocess.run(
            ["shutdown", "-h", when],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=WAIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentFailure("lease-not-armed", detail=str(error)) from error
    if done.returncode != 0:
        detail = done.stdout.decode("utf-8", "replace").strip()[-300:] or "exit status %d" % done.returncode
        raise AgentFailure("lease-not-armed", detail=detail)
