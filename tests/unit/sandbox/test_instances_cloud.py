"""Instances as a client of the whole sandbox sees them, through boto3."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until
from tests.unit.sandbox.instance_world import OBSTACLE, WHY

pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=WHY)


def registered(box: SandboxBox) -> set[str]:
    found = box.client("ssm").describe_instance_information(MaxResults=50)["InstanceInformationList"]
    return {each["InstanceId"] for each in found}


def run(box: SandboxBox, instance: str, *commands: str) -> dict[str, Any]:
    """What a command sent through Systems Manager ended as."""
    ssm = box.client("ssm")
    sent = ssm.send_command(
        InstanceIds=[instance], DocumentName="AWS-RunShellScript", Parameters={"commands": list(commands)}
    )["Command"]["CommandId"]

    def ended() -> dict[str, Any] | None:
        found = ssm.list_command_invocations(CommandId=sent, Details=True)["CommandInvocations"]
        return found[0] if found and found[0]["Status"] not in {"Pending", "InProgress"} else None

    until(ended)
    answer: dict[str, Any] = ssm.get_command_invocation(CommandId=sent, InstanceId=instance)
    return answer


def test_twenty_instances_register_take_commands_and_use_their_role(tmp_path: Path) -> None:
    with sandbox(tmp_path) as box:
        status = json.loads(box.runctl("status", "--json").stdout)
        assert status[0]["weaker"] == []
        profile = box.role()
        started = time.monotonic()
        (first,) = box.launch(IamInstanceProfile=profile, UserData="#!/bin/sh\necho from-user-data\n")
        until(lambda: first in registered(box))
        one = time.monotonic() - started
        more = box.launch(IamInstanceProfile=profile, MinCount=19, MaxCount=19)
        until(lambda: registered(box) == {first, *more}, seconds=60)
        assert one < 10  # 0.3 s on two idle cores
        ask = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
        done = run(box, more[-1], "hostname", f'{sys.executable} -c "{ask}"', "exit 3")
        assert (done["Status"], done["ResponseCode"]) == ("Failed", 3)
        assert done["StandardOutputContent"].startswith("ip-172-31-")
        assert (
            "arn:aws:sts::123456789012:" in done["StandardOutputContent"]
        )  # credentials from the metadata service
        output = box.client("ec2").get_console_output(InstanceId=first)["Output"]
        assert "from-user-data" in output
        box.client("ec2").terminate_instances(InstanceIds=[first, *more])
        box.wait(more[-1], "terminated")


def test_an_instance_shuts_down_as_it_was_told_to(tmp_path: Path) -> None:
    with sandbox(tmp_path) as box:
        profile = box.role()
        (stops,) = box.launch(IamInstanceProfile=profile)
        (ends,) = box.launch(IamInstanceProfile=profile, InstanceInitiatedShutdownBehavior="terminate")
        until(lambda: {stops, ends} <= registered(box))
        for instance in (stops, ends):
            box.client("ssm").send_command(
                InstanceIds=[instance],
                DocumentName="AWS-RunShellScript",
                Parameters={"commands": ["shutdown -h now"]},
            )
        box.wait(stops, "stopped")
        box.wait(ends, "terminated")


def test_an_image_and_a_volume_hold_what_was_written(tmp_path: Path) -> None:
    with sandbox(tmp_path) as box:
        ec2, profile = box.client("ec2"), box.role()
        (maker,) = box.launch(IamInstanceProfile=profile)
        until(lambda: maker in registered(box))
        assert run(box, maker, "echo baked > /opt/word")["Status"] == "Success"
        image = ec2.create_image(InstanceId=maker, Name="baked")["ImageId"]
        until(lambda: ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available")
        until(lambda: maker in registered(box))
        (reader,) = box.launch(ImageId=image, IamInstanceProfile=profile)
        until(lambda: reader in registered(box))
        assert run(box, reader, "cat /opt/word")["StandardOutputContent"] == "baked\n"
        zone = ec2.describe_instances(InstanceIds=[reader])["Reservations"][0]["Instances"][0]["Placement"][
            "AvailabilityZone"
        ]
        volume = ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
        until(lambda: ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available")
        ec2.attach_volume(VolumeId=volume, InstanceId=reader, Device="/dev/sdf")
        done = run(box, reader, "until [ -b /dev/sdf ]; do sleep 0.05; done; blockdev --getsize64 /dev/sdf")
        assert done["StandardOutputContent"] == f"{1 << 30}\n"
