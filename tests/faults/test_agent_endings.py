"""Every way a run is ended, and what is ended with it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from tests.agentbox import AgentBox, alive, until

from runctl.agent import cgroups
from runctl.agent.home import RunFolder

# Ignores TERM, and so does a child in the same group; both print their pid.
STUBBORN = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "os.fork()\n"
    "print('pid', os.getpid(), flush=True)\n"
    "time.sleep(300)\n"
)
# Leaves its parent, its session, its group and its environment behind, and says where it went.
DAEMON = (
    "import os, sys, time\n"
    "gone, held = os.pipe()\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.setsid()\n"
    "        os.execve('/bin/sleep', ['sleep', '300'], {})\n"
    "    os._exit(0)\n"
    "os.wait()\n"
    "os.close(held)\n"
    "os.read(gone, 1)\n"  # ends when the daemon has become another program
)


def pids(box: AgentBox, run: str) -> list[int]:
    return [int(line.split()[1]) for line in box.output(run).splitlines() if line.startswith(b"pid ")]


def test_cancel_kills_what_ignores_term_and_says_which(box: AgentBox) -> None:
    box.launch("r1", STUBBORN)
    until(lambda: len(pids(box, "r1")) == 2, "both have begun")
    begun = time.monotonic()
    assert box.cancel("r1", grace=0.4, reason="too slow")["state"] == "running"
    last = box.ended("r1")
    assert 0.4 <= time.monotonic() - begun < 5
    assert (last["outcome"], last["reason"], last["signal"]) == ("cancelled", "too slow", "SIGKILL")
    killed = {one["pid"]: one for one in last["killed"]}
    assert set(killed) == set(pids(box, "r1"))
    assert {one["signal"] for one in killed.values()} == {"SIGKILL"}
    assert all("training/train.py" in one["command"] for one in killed.values())
    assert box.follow("r1").of("run.ended")[0]["killed"] == last["killed"]
    assert not any(alive(pid) for pid in killed)


def test_a_script_that_leaves_cleanly_on_term_is_still_cancelled(box: AgentBox) -> None:
    source = (
        "import signal, sys, time\n"
        "def leave(*_): print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "print('ready', flush=True)\n"
        "time.sleep(300)\n"
    )
    box.launch("r1", source)
    box.says("r1", b"ready")
    box.cancel("r1", grace=30)
    followed = box.follow("r1")
    last = followed.last
    assert (last["outcome"], last["exit_code"], last["signal"]) == ("cancelled", 0, None)
    assert followed.output == b"ready\nsaved\n"
    assert box.cancel("r1", grace=0)["outcome"] == "cancelled"  # an ended run is left as it is


def test_a_second_cancel_shortens_the_grace_and_never_lengthens_it(box: AgentBox) -> None:
    box.launch("r1", STUBBORN)
    until(lambda: len(pids(box, "r1")) == 2, "both have begun")
    box.cancel("r1", grace=300, reason="first")
    time.sleep(0.3)
    assert box.status("r1")["state"] == "running"
    box.cancel("r1", grace=0.1, reason="second")
    box.cancel("r1", grace=300, reason="third")
    assert box.ended("r1")["reason"] == "first"


def test_a_stopped_script_hears_term(box: AgentBox) -> None:
    box.launch("r1", "import os, signal; print('ready', flush=True); os.kill(os.getpid(), signal.SIGSTOP)")
    box.says("r1", b"ready")
    box.cancel("r1", grace=300)
    assert box.ended("r1")["signal"] == "SIGTERM"


def test_a_cancel_before_the_script_starts(box: AgentBox) -> None:
    files = {f"data/{number}": b"%d" % number for number in range(3000)}
    box.launch("r1", "print('started')", files=files)
    box.cancel("r1", grace=0)
    last = box.ended("r1")
    assert last["outcome"] in ("cancelled", "succeeded")  # whoever was first
    assert (last["outcome"] == "succeeded") == (box.output("r1") == b"started\n")


def test_the_wall_clock_limit(box: AgentBox) -> None:
    source = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(300)"
    followed = box.whole("r1", source, max_hours=0.0002, grace=0.3)
    last = followed.last
    assert (last["outcome"], last["reason"], last["signal"]) == ("failed", "time limit", "SIGKILL")
    assert followed.of("run.ended")[0]["seconds"] >= 0.72 + 0.3


def test_a_script_that_ends_before_its_limit_is_not_touched(box: AgentBox) -> None:
    assert box.whole("r1", "print('done')", max_hours=1).last["outcome"] == "succeeded"


def test_the_machine_going_down_is_a_preemption(box: AgentBox) -> None:
    source = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "print('ready', flush=True)\n"
        "time.sleep(300)\n"
    )
    pid = box.launch("r1", source)["pid"]
    box.says("r1", b"ready")
    os.kill(pid, signal.SIGTERM)
    last = box.ended("r1")
    assert (last["outcome"], last["exit_code"], last["reason"]) == (
        "preempted",
        0,
        "the machine is going down",
    ), last


def test_a_script_that_hears_of_the_shutdown_first_is_preempted_too(box: AgentBox) -> None:
    supervisor = box.launch("r1", "import time; print('ready', flush=True); time.sleep(300)")["pid"]
    box.says("r1", b"ready")
    script = box.running("r1")["pid"]
    os.kill(script, signal.SIGTERM)
    until(lambda: not alive(script), "the script is gone")
    os.kill(supervisor, signal.SIGTERM)
    assert box.ended("r1")["outcome"] == "preempted"


def test_a_hangup_and_an_interrupt_are_not_for_the_supervisor(box: AgentBox) -> None:
    pid = box.launch("r1", "import time; print('ready', flush=True); time.sleep(0.5); print('end')")["pid"]
    box.says("r1", b"ready")
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGINT)
    assert box.follow("r1").last["outcome"] == "succeeded"


@pytest.mark.parametrize("with_groups", [True, False], ids=["groups", "parentage"])
def test_what_outlives_its_script_is_ended_and_listed(box: AgentBox, *, with_groups: bool) -> None:
    if not with_groups:
        box.prefix = without_cgroups()
    followed = box.whole("r1", DAEMON + "print('done')")
    last = followed.last
    assert (last["outcome"], last["exit_code"]) == ("succeeded", 0)
    assert [(one["command"], one["signal"]) for one in last["killed"]] == [("sleep 300", "SIGTERM")]
    assert not alive(last["killed"][0]["pid"])
    assert bool(last["cgroups"]) == (with_groups and cgroups_here())


@pytest.mark.parametrize("with_groups", [True, False], ids=["groups", "parentage"])
def test_cancel_ends_a_daemon_that_left_everything_behind(box: AgentBox, *, with_groups: bool) -> None:
    if not with_groups:
        box.prefix = without_cgroups()
    box.launch("r1", DAEMON + "print('ready', flush=True)\ntime.sleep(300)")
    box.says("r1", b"ready")
    box.cancel("r1", grace=5)
    last = box.ended("r1")
    commands = sorted(one["command"].split("/")[-1] for one in last["killed"])
    assert commands == ["sleep 300", "train.py"]
    assert not any(alive(one["pid"]) for one in last["killed"])


def test_orphans_are_reaped_while_the_script_runs(box: AgentBox) -> None:
    source = (
        "import os, time\n"
        "for i in range(20):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0: os._exit(0)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "print('ready', flush=True)\n"
        "time.sleep(300)\n"
    )
    pid = box.launch("r1", source)["pid"]
    box.says("r1", b"ready")

    def zombies() -> int:
        found = 0
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    stat = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                except (OSError, IndexError):
                    continue
                found += stat[0] == "Z" and int(stat[1]) == pid
        return found

    until(lambda: zombies() == 0, "the orphans are reaped")
    box.cancel("r1", grace=0)
    box.ended("r1")


def cgroups_here() -> bool:
    """Whether this user may make a control group below the one we are in."""
    made = cgroups.create(RunFolder(f"/probe/{os.getpid()}", "probe"))
    cgroups.remove(made)
    return bool(made)


def without_cgroups() -> list[str]:
    """An argv in front of which no control group can be made: its own mounts, without the group file systems."""
    if os.geteuid() != 0:
        if cgroups_here():
            pytest.skip("needs root to hide the control groups")
        return []
    hide = 'umount -l /sys/fs/cgroup 2>/dev/null; mount -t tmpfs -o ro none /sys/fs/cgroup; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", hide, "sh"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to limit a control group")
def test_a_kill_for_want_of_memory_is_recognised(box: AgentBox) -> None:
    if not cgroups_here():
        pytest.skip("no control group can be made here")
    source = (
        "import glob, json, os, sys, time\n"
        "status = json.load(open('../status.json'))\n"
        "while not status['cgroups']: time.sleep(0.01); status = json.load(open('../status.json'))\n"
        "limited = False\n"
        "for folder in status['cgroups']:\n"
        "    for name in ('memory.max', 'memory.limit_in_bytes'):\n"
        "        if os.path.exists(folder + '/' + name):\n"
        "            open(folder + '/' + name, 'w').write(str(64 << 20)); limited = True\n"
        "if not limited: print('no limit', flush=True); sys.exit(0)\n"
        "held = [bytearray(os.urandom(1 << 20)) for _ in range(512)]\n"
    )
    followed = box.whole("r1", source)
    if followed.output == b"no limit\n":
        pytest.skip("the memory controller is not ours here")
    last = followed.last
    assert (last["outcome"], last["reason"], last["signal"]) == ("failed", "out of memory", "SIGKILL")
    assert last["peak_memory_bytes"] > 32 << 20
    assert last["killed"] == []


def test_a_kill_by_somebody_else_is_not_taken_for_want_of_memory(box: AgentBox) -> None:
    box.launch("r1", "import time; print('ready', flush=True); time.sleep(300)")
    os.kill(box.running("r1")["pid"], signal.SIGKILL)
    assert box.ended("r1")["reason"] == "signal SIGKILL"


def test_the_status_is_whole_whenever_it_is_read(box: AgentBox) -> None:
    box.launch("r1", "import time; time.sleep(0.3)")
    path = box.folder("r1") / "status.json"
    states: list[str] = []
    while not states or states[-1] != "ended":
        states.append(json.loads(path.read_text())["state"])
    assert list(dict.fromkeys(states)) in (["preparing", "running", "ended"], ["running", "ended"])
