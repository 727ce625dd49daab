"""Letting go of whoever started us: a process with no terminal, no parent and nothing of ours open."""

from __future__ import annotations

import os

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable

LOG_TAIL = 4000  # bytes of the log that explain why a daemon did not start


def start(work: Callable[[Callable[[], None]], None], *, log: str, keep: int | None = None) -> None:
    """Do ``work`` in a daemon and return once it has called what it is given: "I have taken over".

    Args:
        work: gets a function to call, once, when it has taken over.
        log: file that takes its stdout, its stderr and the traceback of what it raises.
        keep: a descriptor (a lock) it shares with us until it has taken over.

    Raises:
        AgentFailure: ``agent-crashed`` with the end of the log, when it ended before that.
        OSError: what the system refused it before that (a full disk).
    """
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:  # no session leader: it can never get a terminal
                _become(work, log, [tell] if keep is None else [tell, keep])
        finally:
            os._exit(0)
    os.close(tell)
    os.waitpid(child, 0)
    try:
        answer = os.read(heard, 16)
        if answer.isdigit():
            number = int(answer)
            raise OSError(number, os.strerror(number), log)
        if answer != b"+":
            detail = "the supervisor ended before it took over"
            raise AgentFailure("agent-crashed", detail=detail, traceback=_tail(log))
    finally:
        os.close(heard)


def _become(work: Callable[[Callable[[], None]], None], log: str, shared: list[int]) -> None:
    waiting = [True]

    def ready() -> None:
        waiting.clear()
        _taken_over(shared)

    try:
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for fd, target in ((null, 0), (out, 1), (out, 2)):
            os.dup2(fd, target)
        _close_others(shared)
        os.chdir("/")
        work(ready)
    except BaseException as error:
        import traceback  # noqa: PLC0415 - only when something is wrong

        if waiting and isinstance(error, OSError) and error.errno:
            os.write(shared[0], b"%d" % error.errno)
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        os._exit(1)
    os._exit(0)


def _close_others(keep: list[int]) -> None:
    """Close every descriptor but the standard ones and ``keep``: a transport's pipe left open would never end."""
    try:
        listed = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        listed = list(range(3, 256))
    for fd in listed:
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass


def _taken_over(shared: list[int]) -> None:
    """Let the starting process answer, and let go of the lock we share with it."""
    tell = shared[0]
    for fd in shared[1:]:
        os.close(fd)
    try:
        os.write(tell, b"+")
    except OSError:
        pass  # it was killed meanwhile; the work goes on
    os.close(tell)


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read()[-LOG_TAIL:].decode("utf-8", "replace")
    except OSError:
        return ""
