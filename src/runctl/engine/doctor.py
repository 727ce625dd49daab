"""What is looked at on this computer, and on a machine that exists already. Reads only; nothing is made."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.core.catalogue import known
from runctl.core.checks import Check, Probe, ok, warn
from runctl.core.quantities import count, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.core.cancel import CancelToken
    from runctl.engine.ledger import Ledger
    from runctl.engine.remote import RemoteAgent

LOW = 5_000_000_000  # bytes; an environment with PyTorch takes as much
NONE = 200_000_000  # bytes; not even records and code are safe
FEW_FILES = 10_000  # free inodes; one environment takes as many
# file systems on which the index's locks cannot be relied on (SQLite, "How To Corrupt An SQLite Database File", 2.1)
_NETWORK = frozenset(("9p", "afs", "ceph", "cifs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"))


def python(cancel: CancelToken) -> Check:
    """The Python that runs runctl."""
    del cancel  # nothing is waited for
    return ok(f"{platform.python_version()}, {sys.executable}", executable=sys.executable)


def state_folder(folder: Path) -> Check:
    """Whether records can be kept: the folder, or the one it will be made in, is ours and can be written.

    Raises:
        AccessError: ``state-unwritable``.
    """
    there = _nearest(folder)
    if not there.is_dir():
        raise known("state-unwritable", path=str(folder), detail=f"{there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise known("state-unwritable", path=str(folder), detail=f"{there} may not be written by you")
    made = there == folder
    system = _file_system(there)
    if system in _NETWORK:
        return warn(
            f"{folder} is on {system}: locks on it are not reliable",
            ("keep it on this computer's own disk:", "  export RUNCTL_STATE_DIR=/path/on/a/local/disk"),
            path=str(folder),
        )
    mode = there.stat().st_mode & 0o077
    if made and mode:
        return warn(
            f"{folder} can be read by others",
            (f"  chmod 700 {folder}",),
            path=str(folder),
        )
    return ok(f"{folder}" + ("" if made else ", made at the first run"), path=str(folder))


def _nearest(folder: Path) -> Path:
    """The folder, else the deepest of those above it that exists."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _file_system(folder: Path) -> str:
    """The type of the file system a folder is on; empty where nobody tells (other systems than Linux)."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    place = str(folder.resolve())
    best = ("", "")
    for line in lines:
        _, point, kind = line.split(" ")[:3]
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def disk(folder: Path) -> Check:
    """Whether there is room where ``folder`` is.

    Raises:
        AccessError: ``disk-short``.
    """
    there = _nearest(folder)
    free = shutil.disk_usage(there).free
    files = os.statvfs(there).f_favail
    words = f"{size(free)} free at {there}"
    if free < NONE:
        raise known("disk-short", path=str(there), free=size(free))
    counted = os.statvfs(there).f_files > 0  # some file systems do not count files
    if counted and files < FEW_FILES:
        return warn(f"room for {count(files, 'files')} only at {there}", (f"  df -i {there}",), free=free)
    if free < LOW:
        return warn(words, (f"  du -xsh {there}/* | sort -h | tail",), free=free)
    return ok(words, free=free)


def debts(ledger: Ledger) -> Check:
    """Whether something may still be billed. Raises ``state-unwritable`` for a ledger that cannot even be read."""
    try:
        owed = ledger.debts()
    except OSError as error:
        raise known("state-unwritable", path=error.filename, detail=error.strerror) from error
    if not owed:
        return ok("nothing is owed")
    runs = ", ".join(debt.run_id for debt in owed[:3]) + (", ..." if len(owed) > 3 else "")
    return warn(
        f"{count(len(owed), 'machines')} may still be billed: {runs}", ("  runctl clean",), owed=len(owed)
    )


def machine(agent: RemoteAgent, cancel: CancelToken) -> Check:
    """What the agent says of a machine that exists: what it has, and whether environments can be built there."""
    facts = agent.call("probe", {"blobs": [], "environment": None}, cancel=cancel)
    gpus = facts["gpus"]
    has = [
        f"{facts['platform']}, {count(facts['cpus'], 'cores')}, {size(facts['memory_bytes'])}",
        f"{len(gpus)} x {gpus[0]['name']}" if gpus else "no GPU",
        f"Python {facts['python']}",
        "uv" if facts["uv"] else "pip",
    ]
    told = {key: facts[key] for key in ("python", "platform", "cpus", "memory_bytes", "gpus", "uv")}
    if not facts["script_python"]:
        return warn(f"{facts['hostname']} has no python3 for scripts without an environment", **told)
    return ok(", ".join(has), **told)


def probes_here(state_dir: Path, ledger: Ledger) -> tuple[Probe, ...]:
    """Everything there is to look at on this computer."""

    def at_once(look: Callable[[], Check]) -> Callable[[CancelToken], Check]:
        return lambda _cancel: look()

    return (
        Probe("python", "Python", python),
        Probe("state", "state folder", at_once(lambda: state_folder(state_dir))),
        Probe("disk", "disk", at_once(lambda: disk(state_dir))),
        Probe("ledger", "ledger", at_once(lambda: debts(ledger))),
    )
