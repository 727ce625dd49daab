"""Launch templates, fleets, Auto Scaling groups and persistent spot requests: real machines, bought again when lost."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

ALIVE = ("pending", "running")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("fleets"), "--plain") as box:
        yield box


@pytest.fixture(autouse=True)
def fresh(box: SandboxBox) -> None:
    box.reset()
    box.role()


def template(box: SandboxBox, **more: Any) -> dict[str, str]:
    data = {
        "ImageId": box.image(),
        "InstanceType": "t3.micro",
        "IamInstanceProfile": {"Name": "node"},
        "UserData": base64.b64encode(b"#!/bin/sh\necho from the template\n").decode(),
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "who", "Value": "template"}]}],
        **more,
    }
    made = box.client("ec2").create_launch_template(LaunchTemplateName="node", LaunchTemplateData=data)
    return {"LaunchTemplateName": made["LaunchTemplate"]["LaunchTemplateName"], "Version": "$Latest"}


def instances(box: SandboxBox, *states: str) -> list[dict[str, Any]]:
    found = box.client("ec2").describe_instances()["Reservations"]
    every = [each for group in found for each in group["Instances"]]
    return [each for each in every if not states or each["State"]["Name"] in states]


def alive(box: SandboxBox, count: int) -> list[dict[str, Any]]:
    """The living instances, once there are so many and all run."""
    until(
        lambda: [each["State"]["Name"] for each in instances(box, *ALIVE)] == ["running"] * count,
        lambda: f"{[(each['InstanceId'], each['State']) for each in instances(box)]}\n{box.log()}",
    )
    return instances(box, *ALIVE)


def registered(box: SandboxBox) -> set[str]:
    found = box.client("ssm").describe_instance_information(MaxResults=50)["InstanceInformationList"]
    return {each["InstanceId"] for each in found}


def ids(found: list[dict[str, Any]]) -> set[str]:
    return {str(each["InstanceId"]) for each in found}


def request(box: SandboxBox) -> dict[str, Any]:
    [found] = box.client("ec2").describe_spot_instance_requests()["SpotInstanceRequests"]
    return dict(found)


def test_a_launch_template_counts_as_if_the_launch_had_said_it(box: SandboxBox) -> None:
    of = template(
        box,
        InstanceInitiatedShutdownBehavior="terminate",
        InstanceMarketOptions={"MarketType": "spot"},
        DisableApiTermination=True,
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}}],
    )
    ec2 = box.client("ec2")
    box.weather("capacity", "--instance-type", "t3.micro", "--times", "1")
    with pytest.raises(ClientError, match=r"t3\.micro capacity"):
        ec2.run_instances(LaunchTemplate=of, MinCount=1, MaxCount=1)
    ec2.run_instances(LaunchTemplate=of, MinCount=1, MaxCount=1)
    [one] = alive(box, 1)
    assert one["InstanceLifecycle"] == "spot"
    assert one["IamInstanceProfile"]["Arn"].endswith("/node")
    assert {"Key": "who", "Value": "template"} in one["Tags"]
    until(lambda: registered(box) == {one["InstanceId"]})
    [root] = one["BlockDeviceMappings"]
    assert root["DeviceName"] == one["RootDeviceName"]
    assert ec2.describe_volumes(VolumeIds=[root["Ebs"]["VolumeId"]])["Volumes"][0]["Size"] == 30
    said = ec2.describe_instance_attribute(
        InstanceId=one["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
    )
    assert said["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[one["InstanceId"]])
    assert "from the template" in ec2.get_console_output(InstanceId=one["InstanceId"])["Output"]


def test_an_instant_fleet_goes_where_there_is_room_and_says_where_there_was_none(box: SandboxBox) -> None:
    ec2, of = box.client("ec2"), template(box)
    box.weather("capacity", "--instance-type", "t3.small")
    fleet = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": of,
                "Overrides": [{"InstanceType": "t3.large"}, {"InstanceType": "t3.small"}],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "spot"},
        SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
    )
    [error] = fleet["Errors"]  # the cheaper one was tried first
    assert error["ErrorCode"] == "InsufficientInstanceCapacity"
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "t3.small"
    found = alive(box, 2)
    assert {each["InstanceType"] for each in found} == {"t3.large"}
    assert ids(found) == {one for each in fleet["Instances"] for one in each["InstanceIds"]}
    assert {each["InstanceLifecycle"] for each in found} == {"spot"}
    assert all({"Key": "aws:ec2:fleet-id", "Value": fleet["FleetId"]} in each["Tags"] for each in found)
    until(lambda: registered(box) == ids(found))
    requests = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert {each["InstanceId"]: each["State"] for each in requests} == dict.fromkeys(ids(found), "active")
    box.weather("interrupt", "--seconds", "0.1")
    until(lambda: not instances(box, *ALIVE))  # an instant fleet does not buy again
    done = ec2.delete_fleets(FleetIds=[fleet["FleetId"], "fleet-0"], TerminateInstances=True)
    assert [each["Error"]["Code"] for each in done["UnsuccessfulFleetDeletions"]] == ["fleetIdDoesNotExist"]


def test_a_kept_up_fleet_buys_again_until_it_is_deleted(box: SandboxBox) -> None:
    ec2, of = box.client("ec2"), template(box)
    fleet = ec2.create_fleet(
        Type="maintain",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": of}],
        TargetCapacitySpecification={
            "TotalTargetCapacity": 2, "OnDemandTargetCapacity": 1, "DefaultTargetCapacityType": "spot",
        },
    )["FleetId"]  # fmt: skip
    first = alive(box, 2)
    [taken] = [each for each in first if each.get("InstanceLifecycle") == "spot"]
    box.weather("interrupt", "--seconds", "0.1")
    until(lambda: taken["InstanceId"] not in ids(instances(box, *ALIVE)))
    second = alive(box, 2)
    assert len(ids(first) & ids(second)) == 1
    [kept] = [each for each in first if each is not taken]
    ec2.terminate_instances(InstanceIds=[kept["InstanceId"]])
    until(lambda: kept["InstanceId"] not in ids(instances(box, *ALIVE)))
    third = alive(box, 2)
    assert [each.get("InstanceLifecycle", "") for each in third].count("spot") == 1
    active = ec2.describe_fleet_instances(FleetId=fleet)["ActiveInstances"]
    assert ids(active) == ids(third)
    assert sum("SpotInstanceRequestId" in each for each in active) == 1
    ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=True)
    until(lambda: {each["State"]["Name"] for each in instances(box)} == {"terminated"})


def test_a_spot_fleet_is_filled_when_there_is_room(box: SandboxBox) -> None:
    ec2 = box.client("ec2")
    box.weather("capacity", "--market", "spot")
    spec = {"ImageId": box.image(), "InstanceType": "t3.micro", "IamInstanceProfile": {"Name": "node"}}
    made = ec2.request_spot_fleet(
        SpotFleetRequestConfig={
            "IamFleetRole": "arn:aws:iam::123456789012:role/fleet",
            "TargetCapacity": 1,
            "LaunchSpecifications": [spec],
        }
    )["SpotFleetRequestId"]
    assert ec2.describe_spot_fleet_instances(SpotFleetRequestId=made)["ActiveInstances"] == []
    box.weather("clear")
    [one] = alive(box, 1)
    until(lambda: registered(box) == {one["InstanceId"]})
    assert ids(ec2.describe_spot_fleet_instances(SpotFleetRequestId=made)["ActiveInstances"]) == ids([one])
    ec2.cancel_spot_fleet_requests(SpotFleetRequestIds=[made], TerminateInstances=True)
    until(lambda: {each["State"]["Name"] for each in instances(box)} == {"terminated"})
    with pytest.raises(ClientError, match=r"InvalidSpotFleetRequestId\.NotFound"):
        ec2.modify_spot_fleet_request(SpotFleetRequestId=made, TargetCapacity=2)


def test_an_auto_scaling_group_replaces_what_it_loses(box: SandboxBox) -> None:
    groups, ec2, of = box.client("autoscaling"), box.client("ec2"), template(box)
    groups.create_auto_scaling_group(
        AutoScalingGroupName="g", MinSize=0, MaxSize=3, DesiredCapacity=2, LaunchTemplate=of,
        AvailabilityZones=["us-east-1a", "us-east-1b"],
    )  # fmt: skip
    first = alive(box, 2)
    assert {each["Placement"]["AvailabilityZone"] for each in first} == {"us-east-1a", "us-east-1b"}
    until(lambda: registered(box) == ids(first))
    lost, other = (each["InstanceId"] for each in first)
    box.weather("capacity", "--times", "1")  # the first attempt fails, a later one does not
    ec2.terminate_instances(InstanceIds=[lost])
    until(lambda: lost not in ids(instances(box, *ALIVE)))
    second = alive(box, 2)
    assert other in ids(second)
    ec2.stop_instances(InstanceIds=[other])  # stopped is unhealthy
    until(lambda: box.state(other) == "terminated")
    third = alive(box, 2)
    told = groups.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
    assert ids(told) == ids(third)
    groups.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=1)
    alive(box, 1)
    groups.delete_auto_scaling_group(AutoScalingGroupName="g", ForceDelete=True)
    until(lambda: {each["State"]["Name"] for each in instances(box)} == {"terminated"})


def test_a_mixed_group_takes_its_share_from_the_spot_market_where_there_is_room(box: SandboxBox) -> None:
    box.weather("capacity", "--instance-type", "t3.small")
    box.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="mixed", MinSize=3, MaxSize=3, AvailabilityZones=["us-east-1a"],
        MixedInstancesPolicy={
            "LaunchTemplate": {
                "LaunchTemplateSpecification": template(box),
                "Overrides": [{"InstanceType": "t3.small"}, {"InstanceType": "t3.medium"}],
            },
            "InstancesDistribution": {"OnDemandBaseCapacity": 1, "OnDemandPercentageAboveBaseCapacity": 0},
        },
    )  # fmt: skip
    found = alive(box, 3)
    assert {each["InstanceType"] for each in found} == {"t3.medium"}
    assert [each.get("InstanceLifecycle") for each in found].count("spot") == 2


def test_a_persistent_spot_request_is_filled_again_until_it_is_cancelled(box: SandboxBox) -> None:
    ec2 = box.client("ec2")
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "persistent"}}
    [first] = box.launch(InstanceMarketOptions=market, IamInstanceProfile={"Name": "node"})
    box.wait(first, "running")
    box.weather("capacity", "--market", "spot")
    box.weather("interrupt", "--seconds", "0.1")
    box.wait(first, "terminated")
    until(lambda: request(box)["State"] == "open")
    until(lambda: request(box)["Status"]["Code"] == "capacity-not-available")
    box.weather("clear")
    [second] = alive(box, 1)
    assert (request(box)["State"], request(box)["InstanceId"]) == ("active", second["InstanceId"])
    assert second["SpotInstanceRequestId"] == request(box)["SpotInstanceRequestId"]
    until(lambda: second["InstanceId"] in registered(box))
    ec2.terminate_instances(InstanceIds=[second["InstanceId"]])
    until(lambda: second["InstanceId"] not in ids(instances(box, *ALIVE)))
    [third] = alive(box, 1)  # a persistent request outlives what the user terminates, too
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request(box)["SpotInstanceRequestId"]])
    assert request(box)["Status"]["Code"] == "request-canceled-and-instance-running"
    ec2.terminate_instances(InstanceIds=[third["InstanceId"]])
    box.wait(third["InstanceId"], "terminated")
    assert request(box)["State"] == "cancelled"
    assert not instances(box, *ALIVE)


def test_an_interruption_stops_where_that_was_asked_for_and_the_instance_comes_back(box: SandboxBox) -> None:
    options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
    [one] = box.launch(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})
    box.wait(one, "running")
    box.weather("capacity", "--market", "spot")
    box.weather("interrupt", "--seconds", "0.1")
    box.wait(one, "stopped")
    assert (request(box)["State"], request(box)["Status"]["Code"]) == (
        "disabled",
        "instance-stopped-no-capacity",
    )
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        box.client("ec2").start_instances(InstanceIds=[one])
    box.weather("clear")
    box.wait(one, "running")
    assert request(box)["State"] == "active"


def test_a_spot_request_waits_for_room_and_for_its_price(box: SandboxBox) -> None:
    ec2 = box.client("ec2")
    spec = {
        "ImageId": box.image(),
        "InstanceType": "t3.micro",
        "Placement": {"AvailabilityZone": "us-east-1b"},
    }
    box.weather("capacity", "--market", "spot")
    [asked] = ec2.request_spot_instances(LaunchSpecification=spec)["SpotInstanceRequests"]
    assert (asked["State"], asked["Status"]["Code"]) == ("open", "capacity-not-available")
    assert "InstanceId" not in asked
    box.weather("clear")
    [one] = alive(box, 1)
    assert one["Placement"]["AvailabilityZone"] == "us-east-1b"
    [low] = ec2.request_spot_instances(LaunchSpecification=spec, SpotPrice="0.0001")["SpotInstanceRequests"]
    assert (low["State"], low["Status"]["Code"]) == ("open", "price-too-low")
    done = ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[low["SpotInstanceRequestId"]])
    assert done["CancelledSpotInstanceRequests"][0]["State"] == "cancelled"
    for call in (ec2.cancel_spot_instance_requests, ec2.describe_spot_instance_requests):
        with pytest.raises(ClientError, match=r"InvalidSpotInstanceRequestID\.NotFound"):
            call(SpotInstanceRequestIds=["sir-00000000"])
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        ec2.request_spot_instances(LaunchSpecification=spec, InstanceInterruptionBehavior="stop")
