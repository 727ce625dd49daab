"""Runs that machines of the sandbox begin by themselves: put into a bucket, bought with user data, watched through S3."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

from runctl.aws.names import Names
from runctl.aws.policies import instance_policy
from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.events import Event
from runctl.core.ports import Store
from runctl.engine import boot
from runctl.engine.code_store import send_code
from runctl.engine.plan import CodePlan
from runctl.project.files import list_files
from runctl.project.root import Root
from runctl.project.snapshot import take
from runctl.registry import store as store_at
from runctl.testing.surroundings import surroundings

BUCKET, PREFIX = "memory", "runctl"
LEASE = 600  # seconds


def init_of(instance: str) -> int:
    """The pid, seen from here, of an instance's first process; 0 when it is not up."""
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and _is_init(int(name), instance):
                return int(name)
        except OSError:
            continue
    return 0


def _is_init(pid: int, instance: str) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    inner = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    if inner[-1] != "1" or len(inner) < 2:
        return False
    return instance in Path(f"/proc/{pid}/root/run/runctl/boot.json").read_text()


class Cloud:
    """A sandbox with a bucket and a role, and what tests do to runs in it."""

    def __init__(self, box: SandboxBox, store: Store, folder: Path) -> None:
        self.box = box
        self.folder = folder
        self.store = store
        self.s3 = box.client("s3")
        self.image = ""

    def prepare(self) -> None:
        """After a reset: bucket, role, agent."""
        self.s3.create_bucket(Bucket=BUCKET)
        names = Names("123456789012", self.box.values["AWS_REGION"], BUCKET, PREFIX, "machine", "machine")
        # the rights that ``runctl aws setup`` gives machines, and no more
        self.box.role("machine", core=False, policy=json.dumps(instance_policy(names)))
        boot.send_agent(self.store, CancelToken())
        self.image = self.box.image()

    def run(self, name: str, source: str, **more: Any) -> Run:
        return Run(self, name, source, **more)


