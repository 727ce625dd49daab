"""Ctrl+C in a terminal, at each step: how long until the prompt is back, and what was said."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pexpect

from benchmarks.measure import Limit, Row
from benchmarks.world import RUNCTL, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BACK = Limit("value", 1.0)
PATIENCE = 30.0  # seconds for a step to be reached, and for a prompt that does not come
SETTLE = 0.15  # seconds into the step: somewhere in its middle, not at its first instruction
FILES, FILE_SIZE = 12_000, 60_000  # of the project whose scan is interrupted; 720 MB, seconds to hash

SLEEPER = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
SLOW_SMI = "#!/bin/sh\nsleep 600\n"  # what nvidia-smi does on a machine whose driver hangs


@dataclass(frozen=True)
class Case:
    """Type ``words`` in ``project``, wait for ``event`` (kind, step) in its log, press Ctrl+C."""

    name: str
    words: tuple[str, ...]
    project: Path
    event: tuple[str, str | None]
    env: Mapping[str, str] = field(default_factory=dict)
    after: float = SETTLE


def rows(*, rounds: int) -> list[Row]:
    """One row a step: seconds from the key to the end of the process, the slowest one in the note."""
    with new_world() as world, slow_index() as url:
        result = [_row(world, case, rounds) for case in cases(world, url)]
        world.end_all()
        result += [_row(world, case, rounds) for case in watching(world)]
    return result


def cases(world: World, url: str) -> list[Case]:
    """The steps of ``train``, each made slow."""
    small = world.project("small", {"train.py": SLEEPER})
    large = world.project("large", {"train.py": SLEEPER})
    for number in range(FILES):
        path = large / "data" / f"{number % 100:02d}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * (FILE_SIZE // len(str(number))))
    heavy = world.project("heavy", {"train.py": SLEEPER})
    with (heavy / "big.bin").open("wb") as file:
        file.truncate(1_500_000_000)  # sparse: nothing to read from disk, seconds to hash and to send
    install = world.project("install", {"train.py": SLEEPER, "requirements.txt": "some-package==1.0\n"})
    smi = world.root / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SLOW_SMI)
    smi.chmod(0o755)
    train, index = ("train", "train.py"), {"PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url}
    return [
        Case("scan of 720 MB in 12,000 files", train, large, ("step.started", "scan")),
        Case("one file of 1.5 GB being hashed", train, heavy, ("step.started", "scan")),
        Case(
            "probe of a machine that hangs",
            train,
            small,
            ("step.started", "probe"),
            env=_first_on_path(world, smi),
        ),
        Case("sending 720 MB", train, large, ("step.started", "sync")),
        Case("hand over to the machine", train, small, ("step.started", "launch"), after=0.01),
        Case("install with uv from a slow index", train, install, ("step.started", "environment"), env=index),
        Case(
            "install with pip from a slow index",
            (*train, "--installer", "pip"),
            install,
            ("step.started", "environment"),
            env=index,
        ),
        Case("the script runs", train, small, ("run.changed", "running")),
    ]


def watching(world: World) -> list[Case]:
    """The commands that wait for a run."""
    stubborn = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPER
    project = world.project("stubborn", {"train.py": stubborn})
    name = world.runctl("train", "train.py", "--detach", cwd=project).stdout.decode().strip()
    printed = ("printed", "ready")
    return [
        Case("attach", ("attach", name), project, printed),
        Case("logs -f", ("logs", "-f", name), project, printed),
        Case(
            "cancel, while the script ignores TERM",
            ("cancel", name, "--grace", "600"),
            project,
            ("after", None),
            after=1,
        ),
    ]


def _first_on_path(world: World, program: Path) -> dict[str, str]:
    return {"PATH": f"{program.parent}:{world.env['PATH']}"}


def _row(world: World, case: Case, rounds: int) -> Row:
    samples, answer = [], ""
    for number in range(rounds):
        seconds, answer = _press(world, case, world.root / f"log-{number}.jsonl")
        samples.append(seconds)
        if case.words[0] == "train":  # each round from the same start: nothing runs, nothing has been sent
            world.end_all()
            shutil.rmtree(world.machine / "blobs", ignore_errors=True)
        for path in world.root.glob("log-*.jsonl"):
            path.unlink()
    worst = max(samples)
    limit = (
        Limit("value", 0) if worst >= BACK.bound else BACK
    )  # "at every step" is about the slowest, not the median
    return Row(case.name, tuple(samples), limit=limit, note=f"slowest {worst:.2f} s; {answer}")


def _press(world: World, case: Case, log: Path) -> tuple[float, str]:
    """Seconds from Ctrl+C to the end of the process, and the first words that were said."""
    env = {**world.env, **case.env}
    words = [*case.words, "--log-file", str(log)]
    child = pexpect.spawn(
        str(RUNCTL),
        words,
        cwd=str(case.project),
        env=env,
        timeout=PATIENCE,
        dimensions=(40, 120),
        encoding="utf-8",
    )
    screen = _Screen(child)
    _reach(case, log, screen)
    time.sleep(case.after)
    assert child.isalive(), screen.text
    before = len(screen.text)
    begun = time.perf_counter()
    child.sendintr()
    screen.read_to_end()
    child.wait()
    seconds = time.perf_counter() - begun
    return seconds, f"{said(screen.text[before:])!r}, exit status {child.exitstatus}"


def said(text: str) -> str:
    """The first words a person reads in what a terminal was sent. Pure."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\^C", "", text)
    words = [line.strip() for line in re.split(r"[\r\n]+", plain)]
    return next((line for line in words if re.match(r"[A-Za-z]{3}", line)), "")


class _Screen:
    """Reads a terminal all the time, as a terminal does: a program that draws never waits for its reader."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self.text = ""
        self._child = child
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(pexpect.EOF, OSError):
            while True:
                with contextlib.suppress(pexpect.TIMEOUT):
                    self.text += self._child.read_nonblocking(65536, timeout=PATIENCE)

    def read_to_end(self) -> None:
        self._thread.join(PATIENCE)


def _reach(case: Case, log: Path, screen: _Screen) -> None:
    """Wait until the program is where it is to be interrupted."""
    deadline = time.monotonic() + PATIENCE
    kind, step = case.event
    while kind != "after":
        if kind == "printed" and step is not None and step in screen.text:
            return
        if log.exists() and any(_is(line, kind, step) for line in log.read_text().splitlines()):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{case.name}: never saw {case.event}:\n{screen.text}")
        time.sleep(0.005)


def _is(line: str, kind: str, step: str | None) -> bool:
    try:
        record = json.loads(line)
    except ValueError:  # half a line
        return False
    return bool(record["event"] == kind and record.get("state" if kind == "run.changed" else "step") == step)


@contextlib.contextmanager
def slow_index() -> Iterator[str]:
    """A package index that takes every question and answers none."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ended.wait()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
