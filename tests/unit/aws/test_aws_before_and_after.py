"""What the verbs do with the checks: a plan is held up before anything is bought, a failure is explained afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.aws.aws_world import Heard, blow
from tests.unit.aws.test_aws_setup import prepare
from tests.unit.sandbox.cloud_world import SandboxBox

from runctl import api
from runctl.aws.calls import AwsCalls
from runctl.core.cancel import CancelToken
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import StepFailed, StepFinished
from runctl.core.model import Offer
from runctl.project.config import load

OFFER = Offer("aws", "t3.micro", "us-east-1", cpus=2)
CHANGING = ("Run", "Create", "Put", "Delete", "Terminate")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def runtime(aws: SandboxBox, tmp_path: Path, heard: Heard) -> Iterator[api.Runtime]:
    aws.reset()
    config = load(tmp_path, env={"HOME": str(tmp_path), "RUNCTL_RETRIES_ATTEMPTS": "2"})
    runtime = api.Runtime(tmp_path / "state", config, CancelToken(), heard, env=dict(os.environ))
    yield runtime
    session = runtime.shared.get("aws")
    for client in session._clients.values() if session else ():
        client.close()
    aws.reset()


def test_a_plan_in_a_prepared_account_goes_on(runtime: api.Runtime, heard: Heard) -> None:
    prepare()
    found = api.checks_for_plan(runtime, "aws", [OFFER])
    assert {"python", "disk", "state", "ledger", "bucket", "profile", "quota", "permissions"} <= {
        check.name for check in found
    }
    (told,) = [event for event in heard.events if isinstance(event, StepFinished)]
    assert told.step == "check"
    assert told.summary.startswith(f"{len(found)} checks")
    assert not [each for each in heard.attempts if each.split(":")[1].startswith(CHANGING)]


def test_everything_that_stands_in_the_way_is_one_error(runtime: api.Runtime, heard: Heard) -> None:
    big = Offer("aws", "g5.48xlarge", "us-east-1", cpus=192)
    with pytest.raises(RunctlError) as caught:
        api.checks_for_plan(runtime, "aws", [big, OFFER])
    error = caught.value
    assert error.code == "aws-bucket-missing"
    assert error.context["step"] == "check"
    told = error.why.splitlines()
    assert told[1].startswith("also instance profile: ")
    assert told[2].startswith("also quota: the quota does not allow g5.48xlarge on demand")
    assert "  runctl aws setup" in error.fix
    assert any("--quota-code L-DB2E81BA" in line for line in error.fix)
    assert [event.code for event in heard.events if isinstance(event, StepFailed)] == ["aws-bucket-missing"]
    assert not [each for each in heard.attempts if each.split(":")[1].startswith(CHANGING)]


def test_a_target_that_cannot_look_is_looked_at_from_here(runtime: api.Runtime) -> None:
    found = api.checks_for_plan(runtime, "local", [])
    assert {check.where for check in found} == {"here"}


def test_a_failure_says_how_machine_account_and_computer_stand(runtime: api.Runtime, aws: SandboxBox) -> None:
    prepare()
    blow(aws, "silent")
    (machine,) = aws.launch(IamInstanceProfile={"Name": "runctl-instance"})
    aws.wait(machine, "running")
    for service in ("ec2", "ssm", "sts", "service-quotas"):
        AwsCalls.of(runtime.surroundings()).client(service)  # not what is measured
    error = known("aws-unreachable", action="ssm:StartSession", detail="TargetNotConnected")
    told = api.explain(runtime, "aws", error, machine_id=f"{machine}@us-east-1", offer=OFFER)
    assert told is error
    assert told.why.splitlines() == [
        "TargetNotConnected",
        f"the SSM agent of {machine} has never registered",
    ]
    assert told.context["instance"] == f"{machine} is running, with the profile runctl-instance"
    assert set(told.context) >= {"identity", "clock", "ssm", "quota", "disk"}


def test_a_failure_of_a_target_that_cannot_look_stays_as_it_is(runtime: api.Runtime) -> None:
    error = known("aws-unreachable", action="x", detail="y")
    for target in ("local", "moon"):
        assert api.explain(runtime, target, error).why == "y"
