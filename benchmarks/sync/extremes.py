"""``python -m benchmarks.sync.extremes``: a checkpoint of 2 GB to S3 and back beside s5cmd, and syncs killed half way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.machine import describe
from benchmarks.sync.link import line_to
from benchmarks.sync.places import BUCKET, make_bucket, servers
from benchmarks.sync.tools import Way, program
from benchmarks.sync.workloads import small_files
from benchmarks.world import RUNCTL

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.sync.places import Places

ROUNDS = 5
SIZE = 2 << 30  # bytes
SLOW = {"rtt": 0.04, "mbit": 100.0}
WAYS = {"SSH": "ssh", "SSH and S3": "s3", "S3 alone": "store"}


def main() -> None:
    """Measure both and print."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:
        folder = Path(base)
        with servers(folder, dict(os.environ)) as places:
            make_bucket(places)
            _checkpoint(folder, places)
            _killed(folder, places)
    print("\n".join(f"{key:10} {value}" for key, value in describe().items()))


def _checkpoint(folder: Path, places: Places) -> None:
    """Seconds and memory of each, taking turns."""
    source, back = folder / "checkpoint.bin", folder / "back.bin"
    with source.open("wb") as file:
        for _ in range(SIZE >> 24):
            file.write(os.urandom(1 << 24))
    way = Way(folder, folder, folder / "home", "", places, folder)
    way.home.mkdir()
    env = {**way.env, "S3_ENDPOINT_URL": places.s3_env["AWS_ENDPOINT_URL"]}
    s5cmd = program("s5cmd") or "s5cmd"
    to = f"s3://{BUCKET}/checkpoint.bin"
    work = {
        ("runctl s3", "up"): [RUNCTL, "s3", "upload", "--force", str(source), to],
        ("s5cmd", "up"): [s5cmd, "cp", str(source), to],
        ("runctl s3", "down"): [RUNCTL, "s3", "download", "--force", to, str(back)],
        ("s5cmd", "down"): [s5cmd, "cp", to, str(back)],
    }
    found: dict[tuple[str, str], list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, words in work.items():
            back.unlink(missing_ok=True)
            found[name].append(_timed(words, env))
    for (tool, way_name), samples in found.items():
        seconds = median(each[0] for each in samples)
        peak = max(each[1] for each in samples)
        print(
            f"2 GiB {way_name:5} {tool:10} {SIZE / seconds / 1e6:6.0f} MB/s  {seconds:5.2f} s  {peak:4.0f} MB of memory"
        )
    source.unlink()
    back.unlink(missing_ok=True)


def _timed(words: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Seconds, and megabytes that the process had in memory at most."""
    begun = time.perf_counter()
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words}: {process.returncode}")
    return time.perf_counter() - begun, used.ru_maxrss / 1000


def _killed(folder: Path, near: Places) -> None:
    """What the second of two syncs sends when the first one was killed at half of what a whole one sends."""
    small_files(folder / "project")
    counts = [folder / "s3.count", folder / "ssh.count"]
    with (
        line_to(near.s3, count=str(counts[0]), **SLOW) as s3,
        line_to(near.ssh, count=str(counts[1]), **SLOW) as ssh,
        near.through(s3=s3, ssh=ssh).open_connection(folder) as control,
    ):
        places = near.through(s3=s3, ssh=ssh)

        def sent() -> int:
            return sum(int(path.read_bytes().split()[0]) for path in counts)

        for name, how in WAYS.items():
            way = Way(folder / "project", folder / "there", folder / "again", name, places, control)
            words = [sys.executable, "-m", "benchmarks.sync.ours", how, str(way.project), str(way.there)]
            words += way.ssh if how != "store" else []
            shares = []
            for _ in range(ROUNDS):
                whole = _run(way, words, sent, near)
                half = _run(way, words, sent, near, stop_at=whole // 2)
                shares.append((_run(way, words, sent, near, fresh=False)) / whole)
                print(
                    f"  {name}: whole {whole / 1e6:.1f} MB, killed at {half / whole:.0%}, then {shares[-1]:.0%}"
                )
            print(f"killed half way, {name}: the next one sends {median(shares):.0%} of a whole sync")


def _run(
    way: Way, words: list[str], sent: Callable[[], int], near: Places, *, stop_at: int = 0, fresh: bool = True
) -> int:
    """Bytes that it sent; killed once it has sent ``stop_at``."""
    if fresh:
        for each in (way.there, way.home):
            shutil.rmtree(each, ignore_errors=True)
            each.mkdir(parents=True)
        _empty(near)
    begun = sent()
    process = subprocess.Popen(
        words, env=way.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None:
        time.sleep(0.01)
        if stop_at and sent() - begun >= stop_at:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    time.sleep(0.5)  # what is on the line arrives
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{words}: {process.returncode}")
    return sent() - begun


def _empty(places: Places) -> None:
    """No object in the bucket."""
    words = [program("s5cmd") or "s5cmd", "rm", f"s3://{BUCKET}/*"]
    env = {**os.environ, **places.s3_env, "S3_ENDPOINT_URL": places.s3_env["AWS_ENDPOINT_URL"]}
    subprocess.run(words, env=env, capture_output=True, check=False)


if __name__ == "__main__":
    main()
