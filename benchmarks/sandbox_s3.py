"""The sandbox's S3 through clients that are none of ours: s5cmd for speed, boto3 for what a Python program sees."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cloud import new_cloud, seconds
from benchmarks.measure import Limit, Row, in_turns
from benchmarks.world import new_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.cloud import Cloud

LARGE = 256 * 1024 * 1024
SMALL, COUNT = 4096, 2000
BOTO_COUNT = 400
BUCKET = "bench"
# what is measured -> (how the table says it, amount, unit, the least a second)
MEASURED = {
    "up": ("256 MiB up, s5cmd", LARGE / 1e6, "MB", 200),
    "down": ("256 MiB down, s5cmd", LARGE / 1e6, "MB", 500),
    "many up": ("2,000 × 4 KiB up, s5cmd", COUNT, "objects", 1000),
    "many down": ("2,000 × 4 KiB down, s5cmd", COUNT, "objects", 1000),
    "boto3 put": ("400 × 4 KiB up, boto3, 16 threads", BOTO_COUNT, "objects", None),
    "boto3 get": ("400 × 4 KiB down, boto3, 16 threads", BOTO_COUNT, "objects", None),
}


def rows(*, rounds: int) -> list[Row]:
    """Seconds for 256 MiB and for 2,000 objects of 4 KiB, each way; the notes say MB/s and objects/s.

    Through the sandbox's front door, as ``runctl sandbox up`` opens it. The floor of a download is a copy of the same
    file: what the client writes is part of the figure, and more of it than what the sandbox does.
    """
    with new_world() as world, new_cloud(world) as cloud, client_folder() as folder:
        load = Load(folder, cloud.env["AWS_ENDPOINT_URL"], {**world.env, **cloud.env})
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        copy = "a copy of the same file"
        found = in_turns({copy: load.copy, **load.work(), **_boto(cloud)}, rounds=rounds)
    floor = Row(copy, found.pop(copy))
    return [floor, *(_row(name, found[name], floor if name == "down" else None) for name in MEASURED)]


@contextlib.contextmanager
def client_folder() -> Iterator[Path]:
    """A folder in memory, where the system has one for all: it is the server that is measured, and not the client's disk."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


class Load:
    """s5cmd against one server, from and to a folder of the client's; targets are new each time."""

    def __init__(self, folder: Path, url: str, env: Mapping[str, str]) -> None:
        self._base = folder / f"load-{url.rpartition(':')[2]}"
        self._env = {**env, "S3_ENDPOINT_URL": url}
        self._turn = 0
        (self._base / "small").mkdir(parents=True)
        (self._base / "large").write_bytes(os.urandom(LARGE))
        for n in range(COUNT):
            (self._base / "small" / f"{n}").write_bytes(os.urandom(SMALL))

    def work(self) -> dict[str, Callable[[], float]]:
        """What there is to measure, by the names of ``MEASURED``."""
        return {
            "up": partial(self._s5cmd, "cp", "large", f"s3://{BUCKET}/large"),
            "down": self._down,
            "many up": partial(self._s5cmd, "cp", "small/*", f"s3://{BUCKET}/small/"),
            "many down": self._many_down,
        }

    def copy(self) -> float:
        """The large file, copied by ``cp``."""
        took = seconds(lambda: subprocess.run(["cp", "large", "copy"], cwd=self._base, check=True))
        (self._base / "copy").unlink()
        return took

    def _down(self) -> float:
        took = self._s5cmd("cp", f"s3://{BUCKET}/large", "back")
        if (self._base / "back").read_bytes() != (self._base / "large").read_bytes():
            raise RuntimeError("what came back is not what was sent")
        (self._base / "back").unlink()
        return took

    def _many_down(self) -> float:
        self._turn += 1
        return self._s5cmd("cp", f"s3://{BUCKET}/small/*", f"many-{self._turn}/")

    def _s5cmd(self, *args: str) -> float:
        argv = [str(Path(sys.executable).parent / "s5cmd"), *args]
        return seconds(
            lambda: subprocess.run(argv, cwd=self._base, env=self._env, check=True, stdout=subprocess.DEVNULL)
        )


def _boto(cloud: Cloud) -> dict[str, Callable[[], float]]:
    client = cloud.client("s3")

    def all_of(one: Callable[[int], object]) -> float:
        with ThreadPoolExecutor(16) as pool:
            return seconds(lambda: list(pool.map(one, range(BOTO_COUNT))))

    return {
        "boto3 put": lambda: all_of(
            lambda n: client.put_object(Bucket=BUCKET, Key=f"b/{n}", Body=b"x" * SMALL)
        ),
        "boto3 get": lambda: all_of(lambda n: client.get_object(Bucket=BUCKET, Key=f"b/{n}")["Body"].read()),
    }


def _row(name: str, samples: tuple[float, ...], floor: Row | None) -> Row:
    title, amount, unit, least = MEASURED[name]
    limit = None if least is None else Limit("value", amount / least)
    note = f"{amount / statistics.median(samples):,.0f} {unit}/s"
    return Row(title, samples, floor=floor.value if floor else None, limit=limit, note=note)
