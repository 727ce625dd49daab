"""What a client wants to know of a machine before it decides anything. Writes nothing, anywhere."""

from __future__ import annotations

import os
import shutil
import sys

from runctl.agent import blobs, cgroups, pythons, status
from runctl.agent.home import Home, free_bytes

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

GPU_TIMEOUT = 20  # seconds; the first nvidia-smi after a boot takes up to ten


def facts(request: dict[str, Any], *, home: Home, digest: str) -> dict[str, Any]:
    """The answer to ``probe``: ``Facts`` of ``docs/architecture.md``."""
    system = os.uname()
    environment = None
    if request.get("environment") is not None:
        from runctl.agent import environment as builder  # noqa: PLC0415 - most of the agent's code hangs on it

        environment = builder.describe(request["environment"], home=home.path)
    container = None
    if request.get("image"):
        from runctl.agent import engines  # noqa: PLC0415 - only for a run that has one

        container = engines.describe(request["image"])
    return {
        "v": 1,
        "agent": digest,
        "home": home.path,
        "python": "%d.%d.%d" % sys.version_info[:3],
        "python_path": sys.executable,
        "platform": "%s-%s" % (system.sysname.lower(), system.machine),
        "hostname": system.nodename,
        "cpus": cpus(),
        "memory_bytes": memory_bytes(),
        "disk_free_bytes": free_bytes(home.path),
        "gpus": gpus(),
        "script_python": pythons.machine_python(),
        "uv": pythons.find_uv(),
        "cgroup": cgroup_version(),
        "missing": blobs.missing(request.get("blobs") or [], home=home),
        "environment": environment,
        "container": container,
        "active": status.active(home),
    }


def cpus() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Physical memory; what a control group allows where that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(physical, cgroups.memory_limit() or physical)


def cgroup_version() -> str | None:
    """Which control groups the machine has."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "v2"
    return "v1" if os.path.isdir("/sys/fs/cgroup/memory") else None


def gpus() -> list[dict[str, Any]]:
    """NVIDIA GPUs, by ``nvidia-smi``; none where it is missing or does not answer."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    import subprocess  # noqa: PLC0415 - 10 ms that a machine without GPU does not pay

    argv = [smi, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=GPU_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_gpus(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else []


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """``nvidia-smi``'s lines (name, MiB) as values. Pure."""
    found = []
    for line in text.splitlines():
        name, _, size = line.rpartition(",")
        if name:
            memory = int(size) << 20 if size.strip().isdigit() else None
            found.append({"name": name.strip(), "memory_bytes": memory})
    return found
