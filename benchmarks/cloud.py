"""A sandbox for a benchmark, started by the command a user types, and its clients."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.world import World


class Cloud:
    """A sandbox of a world's that is up. ``env`` is what ``runctl sandbox env`` would set."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._clients: dict[str, Any] = {}
        self.env: dict[str, str] = json.loads(self._runctl("up", "--json"))["env"]

    def client(self, service: str) -> Any:
        """A boto3 client; the same one for the same service."""
        if service not in self._clients:
            import boto3  # noqa: PLC0415 - an extra, needed by few groups
            from botocore.config import Config  # noqa: PLC0415

            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.env["AWS_ENDPOINT_URL"],
                aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
                region_name=self.env["AWS_REGION"],
                config=Config(max_pool_connections=16, read_timeout=60, s3={"addressing_style": "path"}),
            )
        return self._clients[service]

    def down(self) -> None:
        """End it; nothing of it is left. Safe to repeat."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._runctl("down")

    def calls(self) -> int:
        """How many calls it has answered."""
        (status,) = json.loads(self._runctl("status", "--json"))
        return int(status["calls"])

    def _runctl(self, verb: str, *words: str) -> bytes:
        done = self._world.runctl("sandbox", verb, "--name", self._name, *words)
        if done.returncode:
            raise RuntimeError(f"runctl sandbox {verb} ended with {done.returncode}: {done.stderr.decode()}")
        return done.stdout


@contextlib.contextmanager
def new_cloud(world: World, name: str = "bench") -> Iterator[Cloud]:
    """A sandbox with boot time 0, gone at the end of the block."""
    cloud = Cloud(world, name)
    try:
        yield cloud
    finally:
        cloud.down()


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def until(holds: Callable[[], object], *, limit: float = 60) -> None:
    """Ask again and again, every 5 ms. Raises TimeoutError after ``limit`` seconds."""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit:.0f} s")
        time.sleep(0.005)
