"""Processes of this machine: which there are, whether one is still the one we mean, telling one to end.

A process is named by its pid and its start, because a pid alone is soon somebody else's.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

GONE = ("Z", "X", "x")  # states of a process that runs no more


class Process:
    """What the system says of a process. ``start`` is opaque: the same pid and start are the same process."""

    __slots__ = ("group", "parent", "pid", "session", "start", "state")

    def __init__(self, pid: int, *, parent: int, group: int, session: int, state: str, start: str) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.session = session
        self.state = state
        self.start = start


def table() -> dict[int, Process]:
    """Every process there is, by pid; about 10 µs each on Linux, one ``ps`` elsewhere."""
    if not os.path.exists("/proc/self/stat"):
        return _ps_table([])
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = find(int(name))
            if process is not None:
                found[process.pid] = process
    return found


def find(pid: int) -> Process | None:
    """The process with this pid, zombies included; None when there is none."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return None
        return _ps_table(["-p", str(pid)]).get(pid)
    rest = text[text.rindex(b")") + 2 :].split()  # the name before it may hold spaces and parentheses
    start = "%s@%s" % (rest[19].decode(), _boot())
    return Process(
        pid,
        parent=int(rest[1]),
        group=int(rest[2]),
        session=int(rest[3]),
        state=rest[0].decode(),
        start=start,
    )


_BOOTS: list[str] = []


def _boot() -> str:
    """A few digits that change when the machine restarts: ticks since the boot repeat from boot to boot."""
    if not _BOOTS:
        try:
            with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                _BOOTS.append(file.read(8).decode())
        except OSError:
            _BOOTS.append("")
    return _BOOTS[0]


def rebooted(start: str) -> bool:
    """Whether the machine has restarted since a process with this ``start``; false where nobody can tell."""
    then = start.partition("@")[2]
    return bool(then) and then != _boot()


def _ps_table(which: list[str]) -> dict[int, Process]:
    """The same by ``ps``, for systems without /proc (macOS). It shows no session: the group stands in for it."""
    import subprocess  # noqa: PLC0415 - never needed on Linux

    argv = ["ps", *(which or ["-A"]), "-o", "pid=,ppid=,pgid=,stat=,lstart="]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        pid, parent, group, state, start = line.split(None, 4)
        found[int(pid)] = Process(
            int(pid),
            parent=int(parent),
            group=int(group),
            session=int(group),
            state=state[0],
            start=start.strip(),
        )
    return found


def identity(pid: int) -> dict[str, Any] | None:
    """What to record of a process so that it can be recognised later; None when there is no such process."""
    process = find(pid)
    return None if process is None else {"pid": pid, "start": process.start}


def alive(known: dict[str, Any] | None) -> bool:
    """Whether the process recorded by ``identity`` still runs. A zombie does not."""
    if not known:
        return False
    process = find(known["pid"])
    return process is not None and process.start == known["start"] and process.state not in GONE


def command(pid: int) -> str:
    """The command line, arguments separated by spaces, at most 400 characters; the bare name where it is hidden."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            line = file.read(4096).rstrip(b"\0").replace(b"\0", b" ")
        if not line:
            with open("/proc/%d/comm" % pid, "rb") as file:
                line = b"[" + file.read().strip() + b"]"
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return "?"
        import subprocess  # noqa: PLC0415 - never needed on Linux

        argv = ["ps", "-p", str(pid), "-o", "command="]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        line = done.stdout.strip() or b"?"
    return line.decode("utf-8", "replace")[:400]


def carries(pid: int, variable: bytes) -> bool:
    """Whether the process began with ``NAME=value`` in its environment; false where it may not be read."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            return variable in file.read().split(b"\0")
    except OSError:
        return False


def descendants(roots: Iterable[int], among: dict[int, Process]) -> set[int]:
    """The pids of ``roots`` and of all their children and children's children. Pure."""
    children: dict[int, list[int]] = {}
    for process in among.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in among]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


def send(process: Process, number: int) -> bool:
    """Send a signal to this very process, never to a later one of the same pid; false when it is gone."""
    pidfd_open = getattr(os, "pidfd_open", None)  # both since Python 3.9, on Linux
    pidfd_send_signal = getattr(signal, "pidfd_send_signal", None)
    if pidfd_open is None or pidfd_send_signal is None:
        return _send_checked(process, number)
    try:
        handle = pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except OSError:  # a kernel before 5.3
        return _send_checked(process, number)
    try:
        now = find(process.pid)
        if now is None or now.start != process.start:
            return False
        pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _send_checked(process: Process, number: int) -> bool:
    now = find(process.pid)
    if now is None or now.start != process.start:
        return False
    try:
        os.kill(process.pid, number)
    except OSError:
        return False
    return True
