"""After a sandbox was killed nothing of it is left: looked for among processes, mounts, namespaces, devices, files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.sandbox.cloud_world import sandbox
from tests.unit.sandbox.instance_world import OBSTACLE, WHY, go, place

from runctl.sandbox.instances import janitor
from runctl.sandbox.instances.layout import Layout

# A sandbox's machines in a process of their own, which says when its instances run and then waits to be killed.
SANDBOX = """
import asyncio, sys
from pathlib import Path
from tests.unit.sandbox.instance_world import place

async def work():
    async with place(Path(sys.argv[1]), plainly=sys.argv[2] == "plain") as here:
        script = "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo up; sleep 1000"
        for n in range(3):
            await here.run(f"i-{n}", script, f"172.31.0.{n + 1}")
            await here.says(f"i-{n}", "up")
        await here.machines.attach_volume("i-0", "vol-1", "/dev/sdf", gib=1)
        print("running", flush=True)
        await asyncio.sleep(1000)

asyncio.run(work())
"""


def start(root: Path, kind: str) -> subprocess.Popen[str]:
    top = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{top}{os.pathsep}{top / 'src'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", SANDBOX, str(root), kind], stdout=subprocess.PIPE, text=True, env=env, cwd=top
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """`kill -9`."""
    with process:
        process.kill()


def within(seconds: float, true: Callable[[], bool]) -> bool:
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def loops(root: Path) -> list[str]:
    """The loop devices whose file lies below the folder."""
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return [path.parts[3] for path in files if path.exists() and path.read_text().startswith(str(root))]


def namespaces(pids: list[int]) -> set[str]:
    """The network namespaces of processes."""
    return {os.readlink(f"/proc/{pid}/ns/net") for pid in pids}


def held(wanted: set[str]) -> set[str]:
    """Which of these network namespaces any process of this machine is in."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.add(os.readlink(f"/proc/{name}/ns/net"))
            except OSError:
                continue
    return found & wanted


@pytest.mark.skipif(bool(OBSTACLE), reason=WHY)
@pytest.mark.parametrize("frozen", [False, True])
def test_kill_9_of_a_sandbox_with_namespaces(tmp_path: Path, *, frozen: bool) -> None:
    root = tmp_path / "m"
    process = start(root, "own")
    layout = Layout(root)
    running = janitor.marked(root)
    assert len(running) >= 10  # unshare, the keeper, and of each instance its parent, init and what it runs
    assert janitor.recorded(layout)
    wanted = namespaces(running) - namespaces([os.getpid()])
    assert len(wanted) == 4  # the outer one and one for each instance
    assert held(wanted) == wanted
    assert loops(root) or not os.path.exists("/dev/loop-control")
    if frozen:  # what cannot notice the end of the sandbox by itself is left to the janitor
        for pid in running:
            os.kill(pid, signal.SIGSTOP)
    kill(process)
    if frozen:
        assert janitor.leftovers(layout)["processes"]
    else:
        assert within(10, lambda: janitor.marked(root) == [])

    async def again() -> None:
        async with place(root) as here:  # the next start
            await here.run("i-0", "echo well")
            await here.says("i-0", "well")

    go(again)
    assert within(10, lambda: not loops(root))
    assert held(wanted) == set()
    assert janitor.leftovers(layout) == {"processes": [], "mounts": [], "files": []}
    assert not root.exists()


def test_kill_9_of_a_sandbox_of_ordinary_processes(tmp_path: Path) -> None:
    root = tmp_path / "m"
    process = start(root, "plain")
    layout = Layout(root)
    kill(process)
    found = janitor.sweep(layout)
    assert len(found["processes"]) >= 3 or not os.path.isdir("/proc/self")
    assert found["files"]
    assert janitor.leftovers(layout) == {"processes": [], "mounts": [], "files": []}


def test_a_recorded_pid_that_is_somebody_elses_by_now_is_left_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "m")
    layout.create()
    with subprocess.Popen(["sleep", "1000"]) as other:
        janitor.record(layout, [other.pid])
        text = layout.record.read_text().replace(janitor.birthday(other.pid), "1")
        layout.record.write_text(text)
        janitor.sweep(layout)
        assert other.poll() is None
        janitor.record(layout, [other.pid])
        janitor.sweep(layout)
        assert other.wait(5) == -signal.SIGKILL


@pytest.mark.skipif(bool(OBSTACLE), reason=WHY)
def test_down_after_a_kill_9_of_the_whole_sandbox(tmp_path: Path) -> None:
    with sandbox(tmp_path) as box:
        (instance,) = box.launch(UserData="#!/bin/sh\nsetsid sleep 1000 &\n")
        box.wait(instance, "running")
        root = tmp_path / "default" / "machines"
        running = janitor.marked(root)
        assert len(running) >= 4
        for pid in running:
            with contextlib.suppress(ProcessLookupError):  # one of the commands that a start is made of
                os.kill(pid, signal.SIGSTOP)  # nothing ends by itself
        os.kill(json.loads(box.runctl("status", "--json").stdout)[0]["pid"], signal.SIGKILL)
        box.runctl("down")
        assert janitor.marked(root) == []
        assert janitor.mounts(tmp_path) == []
        assert not (tmp_path / "default").exists()
