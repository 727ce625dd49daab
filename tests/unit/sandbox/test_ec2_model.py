"""Random lives of instances and volumes, asked of the sandbox and of moto: the same comes of them, or moto is known wrong."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox
from tests.unit.sandbox.twin import Difference, Named, Twin

NAMES = {"InstanceId", "VolumeId", "ResourceId", "ReservationId"}
ONLY = NAMES | {
    "Attachments", "Code", "CurrentState", "DeleteOnTermination", "DisableApiTermination", "InstanceInitiatedShutdownBehavior",
    "InstanceLifecycle", "InstanceState", "InstanceStatus", "InstanceStatuses", "InstanceType", "Instances", "Key", "Name",
    "PreviousState", "Reservations", "ResourceType", "Size", "StartingInstances", "State", "Status", "StoppingInstances",
    "SystemStatus", "Tags", "TerminatingInstances", "Value", "Volumes",
}  # fmt: skip
DIFFERENCES = [
    Difference(
        "moto forgets, before it answers, in which state an instance was that it starts",
        lambda call, _asked, ours, theirs: call == "start_instances" and ours.status == theirs.status == 200,
    ),
]
REST = {"pending": "running", "stopping": "stopped", "shutting-down": "terminated"}  # where each state leads
WORDS = st.sampled_from(["blue", "green"])


@cache
def moto_session() -> Any:
    """Made after moto was imported, which hooks itself into sessions to come."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.session.Session(region_name="us-east-1", **keys)


class Lives(RuleBasedStateMachine):
    """Launch, stop, start, reboot, terminate, tag; volumes come, go along and stay behind.

    Only what EC2 allows is done: moto refuses next to nothing, see ``APART``.
    """

    box: SandboxBox

    def __init__(self) -> None:
        super().__init__()
        from moto import mock_aws

        self.box.reset()
        self.stack = ExitStack()
        self.stack.enter_context(mock_aws())
        moto = moto_session().client("ec2")
        self.stack.callback(moto.close)
        image = moto.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        self.image = Named(self.box.image(), image)
        self.twin = Twin(
            self.box.client("ec2"), moto, names=NAMES, unlike=(), differences=DIFFERENCES, only=ONLY
        )
        self.states: dict[Named, str] = {}
        self.spot: set[Named] = set()
        self.volumes: dict[Named, Named | None] = {}  # and the instance each is attached to

    def _pick(self, pick: int, *states: str, spot: bool = True) -> Named | None:
        """One of the instances that are in these states."""
        found = [
            each for each, state in self.states.items() if state in states and (spot or each not in self.spot)
        ]
        return found[pick % len(found)] if found else None

    def _settle(self) -> None:
        """Wait until the sandbox has done what moto does at once."""
        limit = time.monotonic() + 60
        while True:
            found = self.twin.ours.describe_instances()["Reservations"]
            now = {each["State"]["Name"] for group in found for each in group["Instances"]}
            if not now & set(REST):
                return
            assert time.monotonic() < limit, f"still {now}\n{self.box.log()}"
            time.sleep(0.02)

    @rule(spot=st.booleans(), count=st.integers(1, 2), word=WORDS, protected=st.booleans())
    def launch(self, spot: bool, count: int, word: str, protected: bool) -> None:
        more: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}
        done = self.twin.ask(
            "run_instances", ImageId=self.image, InstanceType="t3.micro", MinCount=count, MaxCount=count,
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "colour", "Value": word}]}], **more,
        )  # fmt: skip
        for each in done.answer["Instances"]:
            one = each["InstanceId"]
            self.states[one] = "running"
            self.spot |= {one} if spot else set()
            if protected:
                self.twin.ask(
                    "modify_instance_attribute", InstanceId=one, DisableApiTermination={"Value": True}
                )

    @rule(pick=st.integers(0, 9))
    def stop(self, pick: int) -> None:
        if one := self._pick(pick, "running", "stopped", spot=False):
            self.twin.ask("stop_instances", InstanceIds=[one])
            self.states[one] = "stopped"

    @rule(pick=st.integers(0, 9))
    def start(self, pick: int) -> None:
        if one := self._pick(pick, "running", "stopped"):
            self.twin.ask("start_instances", InstanceIds=[one])
            self.states[one] = "running"

    @rule(pick=st.integers(0, 9))
    def reboot(self, pick: int) -> None:
        if one := self._pick(pick, "running"):
            self.twin.ask("reboot_instances", InstanceIds=[one])

    @rule(pick=st.integers(0, 9), let_go=st.booleans())
    def terminate(self, pick: int, let_go: bool) -> None:
        if one := self._pick(pick, "running", "stopped", "terminated"):
            if let_go and self.states[one] != "terminated":
                free = {"DisableApiTermination": {"Value": False}}
                self.twin.ask("modify_instance_attribute", InstanceId=one, **free)
            if self.twin.ask("terminate_instances", InstanceIds=[one]).status == 200:
                self.states[one] = "terminated"
                for volume, at in self.volumes.items():
                    self.volumes[volume] = None if at == one else at

    @rule(pick=st.integers(0, 9), word=WORDS, remove=st.booleans())
    def tag(self, pick: int, word: str, remove: bool) -> None:
        if one := self._pick(pick, "running", "stopped", "terminated"):
            call = "delete_tags" if remove else "create_tags"
            self.twin.ask(call, Resources=[one], Tags=[{"Key": "runs", "Value": word}])
            self.twin.ask("describe_tags", Filters=[{"Name": "resource-id", "Values": [one]}])

    @rule(size=st.integers(1, 2))
    def make_volume(self, size: int) -> None:
        done = self.twin.ask("create_volume", AvailabilityZone="us-east-1a", Size=size)
        self.volumes[done.answer["VolumeId"]] = None

    @precondition(lambda self: self.volumes)
    @rule(pick=st.integers(0, 9), which=st.integers(0, 9), away=st.booleans())
    def move_volume(self, pick: int, which: int, away: bool) -> None:
        volume = list(self.volumes)[which % len(self.volumes)]
        if away:
            at = self.volumes[volume]
            if at is not None:
                self.twin.ask("detach_volume", VolumeId=volume)
                self.volumes[volume] = None
        elif self.volumes[volume] is None and (one := self._pick(pick, "running", "stopped")):
            device = f"/dev/sd{'fghij'[sum(at == one for at in self.volumes.values()) % 5]}"
            if self.twin.ask("attach_volume", VolumeId=volume, InstanceId=one, Device=device).status == 200:
                self.volumes[volume] = one

    @precondition(lambda self: self.volumes)
    @rule(which=st.integers(0, 9))
    def delete_volume(self, which: int) -> None:
        volume = list(self.volumes)[which % len(self.volumes)]
        if self.twin.ask("delete_volume", VolumeId=volume).status == 200:
            del self.volumes[volume]

    @rule(word=WORDS, state=st.sampled_from(["running", "stopped", "terminated"]))
    def look(self, word: str, state: str) -> None:
        for name, value in (("tag:colour", word), ("instance-state-name", state), ("tag-key", "runs")):
            self.twin.ask("describe_instances", Filters=[{"Name": name, "Values": [value]}])

    @rule(
        call=st.sampled_from(
            ["describe_instances", "start_instances", "stop_instances", "terminate_instances"]
        )
    )
    def ask_for_nobody(self, call: str) -> None:
        self.twin.ask(call, InstanceIds=["i-0123456789abcdef0"])

    @invariant()
    def both_say_the_same(self) -> None:
        self._settle()
        found = self.twin.ask("describe_instances").answer["Reservations"]
        told = {each["InstanceId"]: each["State"]["Name"] for group in found for each in group["Instances"]}
        assert told == self.states
        self.twin.ask("describe_instance_status")
        self.twin.ask("describe_volumes")

    def teardown(self) -> None:
        self.stack.close()


