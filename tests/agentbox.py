"""A machine in a folder, spoken to as the client does: the real bundle, a real interpreter, the real loader."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runctl.engine.bundle import LOADER, bundle

DEADLINE = 20.0  # seconds a test waits for anything


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Poll until ``condition()`` is true; its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@dataclass
class Followed:
    """What a follower was sent, taken apart."""

    output: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.statuses[-1]

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]


def frames(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """The frames in a complete stream."""
    while data:
        header, _, data = data.partition(b"\n")
        kind, offset, length = header.decode().split()
        yield kind, int(offset), data[: int(length)]
        assert len(data) >= int(length), "a torn frame"
        data = data[int(length) :]


def understood(data: bytes) -> Followed:
    """A complete stream, checked: every offset continues where the last frame of its kind ended."""
    found = Followed()
    at: dict[str, int | None] = {"O": None, "E": None}
    for kind, offset, body in frames(data):
        if kind in at:
            assert at[kind] in (None, offset), (kind, offset, at[kind])
            at[kind] = offset + len(body)
        if kind == "O":
            found.output += body
        elif kind == "E":
            assert body.endswith(b"\n")
            found.events += [json.loads(line) for line in body.splitlines()]
        elif kind == "S":
            found.statuses.append(json.loads(body))
        elif kind == "N":
            found.notices.append(json.loads(body))
            at["O"] = None
        else:
            assert kind == "H"
            assert body == b""
    return found


def entry(path: str, data: bytes, *, executable: bool = False) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"path": path, "type": "file", "digest": digest, "size": len(data), "exec": executable}


def tree_digest(entries: list[dict[str, Any]]) -> str:
    """The definition of docs/architecture.md, written a second time."""
    state = hashlib.sha256()
    for item in sorted(entries, key=lambda e: e["path"].encode("utf-8", "surrogateescape")):
        mark = {"file": "x" if item.get("exec") else "f", "link": "l", "dir": "d"}[item["type"]]
        value = {"file": item.get("digest"), "link": item.get("target"), "dir": ""}[item["type"]]
        state.update(f"{mark}\0{item['path']}\0{value}\0".encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def packed(*contents: bytes) -> bytes:
    """What ``receive`` reads."""
    return b"".join(b"%s %d\n%s" % (hashlib.sha256(c).hexdigest().encode(), len(c), c) for c in contents)


class AgentError(Exception):
    """The agent answered with a failure."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(json.dumps(error)[:3000])
        self.code: str = error["code"]
        self.facts: dict[str, Any] = error["facts"]


class AgentBox:
    """One machine's home and the agent on it."""

    def __init__(self, home: Path, python: str = sys.executable) -> None:
        self.home = home
        self.python = python
        self.view = home  # where the test finds the files
        self.prefix: list[str] = []  # argv in front of the agent's: another namespace
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("RUNCTL_")}
        self.env["PATH"] = os.pathsep.join([os.path.dirname(python), self.env.get("PATH", os.defpath)])
        self.env.pop("VIRTUAL_ENV", None)

    def argv(self, command: str) -> list[str]:
        return [*self.prefix, self.python, "-I", "-S", "-c", LOADER, bundle().digest, str(self.home), command]

    def stdin(self, request: Any, body: bytes = b"", *, keep: bool = True) -> bytes:
        source = bundle().packed
        line = request if isinstance(request, bytes) else json.dumps(request).encode()
        return b"%d %d\n" % (len(source), keep) + source + line + b"\n" + body

    def raw(self, command: str, stdin: bytes, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(command),
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
            **{"env": self.env, **more},
        )

    def call(self, command: str, request: Any, body: bytes = b"", *, keep: bool = True) -> dict[str, Any]:
        done = self.raw(command, self.stdin(request, body, keep=keep))
        assert done.stdout.endswith(b"\n"), (done.returncode, done.stderr.decode())
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == (1 if "error" in answer else 0)
        if "error" in answer:
            raise AgentError(answer["error"])
        return answer

    def request(
        self, run: str, source: str = "", *, files: dict[str, bytes] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A run of ``source`` as ``training/train.py``; sends what it needs."""
        contents = {"training/train.py": source.encode(), **(files or {})}
        tree = [entry(path, data) for path, data in contents.items()]
        self.call("receive", {}, packed(*contents.values()))
        request = {
            "v": 1,
            "run": run,
            "name": f"name-of-{run}",
            "attempt": 1,
            "tree": tree,
            "tree_digest": tree_digest(tree),
            "script": "training/train.py",
            "args": [],
            "env": {},
            "environment": None,
            "deps": "wait",
            "max_hours": None,
            "grace": 5,
            "exclusive": False,
            "resume_from": None,
        }
        return {**request, **more}

    def launch(self, run: str, source: str = "", **more: Any) -> dict[str, Any]:
        return self.call("launch", self.request(run, source, **more))

    def follow(self, run: str, **more: Any) -> Followed:
        request = {"run": run, "output": 0, "events": 0, "wait": True, **more}
        done = self.raw("follow", self.stdin(request))
        if done.stdout.startswith(b"{"):
            raise AgentError(json.loads(done.stdout)["error"])
        assert done.returncode == 0, done.stderr.decode()
        return understood(done.stdout)

    def whole(self, run: str, source: str, **more: Any) -> Followed:
        """Launch and follow to the end."""
        self.launch(run, source, **more)
        return self.follow(run)

    def status(self, run: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.call("status", {"runs": [run]})["runs"]
        return found[0]

    def cancel(self, run: str, grace: float = 5, reason: str = "asked to") -> dict[str, Any]:
        status: dict[str, Any] = self.call("cancel", {"run": run, "grace": grace, "reason": reason})["status"]
        return status

    def folder(self, run: str) -> Path:
        return self.view / "runs" / run

    def output(self, run: str) -> bytes:
        path = self.folder(run) / "output.log"
        return path.read_bytes() if path.exists() else b""

    def says(self, run: str, text: bytes) -> None:
        """Wait until the script has printed ``text``."""
        until(lambda: text in self.output(run), f"{run} prints {text!r}")

    def running(self, run: str) -> dict[str, Any]:
        status: dict[str, Any] = until(
            lambda: (s := self.status(run))["state"] == "running" and s, f"{run} runs"
        )
        return status

    def ended(self, run: str) -> dict[str, Any]:
        status: dict[str, Any] = until(
            lambda: (s := self.status(run))["state"] == "ended" and s, f"{run} ends"
        )
        return status

    def processes(self) -> list[int]:
        """Whatever still runs here: by the home in its arguments, its environment or its working directory."""
        found = []
        home = os.fsencode(self.home)
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid() or not alive(int(name)):
                continue
            try:
                seen = Path(f"/proc/{name}/cmdline").read_bytes() + Path(f"/proc/{name}/environ").read_bytes()
                seen += os.fsencode(os.readlink(f"/proc/{name}/cwd"))
            except OSError:
                continue
            if home in seen:
                found.append(int(name))
        return found

    def check_nothing_left(self) -> None:
        """Fail, and end it, when a process of this machine outlived the test."""
        try:
            until(lambda: not self.processes(), "everything has ended", 5)
        except AssertionError:
            left = self.processes()
            shown = [Path(f"/proc/{pid}/cmdline").read_bytes()[-300:] for pid in left]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left behind: {shown}") from None