class Run:
    """One attempt: what is put into the bucket for it, its machine, and what comes back."""

    def __init__(
        self, cloud: Cloud, name: str, source: str, *, files: dict[str, bytes] | None = None, **request: Any
    ) -> None:
        self.cloud, self.name = cloud, name
        self.attempt = request.pop("attempt", 1)
        self.prefix = f"runs/{name}/{self.attempt}/"
        self.project = cloud.folder / f"{name}-{self.attempt}"
        for path, data in {"training/train.py": source.encode(), **(files or {})}.items():
            (self.project / path).parent.mkdir(parents=True, exist_ok=True)
            (self.project / path).write_bytes(data)
        root = Root(self.project, "", None)
        self.snapshot = take(root, list_files(root, env={"HOME": "/nonexistent"}))
        self.request = {
            "v": 1, "run": name, "name": f"name-of-{name}", "attempt": self.attempt,
            "tree_digest": self.snapshot.digest, "script": "training/train.py", "args": [], "env": {},
            "environment": None, "deps": "wait", "max_hours": None, "grace": 5, "exclusive": True,
            "resume_from": None, **request,
        }  # fmt: skip
        self.instance = ""

    def send(self) -> Run:
        """The request and the code, as a client would; the code comes last."""
        self.put("request.json", self.request)
        self.send_code()
        return self

    def send_code(self) -> None:
        code = CodePlan(self.project, "", self.snapshot, (), ())
        env = {"HOME": str(self.cloud.folder)}
        deaf: list[Event] = []
        send_code(
            code, self.cloud.store, env=env, emit=deaf.append, clock=SystemClock(), cancel=CancelToken()
        )

    def put(self, name: str, value: Any, *, whole: bool = False) -> None:
        """Write JSON below the attempt, or below the run when ``whole``."""
        prefix = f"runs/{self.name}/" if whole else self.prefix
        self.cloud.store.put(prefix + name, json.dumps(value).encode(), cancel=CancelToken())

    def buy(self, *, lease: int = LEASE, release: str = "terminate", spot: bool = False) -> Run:
        data = boot.user_data(
            self.cloud.store.access(),
            run=self.name,
            attempt=self.attempt,
            lease_seconds=lease,
            release=release,
        )
        market = {"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}
        (self.instance,) = self.cloud.box.launch(
            ImageId=self.cloud.image,
            IamInstanceProfile={"Name": "machine"},
            InstanceInitiatedShutdownBehavior="terminate",
            UserData=data,
            **market,
        )
        return self

    def begin(self, **more: Any) -> Run:
        return self.send().buy(**more)

    def object(self, name: str) -> bytes | None:
        """An object below the attempt; None when there is none."""
        try:
            found: bytes = self.cloud.s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{self.prefix}{name}")[
                "Body"
            ].read()
        except self.cloud.s3.exceptions.NoSuchKey:
            return None
        return found

    def json(self, name: str) -> dict[str, Any]:
        """The same, understood; empty when there is none."""
        found: dict[str, Any] = json.loads(self.object(name) or b"{}")
        return found

    def keys(self, below: str = "") -> list[str]:
        """What is below the attempt, without its prefix."""
        prefix = f"{PREFIX}/{self.prefix}"
        pages = self.cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + below)
        return [each["Key"][len(prefix) :] for page in pages for each in page.get("Contents", [])]

    def grown(self, kind: str) -> bytes:
        """Output or events out of their segments, each of which begins where the one before ended."""
        data = b""
        for key in self.keys(f"{kind}/"):
            assert int(key.rpartition("/")[2]) == len(data), key
            piece = self.object(key)
            assert piece is not None
            data += piece
        return data

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.grown("events").splitlines()]
        return [each for each in found if not kind or each["kind"] == kind]

    def status(self) -> dict[str, Any]:
        return self.json("status.json")

    def says(self, text: bytes, seconds: float = 30) -> None:
        """It is in the store, and so is, a moment later, the status."""
        until(lambda: text in self.grown("output"), self.told, seconds=seconds)
        until(lambda: self.status().get("state") in ("running", "ended"), self.told)

    def ended(self, seconds: float = 40) -> dict[str, Any]:
        """The status once it says so."""
        until(lambda: self.status().get("state") == "ended", self.told, seconds=seconds)
        return self.status()

    def gone(self, seconds: float = 40) -> None:
        """The machine has terminated itself."""
        until(lambda: self.cloud.box.state(self.instance) == "terminated", self.told, seconds=seconds)

    def told(self) -> str:
        """Everything that helps to understand."""
        console = self.cloud.box.client("ec2").get_console_output(InstanceId=self.instance).get("Output")
        seen = {name: self.json(name) for name in ("status.json", "heartbeat.json")}
        log = self.log() or ""
        return f"{self.keys()}\n{seen}\n{self.grown('events').decode()}\n{console}\n{log}"

    def log(self) -> str:
        """The keeper's own log, from the machine's disk."""
        path = self.inside(f"/root/.runctl/runs/{self.name}/keeper.log")
        return path.read_text() if path is not None and path.exists() else ""

    def init(self) -> int:
        """The pid, seen from here, of the machine's first process; 0 when it is not up."""
        return init_of(self.instance)

    def inside(self, path: str) -> Path | None:
        """A path of the machine's own disk, as seen from here; None while it is not up."""
        pid = self.init()
        return Path(f"/proc/{pid}/root{path}") if pid else None

    def alive(self) -> bool:
        """Whether the script runs."""
        return bool(self.outer(self.status()["pid"]))

    def touch(self, name: str) -> None:
        """Make an empty file in the script's working directory."""
        path = self.inside(f"/root/.runctl/runs/{self.name}/code/{name}")
        assert path is not None
        path.touch()

    def keeper(self) -> dict[str, Any]:
        """The keeper's own note: its pid and its guardian's, as the machine counts them."""
        path = self.inside(f"/root/.runctl/runs/{self.name}/keeper.json")
        try:
            return dict(json.loads(path.read_text())) if path is not None else {}
        except (OSError, ValueError):
            return {}

    def outer(self, pid: int) -> int:
        """The pid, seen from here, of a process of the machine."""
        space = os.readlink(f"/proc/{self.init()}/ns/pid")
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == space:
                    line = [
                        x
                        for x in Path(f"/proc/{name}/status").read_text().splitlines()
                        if x.startswith("NSpid:")
                    ]
                    if int(line[0].split()[-1]) == pid:
                        return int(name)
            except OSError:
                continue
        raise AssertionError(f"no process {pid} on {self.instance}")

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        os.kill(self.outer(pid), number)


@contextmanager
def cloud(base: Path, *words: str) -> Iterator[Cloud]:
    """A sandbox with real instances, and the client's view of its bucket."""
    with sandbox(base, *words) as box, pytest.MonkeyPatch.context() as patch:
        for name, value in box.values.items():
            patch.setenv(name, value)
        around = surroundings(aws__region="us-east-1")
        found = Cloud(box, store_at(f"s3://{BUCKET}/{PREFIX}", around), base)
        try:
            yield found
        finally:
            for client in around.shared["aws"]._clients.values() if around.shared else ():
                client.close()
