"""A user with an AWS account that is a sandbox: the real program, the account set up by its own command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import Result, World
from tests.unit.aws.aws_world import blow
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until
from tests.unit.sandbox.iam_world import user

# Trains nothing, but saves real checkpoints, resumes from them, and saves once more when it is told to end.
SCRIPT = """
import json, os, signal, struct, sys, time
folder = os.environ["RUNCTL_CHECKPOINT_DIR"]
steps, pause = int(sys.argv[1]), float(sys.argv[2])
def save(step):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = os.path.join(folder, "step-%d.safetensors" % step)
    with open(path + ".tmp", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + struct.pack("<f", step))
    os.replace(path + ".tmp", path)
start = 0
resumed = os.environ.get("RUNCTL_RESUME_PATH")
if resumed:
    with open(resumed, "rb") as file:
        start = int(struct.unpack("<f", file.read()[-4:])[0])
    print("resumed at", start, flush=True)
def term(*_):
    save(step)
    print("saved", step, flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, term)
for step in range(start, steps):
    time.sleep(pause)
    print("step", step, flush=True)
    if step % 5 == 4:
        save(step + 1)
print("done in", os.environ["RUNCTL_ATTEMPT"], flush=True)
"""


@dataclass
class Account:
    """The sandbox, and computers whose environment leads to it."""

    box: SandboxBox

    def computer(self, root: Path) -> World:
        """A computer of its own: home, state, cache."""
        home = root / "home"
        home.mkdir(parents=True, exist_ok=True)
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR", "PYTHONPATH")}
        return World(root, {**keep, **self.box.values, "HOME": str(home), "TERM": "xterm"})

    def blow(self, kind: str, **rule: Any) -> None:
        """Put weather in force."""
        blow(self.box, kind, **rule)

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """Those in the states, or in any but terminated."""
        wanted = states or ("pending", "running", "stopping", "stopped", "shutting-down")
        pages = self.box.client("ec2").get_paginator("describe_instances").paginate()
        every = [each for page in pages for group in page["Reservations"] for each in group["Instances"]]
        return [each for each in every if each["State"]["Name"] in wanted]

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Everything in every bucket."""
        s3 = self.box.client("s3")
        for bucket in s3.list_buckets()["Buckets"]:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
                for each in page.get("Contents", ()):
                    body = s3.get_object(Bucket=bucket["Name"], Key=each["Key"])["Body"]
                    yield each["Key"], body.read()


@contextmanager
def account(base: Path, *words: str) -> Iterator[Account]:
    """An account that is set up as a user would."""
    with sandbox(base, *words) as box:
        owner = Account(box)
        done = owner.computer(base / "owner").runctl("aws", "setup", "--yes")
        assert done.code == 0, done.err
        yield owner


def with_policy(aws: Account, folder: Path, name: str, statements: list[dict[str, Any]]) -> World:
    """Somebody's computer, with the keys of a user who has this managed policy."""
    iam, person = aws.box.client("iam"), user(aws.box, name)
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    arn = iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    world = aws.computer(folder / name)
    world.env |= {"AWS_ACCESS_KEY_ID": person.keys["key"], "AWS_SECRET_ACCESS_KEY": person.keys["secret"]}
    return world


@dataclass
class Client:
    """A ``runctl`` command that goes on beside the test."""

    process: subprocess.Popen[str]
    lines: list[str]

    @classmethod
    def start(cls, world: World, *args: str, cwd: Path) -> Client:
        process = subprocess.Popen(
            world.argv(*args),
            cwd=cwd,
            env=world.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        client = cls(process, [])
        threading.Thread(target=client._read, daemon=True).start()
        return client

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in pipe:
                self.lines.append(line)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def see(self, words: str, *, seconds: float = 60) -> None:
        """Wait until it printed ``words``."""
        until(
            lambda: words in self.text or self.process.poll() is not None, lambda: self.text, seconds=seconds
        )
        assert words in self.text, self.text

    def end(self, number: int = signal.SIGINT) -> float:
        """Send a signal to it alone; the seconds it then took to end."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - begun

    def result(self, *, seconds: float = 90) -> Result:
        """Its end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.text) from None
        return Result(code, self.text, "")


def debts(world: World) -> list[Any]:
    """What the ledger of a computer says may be owed."""
    found: list[Any] = json.loads(world.runctl("clean", "--dry-run", "--json").out)
    return found


def forget(world: World) -> None:
    """As if everything runctl knew on this computer were lost."""
    shutil.rmtree(world.home / ".local", ignore_errors=True)
