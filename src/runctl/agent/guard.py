"""Two processes that keep each other: one works, the other starts it again when something kills it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runctl.agent.home import Home

FIRST_PAUSE, LONGEST_PAUSE = (
    0.1,
    30.0,
)  # seconds before the worker is started again; doubled while it dies young
OLD = 60.0  # seconds after which a death is not the same trouble as the one before
# What a fresh interpreter needs to be the agent again: its file, with the two names the loader gives it.
AGAIN = (
    "import sys; digest, home = sys.argv[1:3]; path = '%s/agent/%s.py' % (home, digest); "
    "source = open(path, 'rb').read(); "
    "exec(compile(source, path, 'exec'), {'__name__': '__main__', 'DIGEST': digest, 'HOME': home})"
)


def guard(work: Callable[[], None]) -> None:
    """Do ``work`` in a child, again whenever the child is killed or crashes; returns when it has returned.

    Signals that end a process do not end this one: when the machine goes down, the child is the one with something
    to do.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pause = FIRST_PAUSE
    while True:
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _be_worker(work)
        if os.waitpid(pid, 0)[1] == 0:
            return
        pause = FIRST_PAUSE if time.monotonic() - begun > OLD else pause
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _be_worker(work: Callable[[], None]) -> None:
    code = 1
    try:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        work()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(code)


def argv_of(command: str, *, home: Home, digest: str) -> list[str]:
    """What starts the agent that is kept at ``home`` for one ``command``, whose request comes on stdin."""
    return [sys.executable, "-I", "-S", "-c", AGAIN, digest, home.path, command]


def become(command: str, request: Mapping[str, Any], *, home: Home, digest: str) -> None:
    """Turn this process into a new one of the agent that runs ``command``. Returns only where that is not possible."""
    if not os.path.exists(home.agent(digest)):
        return
    reading, writing = os.pipe()
    os.write(writing, json.dumps(request).encode() + b"\n")
    os.close(writing)
    os.dup2(reading, 0)
    os.execv(sys.executable, argv_of(command, home=home, digest=digest))  # noqa: S606 - an argv, no shell
