"""The sandbox's life: up, instances that Systems Manager knows, commands, live sessions; through boto3 and `websockets`."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

from tests.ssmclient import Client

from benchmarks.cloud import Cloud, new_cloud, seconds, until
from benchmarks.measure import Limit, Row, in_turns
from benchmarks.world import new_world

if TYPE_CHECKING:
    from benchmarks.world import World

AT_ONCE = 20
FLOOD = 30_000_000  # bytes through a session
SESSION = "AWS-StartNonInteractiveCommand"
CORE = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def rows(*, rounds: int) -> list[Row]:
    """Seconds for each, boot time 0; an instance counts once DescribeInstanceInformation lists it."""
    with new_world() as world:
        lives = Lives(world)
        life = in_turns({"up": lives.up, "ec2": lives.ec2, "down": lives.down}, rounds=rounds)
        with new_cloud(world) as cloud:
            fleet = Fleet(cloud)
            found = in_turns(
                {
                    "boot": partial(fleet.boots, 1),
                    "twenty": partial(fleet.boots, AT_ONCE),
                    "command": fleet.command,
                    "line": fleet.first_line,
                    "flood": fleet.flood,
                },
                rounds=rounds,
            )
    flood = Row("", found["flood"]).value
    return [
        Row("runctl sandbox up", life["up"], limit=Limit("value", 2)),
        Row("the first answer of EC2 after it", life["ec2"], note="moto is loaded meanwhile"),
        Row("runctl sandbox down", life["down"]),
        Row("RunInstances until registered", found["boot"], limit=Limit("value", 1)),
        Row(f"the same, {AT_ONCE} at once", found["twenty"], note=f"all {AT_ONCE} registered"),
        Row("SendCommand `true` until Success", found["command"], limit=Limit("value", 0.1)),
        Row("StartSession until the first line", found["line"], limit=Limit("value", 0.15)),
        Row(
            f"{FLOOD // 1_000_000} MB through a session", found["flood"],
            limit=Limit("value", FLOOD / 10e6), note=f"{FLOOD / 1e6 / flood:.0f} MB/s, Python client",
        ),
    ]  # fmt: skip


class Lives:
    """A sandbox that comes up, answers and goes, again and again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cloud: Cloud | None = None

    def up(self) -> float:
        """The command, until it returns."""
        begun = time.perf_counter()
        self._cloud = Cloud(self._world, "life")
        return time.perf_counter() - begun

    def ec2(self) -> float:
        """The first question to EC2."""
        client = self._up.client("ec2")
        return seconds(client.describe_instances)

    def down(self) -> float:
        """The command, until it returns."""
        return seconds(self._up.down)

    @property
    def _up(self) -> Cloud:
        assert self._cloud is not None
        return self._cloud


class Fleet:
    """Instances of one sandbox with a profile for Systems Manager; one of them takes commands and sessions."""

    def __init__(self, cloud: Cloud) -> None:
        self._ec2, self._ssm = cloud.client("ec2"), cloud.client("ssm")
        iam = cloud.client("iam")
        iam.create_role(RoleName="node", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.attach_role_policy(RoleName="node", PolicyArn=CORE)
        iam.create_instance_profile(InstanceProfileName="node")
        iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
        self._image = self._ec2.describe_images()["Images"][0]["ImageId"]
        (self.instance,) = self._launch(1)
        until(lambda: self._ssm.get_connection_status(Target=self.instance)["Status"] == "connected")

    def boots(self, count: int) -> float:
        """From RunInstances until all of them are registered; afterwards they are terminated, and gone for good."""
        begun = time.perf_counter()
        instances = self._launch(count)
        took = time.perf_counter() - begun
        self._ec2.terminate_instances(InstanceIds=instances)
        self._ec2.get_waiter("instance_terminated").wait(
            InstanceIds=instances, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        return took

    def command(self) -> float:
        """From SendCommand until its success is seen."""
        return seconds(self._command)

    def first_line(self, command: str = "echo hello") -> float:
        """From StartSession until the first byte of its output."""
        return self._session(command).first_output

    def flood(self, size: int = FLOOD) -> float:
        """From StartSession until the end of a session that had much to say."""
        done: list[Client] = []
        took = seconds(lambda: done.append(self._session(f"head -c {size} /dev/zero")))
        if len(done[0].stdout) != size:
            raise RuntimeError(f"{len(done[0].stdout)} of {size} bytes arrived")
        return took

    def _launch(self, count: int) -> list[str]:
        made = self._ec2.run_instances(
            ImageId=self._image, InstanceType="t3.micro", MinCount=count, MaxCount=count,
            IamInstanceProfile={"Name": "node"},
        )["Instances"]  # fmt: skip
        instances = [str(each["InstanceId"]) for each in made]
        until(lambda: set(instances) <= self._registered())
        return instances

    def _registered(self) -> set[str]:
        found = self._ssm.describe_instance_information(MaxResults=50)["InstanceInformationList"]
        return {each["InstanceId"] for each in found if each["PingStatus"] == "Online"}

    def _command(self) -> None:
        sent = self._ssm.send_command(
            InstanceIds=[self.instance], DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}
        )["Command"]["CommandId"]

        def ended() -> bool:
            found = self._ssm.list_command_invocations(CommandId=sent)["CommandInvocations"]
            return bool(found) and found[0]["Status"] not in {"Pending", "InProgress"}

        until(ended)
        status = self._ssm.list_command_invocations(CommandId=sent)["CommandInvocations"][0]["Status"]
        if status != "Success":
            raise RuntimeError(f"the command ended as {status}")

    def _session(self, command: str) -> Client:
        return Client(self._ssm, self.instance, SESSION, command=command).wait(90)
