"""100 MB of output at full speed: is the script slowed, does every byte arrive, how much memory does that take."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import threading
from pathlib import Path
from typing import Self

from benchmarks.measure import Limit, Row, in_turns
from benchmarks.world import PYTHON, RUNCTL, World, new_world

SIZE = 100_000_000
LINE = b"%09d " + b"x" * 89 + b"\n"  # 100 bytes
MEMORY = Limit("value", 100)
SAMPLE_EVERY = 0.005  # seconds between two looks at /proc

# The script times itself, so that neither its start nor its end is in the figure, and stays a moment for the
# memory of whoever still reads to be seen at its highest.
CHUNKS = """
import sys, time
line = b"%09d " + b"x" * 89 + b"\\n"
blocks = [b"".join(line % i for i in range(at, at + 10_000)) for at in range(0, 1_000_000, 10_000)]
begun = time.perf_counter()
for block in blocks:
    view = memoryview(block)
    while view:
        view = view[sys.stdout.buffer.write(view):]
sys.stdout.flush()
open(sys.argv[1], "w").write(str(time.perf_counter() - begun))
"""
LINES = """
import sys, time
tail = "x" * 89
begun = time.perf_counter()
for number in range(1_000_000):
    print(f"{number:09d} {tail}")
sys.stdout.flush()
open(sys.argv[1], "w").write(str(time.perf_counter() - begun))
"""


def rows(*, rounds: int) -> list[Row]:
    """The script's own time beside the same script writing to a file, and the peak memory of each process of ours.

    Memory is taken in runs of its own: looking for it costs time on a machine with few processors.
    """
    with new_world() as world:
        flood = Flood(world)
        found = in_turns(
            {
                "file": lambda: flood.to_file("chunks.py"),
                "runctl": lambda: flood.through_runctl("chunks.py"),
                "print file": lambda: flood.to_file("lines.py"),
                "print runctl": lambda: flood.through_runctl("lines.py"),
                "buffered": lambda: flood.to_file("lines.py", PYTHONUNBUFFERED=""),
            },
            rounds=rounds,
        )
        peaks: dict[str, list[float]] = {"client": [], "follow": [], "supervisor": []}
        for _ in range(rounds):
            flood.through_runctl("chunks.py", peaks)
    floor, prints = Row("script > file, in blocks of 1 MB", found["file"]), Row("", found["print file"]).value
    arrived = "; ".join(flood.wrong) or "every byte, in order"
    limit = Limit("ratio", 0 if flood.wrong else 1.1)  # a lost byte is a missed target, however fast
    under = "the same under runctl train | reader"
    return [
        floor,
        Row(under, found["runctl"], floor=floor.value, limit=limit, note=arrived),
        Row(
            "a million print(), unbuffered: script > file",
            found["print file"],
            note="PYTHONUNBUFFERED=1, as in a run",
        ),
        Row(under, found["print runctl"], floor=prints, limit=limit, note=arrived),
        Row(
            "a million print(), buffered: script > file",
            found["buffered"],
            note="what live output costs print()",
        ),
        *(Row(f"peak memory: {name}", tuple(mb), "MB", limit=MEMORY) for name, mb in peaks.items()),
    ]


class Flood:
    """Runs the scripts both ways; remembers in ``wrong`` what did not arrive."""

    def __init__(self, world: World) -> None:
        self.wrong: list[str] = []
        self._world = world
        self._project = world.project("flood", {"chunks.py": CHUNKS, "lines.py": LINES})
        self._seconds = world.root / "seconds"

    def to_file(self, script: str, **env: str) -> float:
        """The script's own time, its output appended to a file, with the variable it has under runctl, too."""
        target = self._world.root / "direct.log"
        os.sync()  # or this one waits for what the last one left to be written
        argv = [PYTHON, script, str(self._seconds)]
        with target.open("ab") as output:
            given = {**self._world.env, "PYTHONUNBUFFERED": "1", **env}
            subprocess.run(argv, cwd=self._project, env=given, stdout=output, check=True)
        target.unlink()
        return float(self._seconds.read_text())

    def through_runctl(self, script: str, peaks: dict[str, list[float]] | None = None) -> float:
        """The script's own time under ``runctl train``, whose stdout is read through a pipe and compared."""
        os.sync()
        client = subprocess.Popen(
            [RUNCTL, "train", script, "--", str(self._seconds)],
            cwd=self._project,
            env=self._world.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdout is not None
        with contextlib.nullcontext() if peaks is None else MemoryWatch(client.pid, self._world.root, peaks):
            digest, size = hashlib.sha256(), 0
            while chunk := os.read(client.stdout.fileno(), 1 << 20):
                digest.update(chunk)
                size += len(chunk)
            client.wait()
        client.stdout.close()
        if client.returncode or size != SIZE or digest.digest() != _expected():
            self.wrong.append(f"{script}: status {client.returncode}, {size:,} of {SIZE:,} bytes")
        self._world.runctl("rm", "latest", "--yes")
        return float(self._seconds.read_text())


_digest: list[bytes] = []


def _expected() -> bytes:
    if not _digest:
        state = hashlib.sha256()
        for number in range(SIZE // 100):
            state.update(LINE % number)
        _digest.append(state.digest())
    return _digest[0]


class MemoryWatch:
    """The peak resident size (``VmHWM``) of the client and of the agent's processes in a world, while it is open.

    Appends MB to ``peaks`` by name when it is closed.
    """

    def __init__(self, client: int, root: Path, peaks: dict[str, list[float]]) -> None:
        self._peaks = peaks
        self._root = str(root).encode()
        self._found = {client: "client"}
        self._high: dict[str, int] = {}
        self._seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for name, kilobytes in self._high.items():
            self._peaks[name].append(kilobytes / 1024)

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY):
            self._look_for_others()
            for pid, name in self._found.items():
                self._high[name] = max(self._high.get(name, 0), _high_water(pid))

    def _look_for_others(self) -> None:
        """The agent's processes: the loader's last word is the command, and the world's folder is in its variables."""
        for name in os.listdir("/proc"):
            if not name.isdigit() or name in self._seen:
                continue
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")[:-1]
                ours = (
                    words[1:3] == [b"-I", b"-S"] and self._root in Path(f"/proc/{name}/environ").read_bytes()
                )
            except OSError:
                continue
            if ours and words[-1] in (b"follow", b"launch"):
                self._found[int(name)] = "follow" if words[-1] == b"follow" else "supervisor"
                self._seen.add(name)


def _high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
