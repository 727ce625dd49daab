"""Random lives of instances: what boto3 is told, against a model of the states that EC2 allows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox

RESTS = {"pending": "running", "stopping": "stopped", "shutting-down": "terminated"}  # where each state leads


class Lives(RuleBasedStateMachine):
    """Launch, stop, start, reboot, terminate in any order; the model says which are refused and what comes of them."""

    box: SandboxBox
    instances = Bundle("instances")

    def __init__(self) -> None:
        super().__init__()
        self.box.reset()
        self.ec2 = self.box.client("ec2")
        self.model: dict[str, str] = {}
        self.spot: set[str] = set()

    @rule(target=instances, spot=st.booleans(), count=st.integers(1, 2))
    def launch(self, spot: bool, count: int) -> Any:
        market = {"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}
        ids = self.box.launch(MinCount=1, MaxCount=count, **market)
        assert len(ids) == count
        for each in ids:
            self.model[each] = "running"
            if spot:
                self.spot.add(each)
        return multiple(*ids)

    @rule(one=instances)
    def stop(self, one: str) -> None:
        code = "UnsupportedOperation" if one in self.spot else ""
        self._do(
            "stop_instances",
            one,
            refused="IncorrectInstanceState" if self.model[one] == "terminated" else code,
        )

    @rule(one=instances)
    def start(self, one: str) -> None:
        self._do(
            "start_instances",
            one,
            refused="IncorrectInstanceState" if self.model[one] == "terminated" else "",
        )

    @rule(one=instances)
    def reboot(self, one: str) -> None:
        self._do(
            "reboot_instances", one, refused="IncorrectInstanceState" if self.model[one] != "running" else ""
        )

    @rule(one=instances)
    def terminate(self, one: str) -> None:
        self._do("terminate_instances", one, refused="")

    @rule(one=instances)
    def tag(self, one: str) -> None:
        self.ec2.create_tags(Resources=[one], Tags=[{"Key": "runs", "Value": self.model[one]}])
        found = self.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [one]}])["Tags"]
        assert {each["Value"] for each in found} == {self.model[one]}

    def _do(self, call: str, one: str, *, refused: str) -> None:
        became = {
            "stop_instances": "stopped",
            "start_instances": "running",
            "terminate_instances": "terminated",
        }
        if refused:
            with pytest.raises(ClientError) as told:
                getattr(self.ec2, call)(InstanceIds=[one])
            assert told.value.response["Error"]["Code"] == refused
        else:
            getattr(self.ec2, call)(InstanceIds=[one])
            self.model[one] = became.get(call, self.model[one])
        self.box.wait(one, self.model[one])

    @invariant()
    def what_is_listed_is_what_is_true(self) -> None:
        pages = self.ec2.get_paginator("describe_instances").paginate()
        listed = [each for page in pages for group in page["Reservations"] for each in group["Instances"]]
        states = {each["InstanceId"]: each["State"]["Name"] for each in listed}
        assert {each: RESTS.get(state, state) for each, state in states.items()} == self.model
        assert {each["InstanceId"] for each in listed if each.get("InstanceLifecycle") == "spot"} == self.spot
        running = self.ec2.describe_instance_status()["InstanceStatuses"]
        assert {each["InstanceId"] for each in running} <= {
            one for one, state in self.model.items() if state == "running"
        }
        requests = self.ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
        assert {each["InstanceId"] for each in requests} == self.spot


def test_instances_live_as_the_model_says() -> None:
    with tempfile.TemporaryDirectory() as base, sandbox(Path(base), "--plain") as box:
        Lives.box = box
        run_state_machine_as_test(
            Lives,
            settings=settings(
                max_examples=8,
                stateful_step_count=8,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
