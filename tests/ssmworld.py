"""A sandbox with one instance that Systems Manager reaches, and transports to it as a user's computer makes them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.aws.aws_world import Heard, blow, environment
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

from runctl.core.model import Endpoint
from runctl.testing.surroundings import surroundings
from runctl.transports.ssm.transport import SsmTransport


@dataclass
class SsmWorld:
    """Instances are plain processes: their files are this computer's files."""

    box: SandboxBox

    def boot(self, *, wait: bool = True, profile: bool = True) -> str:
        more: dict[str, Any] = {"IamInstanceProfile": {"Name": "node"}} if profile else {}
        (instance,) = self.box.launch(**more)
        if wait:
            until(lambda: self.online(instance), lambda: f"{instance} never registered\n{self.box.log()}")
        return instance

    def only(self) -> str:
        """The instance there is."""
        (found,) = self.box.client("ssm").describe_instance_information()["InstanceInformationList"]
        return str(found["InstanceId"])

    def online(self, instance: str) -> bool:
        answer = self.box.client("ssm").get_connection_status(Target=instance)
        return bool(answer["Status"] == "connected")

    def terminate(self, instance: str) -> None:
        self.box.client("ec2").terminate_instances(InstanceIds=[instance])

    def bucket(self) -> str:
        self.box.client("s3").create_bucket(Bucket="parcels")
        return "parcels"

    def blow(self, kind: str, **rule: Any) -> None:
        blow(self.box, kind, **rule)

    @contextmanager
    def transport(
        self, instance: str, *, heard: Heard | None = None, **settings: Any
    ) -> Iterator[SsmTransport]:
        around = surroundings(env=self.box.values, emit=heard, **settings)
        transport = SsmTransport(Endpoint("ssm", f"{instance}@us-east-1"), around)
        try:
            yield transport
        finally:
            transport.close()
            for client in around.shared["aws"]._clients.values():
                client.close()


@contextmanager
def ssm_world(base: Path) -> Iterator[SsmWorld]:
    with sandbox(base, "--plain") as box:
        box.role()
        with environment(box, base):
            yield SsmWorld(box)


def processes(word: str) -> list[str]:
    """The command lines on this computer that hold a word."""
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if word in line and "ps -eo" not in line]
