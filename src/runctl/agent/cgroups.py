"""A control group for each run, where the machine lets us make one: nothing of the run can leave it unseen.

Both versions: v2 for its list of processes and its kill switch, v1's memory controller for its list and its count of
out-of-memory kills. Where neither can be made the supervisor tracks processes by parentage instead.
"""

from __future__ import annotations

import os
import time
import zlib

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runctl.agent.home import RunFolder

# Every one of these files has a line "oom_kill N".
COUNTERS = ("memory.events", "memory.oom_control")
LIMITS = ("memory.max", "memory.limit_in_bytes")
NO_LIMIT = 1 << 60  # bytes; v1 says "none" with a number near 2**63, v2 with the word "max"
VMSTAT = "/proc/vmstat"
REMOVE_WAIT = 1.0  # seconds; a group stays busy until its last dead process was reaped


def folders_of(pid: str = "self") -> list[str]:
    """The folders of the process's own groups: v2, and v1's memory controller; those that exist."""
    try:
        with open("/proc/%s/cgroup" % pid) as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return []
    found = []
    for _number, controllers, path in groups:
        if controllers and "memory" not in controllers.split(","):
            continue
        for mount in mounts:
            kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
            if kind == "cgroup2" if not controllers else (kind == "cgroup" and "memory" in options):
                folder = _below(mount[4], mount[3], path)
                if folder is not None and os.path.isdir(folder):
                    found.append(folder)
                break
    return found


def _below(point: str, root: str, path: str) -> str | None:
    """Where a group is below a mount that may show only a part of the hierarchy. Pure."""
    if root != "/":
        if path != root and not path.startswith(root + "/"):
            return None
        path = path[len(root) :]
    return os.path.join(point, path.lstrip("/")).rstrip("/")


def create(run: RunFolder) -> list[str]:
    """Make the run's groups below our own; the folders made, none where it is not allowed."""
    made = []
    name = "runctl-%s-%08x" % (run.id, zlib.crc32(os.fsencode(run.path)))  # two homes may know the same id
    for parent in folders_of():
        folder = os.path.join(parent, name)
        try:
            os.mkdir(folder)
        except FileExistsError:
            pass
        except OSError:
            continue
        made.append(folder)
    return made


def add(folders: Iterable[str], pid: int) -> list[str]:
    """Move a process into the groups; the folders where that worked. What it starts from now on is in them."""
    joined = []
    for folder in folders:
        try:
            with open(os.path.join(folder, "cgroup.procs"), "w") as file:
                file.write(str(pid))
        except OSError:
            continue
        joined.append(folder)
    return joined


def pids(folders: Iterable[str]) -> set[int]:
    """The processes in the groups and in groups below them."""
    found: set[int] = set()
    for top in folders:
        for folder, _folders, _files in os.walk(top):
            try:
                with open(os.path.join(folder, "cgroup.procs")) as file:
                    found.update(int(line) for line in file)
            except OSError:
                continue
    return found


def kill(folders: Iterable[str]) -> None:
    """Kill everything in the v2 group at once, also what is forking right now. Needs Linux 5.14; else nothing."""
    for folder in folders:
        try:
            with open(os.path.join(folder, "cgroup.kill"), "w") as file:
                file.write("1")
        except OSError:
            continue


def remove(folders: Iterable[str]) -> None:
    """Remove the groups, deepest first; one that stays busy for a second is left behind."""
    deadline = time.monotonic() + REMOVE_WAIT
    for top in folders:
        for folder, _folders, _files in os.walk(top, topdown=False):
            while not _rmdir(folder) and time.monotonic() < deadline:
                time.sleep(0.01)


def _rmdir(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def oom_kills(path: str) -> int | None:
    """The count of out-of-memory kills in one of the files that have it; None when it does not."""
    try:
        with open(path) as file:
            for line in file:
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    except (OSError, ValueError):
        pass
    return None


class OomWatch:
    """Tells after the fact whether the kernel killed the run for want of memory.

    The run's own groups count exactly. Our group and the whole machine count others too, so there a kill only
    counts when the script itself died by a SIGKILL that nobody here sent.
    """

    def __init__(self, folders: list[str]) -> None:
        own = [os.path.join(folder, name) for folder in folders for name in COUNTERS]
        wide = [os.path.join(folder, name) for folder in folders_of() for name in COUNTERS]
        self._own = _counts(own)
        self._wide = _counts([*wide, VMSTAT])

    def killed(self, *, by_sigkill: bool) -> bool:
        """Whether a kill was counted since this watch was made. Call it before the run's groups are removed."""
        if any(count > self._own[path] for path, count in _counts(self._own).items()):
            return True
        if self._own:
            return False  # they count every kill of one of ours, whoever's memory had run out
        return by_sigkill and any(count > self._wide[path] for path, count in _counts(self._wide).items())


def _counts(paths: Iterable[str]) -> dict[str, int]:
    return {path: count for path in paths for count in [oom_kills(path)] if count is not None}


def memory_limit() -> int | None:
    """Bytes our own groups and those above them allow; None where there is no limit."""
    limits = []
    for own in folders_of():
        folder = own
        while os.path.isfile(os.path.join(folder, "cgroup.procs")):
            limits += [_limit(os.path.join(folder, name)) for name in LIMITS]
            folder = os.path.dirname(folder)
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _limit(path: str) -> int | None:
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < NO_LIMIT else None
