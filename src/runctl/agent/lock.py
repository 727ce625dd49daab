"""One at a time on this machine, by a lock the kernel drops with its holder."""

from __future__ import annotations

import fcntl
import os
import time

from runctl.agent.failure import AgentFailure

LOOK = 0.005  # seconds between two tries


def take(path: str, *, seconds: float) -> int:
    """The descriptor that holds the lock; closing its last copy lets go.

    Raises:
        AgentFailure: ``machine-locked`` when somebody else still has it after ``seconds``.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + seconds
    while not try_take(fd):
        if time.monotonic() >= deadline:
            os.close(fd)
            raise AgentFailure("machine-locked", path=path, seconds=round(seconds))
        time.sleep(LOOK)
    return fd


def try_take(fd: int) -> bool:
    """Lock an open file or folder if nobody else has; whether that worked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
