"""A whole sandbox for tests: up by the real command, used through boto3 alone, gone at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from runctl.sandbox import life

SSM_CORE = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
ROLE_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


class SandboxBox:
    """One sandbox below ``base``; ``name`` tells it from others there."""

    def __init__(self, base: Path, name: str = "default") -> None:
        self.base = base
        self.name = name
        self.env = {**os.environ, "RUNCTL_SANDBOX_DIR": str(base), "HOME": str(base / "home")}
        self.values: dict[str, str] = {}
        self._session = boto3.Session()
        self._clients: dict[tuple[Any, ...], Any] = {}

    def runctl(self, *words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        verb, *rest = words
        name = () if "--name" in rest else ("--name", self.name)
        argv = [sys.executable, "-m", "runctl", "sandbox", verb, *name, *rest]
        done = subprocess.run(
            argv, env={**self.env, **more}, capture_output=True, text=True, timeout=90, check=False
        )
        assert not check or done.returncode == 0, done.stderr + self.log()
        return done

    def reset(self) -> None:
        """As ``runctl sandbox reset``, without a process for it."""
        life.ask(life.find(self.base / self.name), "POST", "reset")

    def log(self) -> str:
        path = self.base / self.name / "log"
        return path.read_text() if path.exists() else ""

    def up(self, *words: str) -> SandboxBox:
        self.values = json.loads(self.runctl("up", *words, "--json").stdout)["env"]
        return self

    def client(self, service: str, **more: Any) -> Any:
        """A boto3 client; the same one for the same words, since EC2's takes half a second to make."""
        asked = (service, *sorted(more.items()))
        if asked not in self._clients:
            config = Config(retries={"total_max_attempts": more.pop("attempts", 1)}, read_timeout=30)
            self._clients[asked] = self._session.client(
                service,
                aws_access_key_id=more.pop("key", self.values["AWS_ACCESS_KEY_ID"]),
                aws_secret_access_key=more.pop("secret", self.values["AWS_SECRET_ACCESS_KEY"]),
                aws_session_token=more.pop("token", None),
                region_name=more.pop("region", self.values["AWS_REGION"]),
                endpoint_url=self.values["AWS_ENDPOINT_URL"],
                config=config,
            )
        return self._clients[asked]

    def close(self) -> None:
        for each in self._clients.values():
            each.close()
        self._clients.clear()

    def weather(self, *words: str) -> Any:
        return json.loads(self.runctl("weather", *words, "--json").stdout or "null")

    def role(self, name: str = "node", *, core: bool = True, policy: str = "") -> dict[str, str]:
        """A role for instances in a profile of the same name.

        With ``core``, Systems Manager may have them; ``policy`` is a document that the role has inline.
        """
        iam = self.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=ROLE_TRUST)
        if core:
            iam.attach_role_policy(RoleName=name, PolicyArn=SSM_CORE)
        if policy:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return {"Name": name}

    def image(self) -> str:
        ec2 = self.client("ec2")
        found = ec2.describe_images(Filters=[{"Name": "name", "Values": ["al2023-*-x86_64"]}])["Images"]
        return str(found[0]["ImageId"])

    def launch(self, **more: Any) -> list[str]:
        wanted = {"ImageId": self.image(), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
        return [each["InstanceId"] for each in self.client("ec2").run_instances(**wanted)["Instances"]]

    def state(self, instance: str) -> str:
        found = self.client("ec2").describe_instances(InstanceIds=[instance])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    def wait(self, instance: str, state: str) -> None:
        until(
            lambda: self.state(instance) == state,
            lambda: f"{instance} is {self.state(instance)}, not {state}\n" + self.log(),
        )


def until(done: Callable[[], Any], said: Callable[[], str] = lambda: "", *, seconds: float = 30) -> Any:
    """The first true answer of ``done``, asked again and again."""
    limit = time.monotonic() + seconds
    while not (answer := done()):
        assert time.monotonic() < limit, said() or "it did not happen in time"
        time.sleep(0.03)
    return answer


@contextmanager
def sandbox(base: Path, *words: str, name: str = "default") -> Iterator[SandboxBox]:
    """A sandbox that is up, instances as plain processes unless ``words`` say otherwise; the folder is gone after."""
    box = SandboxBox(base, name)
    try:
        yield box.up(*words)
    finally:
        box.close()
        box.runctl("down")
        assert not (base / name).exists()
