"""A call of AWS on a bad day: retried, stopped, said, translated. Against the sandbox, through boto3's own chain."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aws.aws_world import Heard, blow, calls_to
from tests.unit.sandbox.cloud_world import SandboxBox, until

from runctl.aws import errors
from runctl.core.cancel import CancelToken
from runctl.core.errors import AccessError, Cancelled, MachineGone, RunctlError, UnreachableError, UsageError
from runctl.core.events import CommandRun
from runctl.testing.clock import FakeClock


def test_the_standard_chain_finds_who_calls_and_asks_once(aws: SandboxBox) -> None:
    heard = Heard()
    with calls_to(heard=heard) as calls:
        found = calls.identity(CancelToken())
        assert calls.identity(CancelToken()) is found
    assert len(found.account) == 12
    assert found.arn.startswith("arn:aws:")
    assert found.name
    assert found.name in found.arn
    assert heard.attempts == ["sts:GetCallerIdentity"]


def test_a_profile_with_its_region_is_used(aws: SandboxBox, tmp_path: Path, monkeypatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile there]\nregion = eu-west-1\n"
        f"aws_access_key_id = {aws.values['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {aws.values['AWS_SECRET_ACCESS_KEY']}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with calls_to(profile="there") as calls:
        assert calls.session.region == "eu-west-1"
        zones = calls.call("ec2", "describe_availability_zones", cancel=CancelToken())["AvailabilityZones"]
    assert {zone["RegionName"] for zone in zones} == {"eu-west-1"}


def test_a_profile_that_is_not_there_names_those_that_are(
    aws: SandboxBox, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "config").write_text("[profile one]\n[profile two]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with calls_to(profile="wto") as calls, pytest.raises(UsageError) as refused:
        calls.identity(CancelToken())
    assert refused.value.code == "aws-profile-unknown"
    assert "one, two" in refused.value.why


def test_without_a_region_nothing_is_asked(aws: SandboxBox, monkeypatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    heard = Heard()
    with calls_to(heard=heard) as calls, pytest.raises(UsageError) as refused:
        calls.call("ec2", "describe_instances", cancel=CancelToken())
    assert refused.value.code == "aws-no-region"
    assert heard.attempts == []


def test_without_credentials_it_says_where_it_looked(aws: SandboxBox, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with calls_to() as calls, pytest.raises(AccessError) as refused:
        calls.identity(CancelToken())
    assert refused.value.code == "aws-no-credentials"


def test_throttling_is_waited_out_and_told(aws: SandboxBox) -> None:
    blow(aws, "throttle", service="ec2", action="DescribeInstances", times=8)
    heard, clock = Heard(), FakeClock()
    with calls_to(heard=heard, clock=clock, attempts=2) as calls:
        assert calls.call("ec2", "describe_instances", cancel=CancelToken())["Reservations"] == []
    assert heard.attempts == ["ec2:DescribeInstances"] * 9
    assert len(heard.retries) == len(clock.slept) == 8
    assert "RequestLimitExceeded" in heard.retries[0]


def test_throttling_for_ever_ends_at_the_deadline(aws: SandboxBox) -> None:
    blow(aws, "throttle", service="ssm")
    clock = FakeClock()
    with calls_to(clock=clock, deadline=60) as calls, pytest.raises(UnreachableError) as failed:
        calls.call("ssm", "describe_instance_information", cancel=CancelToken())
    assert (failed.value.code, failed.value.transient) == ("aws-throttled", True)
    assert clock.monotonic() == pytest.approx(60)


def test_a_broken_service_is_asked_as_often_as_allowed(aws: SandboxBox) -> None:
    blow(aws, "error", service="ec2")
    heard = Heard()
    with (
        calls_to(heard=heard, clock=FakeClock(), attempts=4) as calls,
        pytest.raises(UnreachableError) as failed,
    ):
        calls.call("ec2", "describe_instances", cancel=CancelToken())
    assert failed.value.code == "aws-service-broken"
    assert failed.value.context["attempts"] == 4
    assert len(heard.attempts) == 4


@pytest.mark.parametrize(
    ("service", "operation", "params", "action"),
    [
        ("ec2", "describe_instances", {}, "ec2:DescribeInstances"),
        ("ssm", "describe_instance_information", {}, "ssm:DescribeInstanceInformation"),
        ("s3", "list_objects_v2", {"Bucket": "b"}, "s3:ListBucket"),
    ],
)
def test_a_refusal_names_the_action_and_is_not_repeated(
    aws: SandboxBox, service: str, operation: str, params: dict[str, Any], action: str
) -> None:
    blow(aws, "denied", service=service)
    heard = Heard()
    with calls_to(heard=heard) as calls, pytest.raises(AccessError) as refused:
        calls.call(service, operation, cancel=CancelToken(), **params)
    assert refused.value.code == "aws-denied"
    assert action in refused.value.what
    assert len(heard.attempts) == 1


def test_an_encoded_refusal_is_decoded_where_that_is_allowed_and_told_where_not(aws: SandboxBox) -> None:
    blow(
        aws,
        "denied",
        service="ec2",
        message="You are not authorized to perform this operation. User: arn:aws:iam::1:user/ana is not authorized "
        "to perform: ec2:RunInstances on resource: arn:aws:ec2:us-east-1:1:instance/* because no identity-based "
        "policy allows the ec2:RunInstances action. Encoded authorization failure message: AbC-_123",
    )
    heard = Heard()
    with calls_to(heard=heard) as calls, pytest.raises(AccessError) as refused:
        calls.call("ec2", "describe_instances", cancel=CancelToken())
    assert heard.attempts == ["ec2:DescribeInstances", "sts:DecodeAuthorizationMessage"]
    assert refused.value.what == "arn:aws:iam::1:user/ana may not do ec2:RunInstances"
    assert "instance/*: no identity-based policy allows" in refused.value.why
    assert "AbC-_123" not in str(refused.value.to_json())


def test_expired_credentials_are_access_and_not_repeated(aws: SandboxBox) -> None:
    blow(aws, "expired", service="ec2")
    heard = Heard()
    with calls_to(heard=heard) as calls, pytest.raises(AccessError) as refused:
        calls.call("ec2", "describe_instances", cancel=CancelToken())
    assert refused.value.code == "aws-credentials-expired"
    assert len(heard.attempts) == 1


def test_a_slow_answer_does_not_hold_a_cancel(aws: SandboxBox) -> None:
    blow(aws, "slow", service="ec2", delay=3)
    cancel, heard, when = CancelToken(), Heard(), [0.0]

    def stop() -> None:
        time.sleep(0.3)
        when[0] = time.monotonic()
        cancel.cancel("enough")

    with calls_to(heard=heard) as calls:
        calls.client("ec2")
        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(Cancelled, match="enough"):
            calls.call("ec2", "describe_instances", cancel=cancel)
        assert time.monotonic() - when[0] < 0.4
        [event] = [each for each in heard.events if isinstance(each, CommandRun)]
        assert event.exit_code is None
        deadline = time.monotonic() + 10
        while any(each.name == "ec2:describe_instances" for each in threading.enumerate()):
            assert time.monotonic() < deadline, "the abandoned attempt never ended"
            time.sleep(0.05)


def test_a_cancel_ends_the_wait_between_attempts(aws: SandboxBox) -> None:
    blow(aws, "throttle", service="ec2")
    cancel, heard, when = CancelToken(), Heard(), [0.0]

    def stop() -> None:
        until(lambda: heard.retries)
        when[0] = time.monotonic()
        cancel.cancel()

    threading.Thread(target=stop, daemon=True).start()
    with calls_to(heard=heard) as calls, pytest.raises(Cancelled):
        calls.call("ec2", "describe_instances", cancel=cancel)
    assert time.monotonic() - when[0] < 1


def test_a_cut_connection_is_tried_again_unless_the_call_must_not_happen_twice(aws: SandboxBox) -> None:
    blow(aws, "cut", service="ec2", times=1)
    with calls_to(clock=FakeClock()) as calls:
        assert "Reservations" in calls.call("ec2", "describe_instances", cancel=CancelToken())
        blow(aws, "cut", service="ec2", times=1)
        with pytest.raises(UnreachableError) as failed:
            calls.call("ec2", "describe_instances", cancel=CancelToken(), once=True)
        assert failed.value.code == "aws-unreachable"
        blow(aws, "throttle", service="ec2", times=1)
        assert "Reservations" in calls.call("ec2", "describe_instances", cancel=CancelToken(), once=True)


def test_nobody_listens(aws: SandboxBox, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with calls_to(clock=FakeClock(), attempts=3) as calls, pytest.raises(UnreachableError) as failed:
        calls.call("ec2", "describe_instances", cancel=CancelToken(), once=True)
    assert failed.value.code == "aws-unreachable"
    assert failed.value.context["attempts"] == 3, "what never connected took no effect"


def test_a_code_of_the_callers_choice_is_transient(aws: SandboxBox) -> None:
    missing, heard = "i-0123456789abcdef0", Heard()
    with calls_to(heard=heard, clock=FakeClock(), attempts=3) as calls:
        with pytest.raises(MachineGone) as failed:
            calls.call(
                "ec2",
                "describe_instances",
                cancel=CancelToken(),
                repeat_on=("InvalidInstanceID.NotFound",),
                InstanceIds=[missing],
            )
        assert len(heard.attempts) == 3
    assert errors.code_of(failed.value) == "InvalidInstanceID.NotFound"
    assert missing in failed.value.why


def test_every_page_is_read(aws: SandboxBox) -> None:
    with calls_to() as calls:
        pages = list(
            calls.pages(
                "pricing", "get_products", cancel=CancelToken(), ServiceCode="AmazonEC2", MaxResults=50
            )
        )
    assert len(pages) > 2
    found = [product for page in pages for product in page["PriceList"]]
    assert len(set(found)) == len(found) > 100


def test_a_mistake_of_ours_is_an_internal_error(aws: SandboxBox) -> None:
    with calls_to() as calls, pytest.raises(RunctlError) as failed:
        calls.call("ec2", "describe_instances", cancel=CancelToken(), Nonsense=1)
    assert failed.value.code == "aws-unexpected"
    assert "Nonsense" in failed.value.why