@pytest.fixture(scope="module")
def box() -> Any:
    with tempfile.TemporaryDirectory() as base, sandbox(Path(base), "--plain") as box:
        yield box


def test_instances_live_as_in_moto(box: SandboxBox) -> None:
    Lives.box = box
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=4,
            stateful_step_count=12,
            deadline=None,
            phases=[Phase.generate],  # a failure prints every call: replaying it for minutes tells no more
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def ended(client: Any, image: str, call: str) -> str:
    """What a call on a terminated instance is answered."""
    [one] = launched(client, image)
    client.terminate_instances(InstanceIds=[one])
    client.get_waiter("instance_terminated").wait(InstanceIds=[one], WaiterConfig={"Delay": 0.05})
    return told(client, call, InstanceIds=[one])


def launched(client: Any, image: str, **more: Any) -> list[str]:
    asked = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
    return [each["InstanceId"] for each in client.run_instances(**asked)["Instances"]]


def told(client: Any, call: str, **asked: Any) -> str:
    """The code of the refusal; empty when there is none."""
    try:
        getattr(client, call)(**asked)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def launch(**more: Any) -> Any:
    """What a launch is answered."""
    return lambda client, image: told(
        client,
        "run_instances",
        **{"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more},
    )


def stopped_spot(client: Any, image: str) -> str:
    return told(
        client,
        "stop_instances",
        InstanceIds=launched(client, image, InstanceMarketOptions={"MarketType": "spot"}),
    )


# What moto lets pass and EC2 does not: kept out of the histories, since moto goes another way from there.
# (what is done, what the sandbox answers, as EC2 does); moto refuses none of them
APART: dict[str, tuple[Any, str]] = {
    "start what is terminated": (lambda c, i: ended(c, i, "start_instances"), "IncorrectInstanceState"),
    "stop what is terminated": (lambda c, i: ended(c, i, "stop_instances"), "IncorrectInstanceState"),
    "reboot what is terminated": (lambda c, i: ended(c, i, "reboot_instances"), "IncorrectInstanceState"),
    "stop a one-time spot instance": (stopped_spot, "UnsupportedOperation"),
    "more at least than at most": (launch(MinCount=2), "InvalidParameterValue"),
    "an unknown key pair": (launch(KeyName="nobody's"), "InvalidKeyPair.NotFound"),
    "an unknown image": (launch(ImageId="ami-0123456789abcdef0"), "InvalidAMIID.NotFound"),
    "an unknown type": (launch(InstanceType="t3.enormous"), "InvalidInstanceType.NotFound"),
    "a price below the market": (
        launch(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.0001"}}), "SpotMaxPriceTooLow",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_where_moto_is_no_model(box: SandboxBox, name: str) -> None:
    from moto import mock_aws

    do, refusal = APART[name]
    assert do(box.client("ec2"), box.image()) == refusal
    with mock_aws():
        moto = moto_session().client("ec2")
        image = moto.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        assert do(moto, image) == "", "moto has learned it: it belongs into the histories now"
        moto.close()
