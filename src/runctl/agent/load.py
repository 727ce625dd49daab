"""What a machine is busy with: cores, memory, disk, GPUs, and the processes that use them. Writes nothing."""

from __future__ import annotations

import os
import shutil
import time

from runctl.agent import probe, processes

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home

SPAN = 0.5  # seconds over which the use of cores is measured
SHOWN = 15  # processes, those that use most
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def load(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """The command: how busy the machine is now. ``request`` may name ``count``, the processes wanted."""
    before, begun = _used(), time.monotonic()
    time.sleep(SPAN)
    after, span = _used(), time.monotonic() - begun
    rows = []
    for pid, (ticks, pages) in after.items():
        spent = (ticks - before.get(pid, (ticks, 0))[0]) / TICK / span * 100
        rows.append((round(spent, 1), pages * PAGE, pid))
    rows.sort(reverse=True)
    busiest = rows[: int(request.get("count") or SHOWN)]
    total = probe.memory_bytes()
    where = home.path if os.path.exists(home.path) else "/"
    disk = os.statvfs(where)
    return {
        "cpus": probe.cpus(),
        "cpu_percent": round(sum(spent for spent, _, _ in rows), 1),
        "load": list(os.getloadavg()),
        "memory_bytes": total,
        "memory_free_bytes": _free_memory(total),
        "disk_bytes": disk.f_blocks * disk.f_frsize,
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "gpus": gpus(),
        "processes": [
            {"pid": pid, "cpu_percent": spent, "memory_bytes": size, "command": processes.command(pid)}
            for spent, size, pid in busiest
        ],
    }


def _used() -> dict[int, tuple[int, int]]:
    """Each process's ticks on a core and pages in memory, from /proc; nothing where there is none."""
    found = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        found[int(name)] = (int(fields[11]) + int(fields[12]), int(fields[21]))
    return found


def _free_memory(total: int) -> int | None:
    """What programs may still take; None where the system does not say."""
    try:
        with open("/proc/meminfo", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file if b":" in line)
        return min(total, int(lines[b"MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        return None


def gpus() -> list[dict[str, Any]]:
    """Use of each NVIDIA GPU, by ``nvidia-smi``; none where it is missing or does not answer."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    import subprocess  # noqa: PLC0415 - 10 ms that a machine without GPU does not pay

    fields = "name,utilization.gpu,memory.used,memory.total,temperature.gpu"
    argv = [smi, "--query-gpu=" + fields, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=probe.GPU_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_gpus(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else []


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """``nvidia-smi``'s lines as values; what it does not know (``[N/A]``) is None. Pure."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.rsplit(",", 4)]
        if len(cells) != 5:
            continue
        use, used, total, heat = (int(cell) if cell.isdigit() else None for cell in cells[1:])
        found.append(
            {
                "name": cells[0],
                "percent": use,
                "memory_used_bytes": None if used is None else used << 20,
                "memory_bytes": None if total is None else total << 20,
                "celsius": heat,
            }
        )
    return found
