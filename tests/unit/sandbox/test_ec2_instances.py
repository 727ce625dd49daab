"""EC2 of the sandbox as boto3 sees it: instances that live, and the refusals of the real service."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("ec2"), "--plain") as box:
        yield box


@pytest.fixture(autouse=True)
def fair(box: SandboxBox) -> Iterator[None]:
    yield
    box.reset()


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def met(answer: dict[str, Any]) -> list[str]:
    """The instances an event happened to."""
    return [instance for each in answer["weather"] for instance in each["instances"]]


def test_an_instance_lives_stops_starts_and_ends(box: SandboxBox, tmp_path: Path) -> None:
    ec2 = box.client("ec2")
    started = ec2.run_instances(ImageId=box.image(), InstanceType="t3.micro", MinCount=1, MaxCount=1)[
        "Instances"
    ][0]
    assert started["State"]["Name"] == "pending"
    one = started["InstanceId"]
    assert started["PrivateIpAddress"].startswith("172.31.")
    box.wait(one, "running")
    assert ec2.stop_instances(InstanceIds=[one])["StoppingInstances"][0]["PreviousState"]["Name"] == "running"
    box.wait(one, "stopped")
    assert ec2.start_instances(InstanceIds=[one])["StartingInstances"][0]["CurrentState"]["Name"] == "pending"
    box.wait(one, "running")
    ec2.terminate_instances(InstanceIds=[one])
    box.wait(one, "terminated")
    again = ec2.terminate_instances(InstanceIds=[one])["TerminatingInstances"][0]
    assert again["PreviousState"]["Name"] == "terminated"
    with pytest.raises(ClientError) as refused:
        ec2.start_instances(InstanceIds=[one])
    assert code_of(refused) == "IncorrectInstanceState"


def test_user_data_runs_once_and_the_disk_outlives_a_stop(box: SandboxBox, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    [one] = box.launch(UserData=f"#!/bin/sh\necho once >> {mark}\n")
    box.wait(one, "running")
    until(mark.exists)
    ec2 = box.client("ec2")
    ec2.stop_instances(InstanceIds=[one])
    box.wait(one, "stopped")
    ec2.start_instances(InstanceIds=[one])
    box.wait(one, "running")
    assert mark.read_text() == "once\n"


def test_a_guest_that_powers_off_stops_or_is_gone_as_it_was_asked_for(box: SandboxBox) -> None:
    [stays] = box.launch(UserData="#!/bin/sh\nshutdown -h now\n")
    [goes] = box.launch(
        UserData="#!/bin/sh\nshutdown -h now\n", InstanceInitiatedShutdownBehavior="terminate"
    )
    box.wait(stays, "stopped")
    box.wait(goes, "terminated")
    found = box.client("ec2").describe_instances(InstanceIds=[goes])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_client_token_launches_once(box: SandboxBox) -> None:
    token = uuid.uuid4().hex
    first, second = box.launch(ClientToken=token), box.launch(ClientToken=token)
    assert first == second
    with pytest.raises(ClientError) as refused:
        box.launch(ClientToken=token, InstanceType="t3.large")
    assert code_of(refused) == "IdempotentParameterMismatch"
    assert len(box.client("ec2").describe_instances()["Reservations"]) == 1
    for wanted, found in ((token, 1), ("other", 0)):
        filters = [{"Name": "client-token", "Values": [wanted]}]
        assert len(box.client("ec2").describe_instances(Filters=filters)["Reservations"]) == found


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"InstanceType": "t3.enormous"}, "InvalidInstanceType.NotFound"),
        ({"ImageId": "ami-0000000000000000f"}, "InvalidAMIID.NotFound"),
        ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue"),
        ({"IamInstanceProfile": {"Name": "nobody"}}, "InvalidParameterValue"),
        ({"DryRun": True}, "DryRunOperation"),
        ({"HibernationOptions": {"Configured": True}}, "UnsupportedHibernationConfiguration"),
        (
            {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.0001"}}},
            "SpotMaxPriceTooLow",
        ),
    ],
)
def test_a_launch_that_ec2_refuses(box: SandboxBox, wrong: dict[str, object], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        box.launch(**wrong)
    assert code_of(refused) == code
    assert box.client("ec2").describe_instances()["Reservations"] == []


def test_every_instance_of_a_launch_has_the_profile(box: SandboxBox) -> None:
    box.role()
    ids = box.launch(MinCount=1, MaxCount=3, IamInstanceProfile={"Name": "node"})
    found = box.client("ec2").describe_instances(InstanceIds=ids)["Reservations"][0]["Instances"]
    assert [each["IamInstanceProfile"]["Arn"].rpartition("/")[2] for each in found] == ["node"] * 3


def test_a_full_zone_is_refused_and_another_is_taken(box: SandboxBox) -> None:
    box.weather("capacity", "--zone", "us-east-1a", "--instance-type", "t3.*")
    with pytest.raises(ClientError) as refused:
        box.launch(Placement={"AvailabilityZone": "us-east-1a"})
    assert code_of(refused) == "InsufficientInstanceCapacity"
    [one] = box.launch()
    found = box.client("ec2").describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
    assert found["Placement"]["AvailabilityZone"] == "us-east-1b"


def test_no_room_on_the_spot_market_twice(box: SandboxBox) -> None:
    box.weather("capacity", "--market", "spot", "--times", "2")
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    for _ in range(2):
        with pytest.raises(ClientError):
            box.launch(**spot)
    assert len(box.launch(**spot)) == 1


def test_spot_is_noticed_then_taken_back(box: SandboxBox) -> None:
    [one] = box.launch(InstanceMarketOptions={"MarketType": "spot"})
    box.wait(one, "running")
    ec2 = box.client("ec2")
    with pytest.raises(ClientError) as refused:
        ec2.stop_instances(InstanceIds=[one])
    assert code_of(refused) == "UnsupportedOperation"
    assert met(box.weather("interrupt", "--instance", one, "--seconds", "0.3")) == [one]
    request = ec2.describe_spot_instance_requests()["SpotInstanceRequests"][0]
    assert (request["InstanceId"], request["Type"]) == (one, "one-time")
    box.wait(one, "terminated")
    found = ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    request = ec2.describe_spot_instance_requests()["SpotInstanceRequests"][0]
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")


def test_a_requested_spot_instance_is_one_too(box: SandboxBox) -> None:
    box.role()
    ec2 = box.client("ec2")
    spec = {"ImageId": box.image(), "InstanceType": "t3.micro", "IamInstanceProfile": {"Name": "node"}}
    request = ec2.request_spot_instances(InstanceCount=1, LaunchSpecification=spec)["SpotInstanceRequests"][0]
    box.wait(request["InstanceId"], "running")
    found = ec2.describe_instances(InstanceIds=[request["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert found["InstanceLifecycle"] == "spot"
    assert found["SpotInstanceRequestId"] == request["SpotInstanceRequestId"]
    assert found["IamInstanceProfile"]["Arn"].endswith("/node")


def test_interruptions_leave_on_demand_alone(box: SandboxBox) -> None:
    [one] = box.launch()
    box.wait(one, "running")
    assert met(box.weather("interrupt", "--seconds", "0.1")) == []


def test_an_instance_dies_without_notice(box: SandboxBox) -> None:
    [one] = box.launch()
    box.wait(one, "running")
    assert met(box.weather("die", "--instance", one)) == [one]
    box.wait(one, "terminated")
    found = box.client("ec2").describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Server.InternalError"


def test_the_console_outlives_its_instance(box: SandboxBox) -> None:
    [one] = box.launch(UserData="#!/bin/sh\necho last words\n")
    box.wait(one, "running")
    ec2 = box.client("ec2")
    until(lambda: "last words" in ec2.get_console_output(InstanceId=one)["Output"])
    ec2.terminate_instances(InstanceIds=[one])
    box.wait(one, "terminated")
    assert "last words" in ec2.get_console_output(InstanceId=one)["Output"]
    with pytest.raises(ClientError) as refused:
        ec2.get_console_output(InstanceId="i-0123456789abcdef0")
    assert code_of(refused) == "InvalidInstanceID.NotFound"


def test_a_full_disk_befalls_the_running_instances(box: SandboxBox) -> None:
    [one] = box.launch()
    box.wait(one, "running")
    assert met(box.weather("disk-full")) == [one]
    assert met(box.weather("disk-free", "--instance", one)) == [one]


def test_a_failure_of_the_sandbox_is_told_in_the_words_of_the_service(box: SandboxBox) -> None:
    groups = box.client("autoscaling")
    with pytest.raises(ClientError) as refused:  # moto falls over this one
        groups.terminate_instance_in_auto_scaling_group(
            InstanceId="i-0123456789abcdef0", ShouldDecrementDesiredCapacity=True
        )
    assert code_of(refused) == "InternalFailure"
    assert str(box.base) in str(refused.value)  # where its log is


def test_terminating_while_it_boots_leaves_nothing_running(box: SandboxBox) -> None:
    [one] = box.launch()
    box.client("ec2").terminate_instances(InstanceIds=[one])
    box.wait(one, "terminated")


def test_an_image_holds_the_disk_and_a_volume_its_size(box: SandboxBox) -> None:
    [one] = box.launch()
    box.wait(one, "running")
    ec2 = box.client("ec2")
    image = ec2.create_image(InstanceId=one, Name="mine")["ImageId"]
    until(lambda: ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available")
    [two] = box.launch(ImageId=image)
    box.wait(two, "running")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    ec2.attach_volume(InstanceId=two, VolumeId=volume, Device="/dev/sdf")
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"][0]["InstanceId"] == two
    ec2.detach_volume(VolumeId=volume)  # where it is attached is known
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available"
    with pytest.raises(ClientError) as refused:
        ec2.detach_volume(VolumeId=volume)
    assert code_of(refused) == "IncorrectState"
    with pytest.raises(ClientError) as refused:
        ec2.stop_instances(InstanceIds=[two], Hibernate=True)
    assert code_of(refused) == "UnsupportedHibernationConfiguration"


def test_instances_are_listed_in_pages(box: SandboxBox) -> None:
    ids = [box.launch()[0] for _ in range(7)]
    pages = list(
        box.client("ec2").get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
    )
    found = [
        each["InstanceId"] for page in pages for group in page["Reservations"] for each in group["Instances"]
    ]
    assert (len(pages), sorted(found)) == (2, sorted(ids))


def test_spot_prices_are_below_on_demand_and_repeat(box: SandboxBox) -> None:
    ec2, pricing = box.client("ec2"), box.client("pricing")
    asked = {"InstanceTypes": ["g5.xlarge"], "ProductDescriptions": ["Linux/UNIX"]}
    history = ec2.describe_spot_price_history(**asked)["SpotPriceHistory"]
    assert {each["AvailabilityZone"][:-1] for each in history} == {"us-east-1"}
    assert history == ec2.describe_spot_price_history(**asked)["SpotPriceHistory"]
    filters = [
        {"Type": "TERM_MATCH", "Field": "instanceType", "Value": "g5.xlarge"},
        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-east-1"},
    ]
    [product] = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    [term] = json.loads(product)["terms"]["OnDemand"].values()
    [dimension] = term["priceDimensions"].values()
    price = float(dimension["pricePerUnit"]["USD"])
    assert price == pytest.approx(1.006)
    assert all(0.2 * price < float(each["SpotPrice"]) < 0.7 * price for each in history)


def test_keys_made_through_iam_and_sts_sign(box: SandboxBox) -> None:
    iam, sts = box.client("iam"), box.client("sts")
    iam.create_user(UserName="eve")
    made = iam.create_access_key(UserName="eve")["AccessKey"]
    hers = {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    assert box.client("sts", **hers).get_caller_identity()["Arn"].endswith("user/eve")
    box.role()
    arn = iam.get_role(RoleName="node")["Role"]["Arn"]
    lent = sts.assume_role(RoleArn=arn, RoleSessionName="lent")["Credentials"]
    theirs = {"key": lent["AccessKeyId"], "secret": lent["SecretAccessKey"]}
    assert (
        "assumed-role/node"
        in box.client("sts", token=lent["SessionToken"], **theirs).get_caller_identity()["Arn"]
    )
    with pytest.raises(ClientError):
        box.client("sts", token="wrong", **theirs).get_caller_identity()


@pytest.mark.parametrize(("service", "call", "code"), [
    ("ec2", "describe_vpcs", "AuthFailure"),
    ("iam", "list_roles", "SignatureDoesNotMatch"),
    ("ssm", "list_commands", "SignatureDoesNotMatch"),
    ("logs", "describe_log_groups", "SignatureDoesNotMatch"),
    ("s3", "list_buckets", "SignatureDoesNotMatch"),
])  # fmt: skip
def test_a_wrong_secret_is_refused_everywhere(box: SandboxBox, service: str, call: str, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(box.client(service, secret="wrong"), call)()
    assert code_of(refused) == code


def test_quotas_and_types_are_told(box: SandboxBox) -> None:
    quotas = box.client("service-quotas")
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")["Quota"]["Value"] == 64
    asked = quotas.request_service_quota_increase(ServiceCode="ec2", QuotaCode="L-DB2E81BA", DesiredValue=128)
    assert asked["RequestedQuota"]["Status"] == "PENDING"
    found = box.client("ec2").describe_instance_types(InstanceTypes=["g5.xlarge"])["InstanceTypes"][0]
    assert found["GpuInfo"]["Gpus"][0]["Name"] == "A10G"


def test_what_is_not_there_says_so(box: SandboxBox) -> None:
    box.launch()
    with pytest.raises(ClientError, match=r"the sandbox cannot filter by 'bogus'$"):
        box.client("ec2").describe_instances(Filters=[{"Name": "bogus", "Values": ["1"]}])
    with pytest.raises(ClientError) as refused:
        box.client("lambda").list_functions()
    assert code_of(refused) == "UnknownService"


def test_a_region_that_there_is_not_is_refused(box: SandboxBox) -> None:
    for service, call, code in (
        ("ec2", "describe_instances", "AuthFailure"),
        ("autoscaling", "describe_auto_scaling_groups", "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ClientError) as caught:
            getattr(box.client(service, region="mars-1"), call)()
        assert code_of(caught) == code
