"""What a sandbox that was killed left behind, and its removal: by record, and by the mark every process carries."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from runctl.sandbox.instances import disk
from runctl.sandbox.instances.layout import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from runctl.sandbox.instances.layout import Layout

PATIENCE = 10.0  # seconds for the kernel to end what was killed; a whole PID namespace takes milliseconds


def birthday(pid: int) -> str:
    """When a process was started, in the system's own terms: tells it from a later one with its number.

    Empty when there is no such process, or only its zombie.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return ""
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()
    except ProcessLookupError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def record(layout: Layout, pids: Iterable[int]) -> None:
    """Writes down processes that must not outlive the sandbox, replacing what was written before. Raises OSError."""
    partial = layout.record.with_suffix(".new")
    partial.write_text(json.dumps({str(pid): birthday(pid) for pid in pids}))
    partial.replace(layout.record)


def recorded(layout: Layout) -> list[int]:
    """The processes written down that still are the same and alive."""
    try:
        known = json.loads(layout.record.read_text())
    except (FileNotFoundError, ValueError):
        return []
    return [int(pid) for pid, born in known.items() if born and birthday(int(pid)) == born]


def carrying(mark: bytes) -> list[int]:
    """The live processes whose environment holds `NAME=value`, but this one; none where there is no /proc."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read().split(b"\0") and birthday(int(name)):
                    found.append(int(name))
    return found


def marked(root: Path) -> list[int]:
    """The processes that carry the mark of this sandbox."""
    return carrying(f"{MARKER}={root}".encode())


def end(who: Callable[[], set[int]], number: int, patience: float) -> set[int]:
    """Sends a signal to processes and the groups they lead until there are none; those left after `patience` s."""
    limit = time.monotonic() + patience
    while pids := {pid for pid in who() if birthday(pid)}:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                if os.getpgid(pid) == pid:
                    os.killpg(pid, number)
        if time.monotonic() > limit:
            return pids
        time.sleep(0.01)
    return set()


def mounts(root: Path) -> list[str]:
    """The mount points below `root` that this process sees."""
    try:
        with open("/proc/self/mountinfo") as file:
            points = [line.split()[4].encode().decode("unicode_escape") for line in file]
    except FileNotFoundError:
        return []
    return [point for point in points if point.startswith(f"{root}/")]


def leftovers(layout: Layout) -> dict[str, list[str]]:
    """What of a sandbox is still there, by kind; all lists are empty when there is nothing."""
    running = sorted({*recorded(layout), *marked(layout.root)})
    return {
        "processes": [str(pid) for pid in running],
        "mounts": mounts(layout.root),
        "files": [str(path) for path in sorted(layout.root.glob("*/*"))],
    }


def sweep(layout: Layout, *, disks: bool = True) -> dict[str, list[str]]:
    """Ends and removes everything of a sandbox that nobody runs any more; what was found, by kind.

    Safe to repeat. With `disks` the instances' files go too. Raises OSError when something cannot be removed. The
    caller must be sure that the sandbox itself is not running.
    """
    found = leftovers(layout)
    left = end(lambda: {*recorded(layout), *marked(layout.root)}, signal.SIGKILL, PATIENCE)
    if left:
        raise OSError(f"processes of the sandbox do not end: {sorted(left)}")
    for point in sorted(mounts(layout.root), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    layout.record.unlink(missing_ok=True)
    if disks:
        for folder in (layout.instances, layout.images, layout.volumes):
            for path in folder.iterdir() if folder.is_dir() else ():
                disk.remove(path) if path.is_dir() else path.unlink()
            shutil.rmtree(folder, ignore_errors=True)
        layout.log.unlink(missing_ok=True)
    return found
