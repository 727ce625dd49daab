"""Supervisors, followers and launches killed at once; disks that are full; files that somebody cut."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from tests.agentbox import AgentBox, AgentError, alive, packed, understood, until

WAITS = "import time; print('ready', flush=True); time.sleep(300)"


def orphaned(box: AgentBox, source: str = WAITS) -> dict[str, Any]:
    """A run whose supervisor was killed while the script lives."""
    box.launch("r1", source, grace=300)
    box.says("r1", b"ready")
    status = box.running("r1")
    os.kill(status["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: not alive(status["supervisor"]["pid"]), "the supervisor is gone")
    return status


def test_a_killed_supervisor_is_noticed_and_the_script_can_be_cancelled(box: AgentBox) -> None:
    status = orphaned(box)
    seen = box.status("r1")
    assert (seen["state"], seen["reason"], seen["outcome"]) == ("running", "unsupervised", None)
    assert alive(status["pid"])
    follower = subprocess.Popen(
        box.argv("follow"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=box.env
    )
    assert follower.stdin
    follower.stdin.write(box.stdin({"run": "r1", "output": 0, "events": 0, "wait": True}))
    follower.stdin.close()
    box.cancel("r1", grace=5, reason="enough")
    last = box.ended("r1")
    assert (last["outcome"], last["reason"], last["exit_code"]) == ("cancelled", "enough", None)
    assert [one["pid"] for one in last["killed"]] == [status["pid"]]
    assert follower.stdout
    assert understood(follower.stdout.read()).last == last
    assert follower.wait() == 0
    follower.stdout.close()
    until(
        lambda: not [folder for folder in status["cgroups"] if os.path.exists(folder)],
        "its groups are removed",
    )


def test_cancelling_an_unsupervised_run_kills_after_the_grace_and_may_be_hurried(box: AgentBox) -> None:
    source = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"
    )
    status = orphaned(box, source)
    box.cancel("r1", grace=300)
    time.sleep(0.3)
    assert alive(status["pid"])
    box.cancel("r1", grace=0)
    assert box.ended("r1")["killed"][0]["signal"] == "SIGKILL"
    assert not alive(status["pid"])


def test_a_killed_supervisor_whose_script_ended_leaves_a_failed_run(box: AgentBox) -> None:
    status = orphaned(box)
    os.kill(status["pid"], signal.SIGKILL)
    last = box.ended("r1")
    assert (last["outcome"], last["reason"], last["exit_code"]) == ("failed", "the agent died", None)
    assert last["error"]["code"] == "agent-died"
    assert box.follow("r1").last["reason"] == "the agent died"
    assert box.call("probe", {"blobs": []})["active"] == []
    assert box.call("remove", {"run": "r1"})["removed"]
    assert not [folder for folder in status["cgroups"] if os.path.exists(folder)]


def test_a_pid_that_is_somebody_elses_by_now_is_not_taken_for_ours(box: AgentBox) -> None:
    followed = box.whole("r1", "print(1)")
    path = box.folder("r1") / "status.json"
    other = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        mine = {"pid": other.pid, "start": followed.last["supervisor"]["start"]}
        stale = {**followed.last, "state": "running", "outcome": None, "supervisor": mine, "pid": other.pid}
        path.write_text(json.dumps(stale))
        assert box.status("r1")["reason"] == "the agent died"
        box.cancel("r1", grace=0)
        until(lambda: json.loads(path.read_text())["state"] == "ended", "the end is written")
        assert other.poll() is None
        path.write_text(json.dumps({**stale, "supervisor": {"pid": 1, "start": "1@00000000"}}))
        assert box.status("r1")["reason"] == "the machine restarted"
    finally:
        other.kill()
        other.wait()


def test_killing_a_follower_changes_nothing(box: AgentBox) -> None:
    source = "import time\nfor i in range(20): print(i, flush=True); time.sleep(0.05)"
    box.launch("r1", source)
    follower = subprocess.Popen(
        box.argv("follow"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=box.env
    )
    assert follower.stdin
    assert follower.stdout
    follower.stdin.write(box.stdin({"run": "r1", "output": 0, "events": 0, "wait": True}))
    follower.stdin.flush()
    follower.stdout.read(1)
    follower.kill()
    follower.wait()
    follower.stdin.close()
    follower.stdout.close()
    followed = box.follow("r1")
    assert followed.output == b"".join(b"%d\n" % i for i in range(20))
    assert followed.last["outcome"] == "succeeded"


def test_a_follower_whose_reader_leaves_ends_by_itself(box: AgentBox) -> None:
    box.launch("r1", WAITS)
    follower = subprocess.Popen(
        box.argv("follow"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=box.env
    )
    assert follower.stdin
    assert follower.stdout
    assert follower.stderr
    follower.stdin.write(box.stdin({"run": "r1", "output": 0, "events": 0, "wait": True}))
    follower.stdin.close()
    follower.stdout.read(1)
    follower.stdout.close()
    assert follower.wait(5) == 0
    assert follower.stderr.read() == b""
    follower.stderr.close()
    box.cancel("r1", grace=0)
    box.ended("r1")


@pytest.mark.parametrize("after", [0.0, 0.01, 0.02, 0.03, 0.05])
def test_a_launch_killed_at_any_moment_can_be_repeated(box: AgentBox, after: float) -> None:
    request = box.request("r1", "print('once', flush=True)")
    launching = subprocess.Popen(
        box.argv("launch"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=box.env,
        start_new_session=True,
    )
    assert launching.stdin
    launching.stdin.write(box.stdin(request))
    launching.stdin.close()
    time.sleep(after)
    os.killpg(launching.pid, signal.SIGKILL)
    launching.wait()
    box.call("launch", request)
    assert box.follow("r1").output == b"once\n"


def test_a_flood_arrives_whole_at_every_follower(box: AgentBox) -> None:
    size = 50 << 20
    source = (
        "import os\n"
        "block = b''.join(b'%07d\\n' % i for i in range(131072))\n"
        "for _ in range(50): os.write(1, block)\n"
    )
    box.launch("r1", source)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(digest_of(box))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    block = b"".join(b"%07d\n" % i for i in range(131072))
    expected = hashlib.sha256(block * 50).hexdigest()
    assert [(total, digest) for total, digest, _ in found] == [(size, expected)] * 2
    assert all(1 << 20 < peak < 40 << 20 for _, _, peak in found)


def digest_of(box: AgentBox) -> tuple[int, str, int]:
    """Bytes of output a follower was sent, their digest, and the follower's peak memory in bytes."""
    follower = subprocess.Popen(
        box.argv("follow"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=box.env
    )
    assert follower.stdin
    assert follower.stdout
    follower.stdin.write(box.stdin({"run": "r1", "output": 0, "events": None, "wait": True}))
    follower.stdin.close()
    total, peak, state = 0, 0, hashlib.sha256()
    while True:
        header = follower.stdout.readline()
        if not header:
            break
        kind, _, length = header.split()
        body = follower.stdout.read(int(length))
        if kind == b"O":
            peak = max(peak, high_water(follower.pid))
            total += len(body)
            state.update(body)
    follower.stdout.close()
    assert follower.wait() == 0
    return total, state.hexdigest(), peak


def high_water(pid: int) -> int:
    """The largest resident size so far, in bytes (getrusage would count the test's own, from before the exec)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # it is ending


@pytest.mark.parametrize("how", ["truncated", "replaced"])
def test_an_output_that_somebody_cut_is_said(box: AgentBox, how: str) -> None:
    source = "import os, time\nprint('before' * 100, flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('after')"
    box.launch("r1", source)
    box.says("r1", b"before")
    follower = subprocess.Popen(
        box.argv("follow"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=box.env
    )
    assert follower.stdin
    assert follower.stdout
    follower.stdin.write(box.stdin({"run": "r1", "output": 0, "events": None, "wait": True}))
    follower.stdin.close()
    stream = read_until(follower.stdout, b"before\n")
    log = box.folder("r1") / "output.log"
    if how == "truncated":
        os.truncate(log, 0)
    else:
        log.rename(box.folder("r1") / "output.log.1")
        log.write_bytes(b"new\n")
    stream += read_until(follower.stdout, b"on the machine")
    (box.folder("r1") / "code" / "go").write_text("")
    stream += follower.stdout.read()
    follower.stdout.close()
    assert follower.wait() == 0
    followed = understood(stream)
    assert how in followed.notices[0]["text"]
    assert followed.output.endswith(b"after\n" if how == "truncated" else b"new\n")


def read_until(file: IO[bytes], text: bytes) -> bytes:
    found = b""
    while text not in found:
        part = os.read(file.fileno(), 65536)
        assert part, "the stream ended"
        found += part
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[AgentBox]:
    """A machine whose home is a file system of two megabytes, in mounts of its own."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("needs root, unshare and nsenter")
    home = tmp_path / "machine"
    home.mkdir()
    script = f"mount -t tmpfs -o size=2m,mode=700 none '{home}' && echo ready && exec sleep 300"
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert holder.stdout
    try:
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("no file system can be mounted here")
        box = AgentBox(home)
        box.prefix = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
        box.view = Path(f"/proc/{holder.pid}/root{home}")
        yield box
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    box.check_nothing_left()


def test_a_full_disk_refuses_a_content_and_leaves_nothing_half(small_disk: AgentBox) -> None:
    small_disk.call("receive", {}, packed(b"small"))
    with pytest.raises(AgentError) as caught:
        small_disk.call("receive", {}, packed(b"x" * (3 << 20)))
    assert caught.value.code == "disk-full"
    assert caught.value.facts["needed_bytes"] == 3 << 20
    assert 0 < caught.value.facts["free_bytes"] < 2 << 20
    kept = [path.name for path in (small_disk.view / "blobs").rglob("*") if path.is_file()]
    assert kept == [hashlib.sha256(b"small").hexdigest()]


def test_a_full_disk_fails_the_code_step_and_the_run_says_so(small_disk: AgentBox) -> None:
    small_disk.launch("r1", "print(1)", files={"large": os.urandom(1 << 20)})
    followed = small_disk.follow("r1")
    assert followed.last["error"]["code"] == "disk-full"
    assert sorted(os.listdir(small_disk.view / "runs/r1")) == [
        "events.jsonl",
        "spec.json",
        "status.json",
        "supervisor.log",
    ]


def test_a_script_that_fills_the_disk_still_ends_with_its_own_status(small_disk: AgentBox) -> None:
    source = (
        "import os, sys\n"
        "fd = os.open('filler', os.O_WRONLY | os.O_CREAT)\n"
        "try:\n"
        "    while True: os.write(fd, bytes(4096))\n"
        "except OSError as error: sys.exit(error.errno)\n"
    )
    followed = small_disk.whole("r1", source)
    assert (followed.last["state"], followed.last["outcome"], followed.last["exit_code"]) == (
        "ended",
        "failed",
        28,
    )
