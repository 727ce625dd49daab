"""runctl's way to an instance through Systems Manager, against the sandbox: latency, throughput, cancelling."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.cloud import new_cloud, seconds
from benchmarks.measure import Limit, Row, in_turns
from benchmarks.sandbox_life import Fleet
from benchmarks.world import new_world
from runctl.core.cancel import CancelToken
from runctl.core.errors import Cancelled
from runctl.core.model import Endpoint
from runctl.testing.surroundings import surroundings
from runctl.transports.ssm.transport import SsmTransport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOWN, UP = 50_000_000, 10_000_000  # bytes
LINES = 10
SAY_WHEN = f"import time\nfor _ in range({LINES}): print(time.time(), flush=True); time.sleep(0.2)"
SWALLOW = "import sys\nwhile sys.stdin.buffer.read(1 << 20): pass"


def rows(*, rounds: int) -> list[Row]:
    """Seconds for each; boto3 and its client are loaded before, as they are when a machine was just bought."""
    with new_world() as world, new_cloud(world) as cloud, _environment(cloud.env):
        fleet = Fleet(cloud)
        cloud.client("s3").create_bucket(Bucket="bench")
        session, without = Way(fleet.instance, "auto"), Way(fleet.instance, "off")
        found = in_turns(
            {
                "python": partial(fleet.first_line, "python3 -I -S -c 'print(1)'"),
                "raw": partial(fleet.flood, DOWN),
                "first": session.first_line,
                "next": partial(session.command, "true"),
                "late": session.lateness,
                "down": session.down,
                "up": session.up,
                "cancel": session.cancelled,
                "close": session.close,
                "command": partial(without.command, "true"),
                "late without": without.lateness,
            },
            rounds=rounds,
        )
        session.close()
    down, up, raw, python = (statistics.median(found[name]) for name in ("down", "up", "raw", "python"))
    return [
        Row("one session that starts Python, until its first line", found["python"]),
        Row(
            "nothing open: until a command's first line", found["first"],
            floor=python, limit=Limit("value", 0.15), note="two sessions and a program there",
        ),
        Row("a further command, until its end", found["next"], limit=Limit("value", 0.05)),
        Row("a printed line until it is here, the slowest of 10", found["late"], limit=Limit("value", 0.25)),
        Row(f"{DOWN // 1_000_000} MB down one session, as it is", found["raw"]),
        Row(
            f"{DOWN // 1_000_000} MB down", found["down"], floor=raw,
            limit=Limit("value", DOWN / 10e6), note=f"{DOWN / 1e6 / down:.0f} MB/s",
        ),
        Row(f"{UP // 1_000_000} MB up", found["up"], note=f"{UP / 1e6 / up:.0f} MB/s"),
        Row("a cancel until it has ended there", found["cancel"], limit=Limit("value", 1)),
        Row("closing", found["close"]),
        Row("without sessions: a command, until its end", found["command"]),
        Row("without sessions: a printed line until it is here", found["late without"], limit=Limit("value", 3)),
    ]  # fmt: skip


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Way:
    """A transport to one instance, opened again and again."""

    def __init__(self, instance: str, sessions: str) -> None:
        around = surroundings(env=dict(os.environ), aws__sessions=sessions, aws__bucket="bench")
        region = os.environ["AWS_REGION"]
        self._transport = SsmTransport(Endpoint("ssm", f"{instance}@{region}"), around)
        self.command("true")

    def close(self) -> float:
        """Ending what is open."""
        return seconds(self._transport.close)

    def first_line(self) -> float:
        """A command when nothing is open."""
        self._transport.close()
        begun = time.perf_counter()
        heard: list[float] = []
        self._run(["echo", "hello"], heard=lambda _chunk: heard.append(time.perf_counter() - begun))
        return heard[0]

    def command(self, *argv: str) -> float:
        """A command from its beginning to its end."""
        return seconds(lambda: self._run(list(argv)))

    def lateness(self) -> float:
        """How long a line was on its way; both ends have one clock. The slowest of ten."""
        late: list[float] = []

        def heard(chunk: bytes) -> None:
            now = time.time()
            late.extend(now - float(line) for line in chunk.split())

        self._run(["python3", "-c", SAY_WHEN], heard=heard)
        if len(late) != LINES:
            raise RuntimeError(f"{len(late)} of {LINES} lines arrived")
        return max(late)

    def down(self) -> float:
        """Much output."""
        size = 0

        def heard(chunk: bytes) -> None:
            nonlocal size
            size += len(chunk)

        took = seconds(lambda: self._run(["head", "-c", str(DOWN), "/dev/zero"], heard=heard))
        if size != DOWN:
            raise RuntimeError(f"{size} of {DOWN} bytes arrived")
        return took

    def up(self) -> float:
        """Much input."""
        piece = bytes(100_000)
        stdin = [piece] * (UP // len(piece))
        return seconds(lambda: self._run(["python3", "-c", SWALLOW], stdin=stdin))

    def cancelled(self) -> float:
        """From the cancel until the command has ended there."""
        token, when = CancelToken(), threading.Event()
        begun = 0.0

        def stop(_chunk: bytes) -> None:
            nonlocal begun
            if not when.is_set():
                when.set()
                begun = time.perf_counter()
                token.cancel()

        with contextlib.suppress(Cancelled):
            self._transport.exec(["sh", "-c", "echo on; sleep 300"], on_output=stop, cancel=token)
        return time.perf_counter() - begun

    def _run(self, argv: list[str], *, stdin: list[bytes] | None = None, heard: object = None) -> None:
        listener = heard if callable(heard) else None
        done = self._transport.exec(argv, stdin=stdin or (), on_output=listener, cancel=CancelToken())
        if done.exit_code != 0:
            raise RuntimeError(f"{argv[0]} ended with {done.exit_code}: {done.stderr[-500:]!r}")
