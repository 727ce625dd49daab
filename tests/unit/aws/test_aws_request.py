"""The request that buys a machine, its token, its tags, and what an early end means. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.core.errors import AccessError, CapacityError
from runctl.core.model import Endpoint, Offer, Purchase
from runctl.providers.aws import tags
from runctl.providers.aws.images import Image
from runctl.providers.aws.launch import early_end
from runctl.providers.aws.request import Account, client_token, run_instances

OFFER = Offer(
    "aws",
    "g5.xlarge",
    "us-east-1",
    Decimal("0.4123"),
    spot=True,
    zone="us-east-1b",
    gpu="A10G",
    gpus=1,
    image="ami-0abc",
)
PURCHASE = Purchase(
    "brave-otter-7k2m",
    2,
    name="brave-otter",
    user_data=b"#!/bin/sh\n",
    expires_at=datetime(2026, 11, 23, 18, 30, 0, 5, tzinfo=UTC),
    project="digits",
    owner="ana",
)
BARE = Account()
IMAGE = Image("ami-0abc", "/dev/xvda", 65)


def request(offer: Offer = OFFER, purchase: Purchase = PURCHASE, account: Account = BARE) -> dict[str, Any]:
    return run_instances(offer, purchase, IMAGE, account)


def test_a_spot_machine_is_asked_for_once_and_without_a_ceiling() -> None:
    made = request()
    assert made["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
    }
    assert made["Placement"] == {"AvailabilityZone": "us-east-1b"}
    assert made["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert made["MinCount"] == made["MaxCount"] == 1
    assert "InstanceMarketOptions" not in request(replace(OFFER, spot=False))


def test_metadata_needs_a_token_and_the_disk_is_encrypted_and_goes_with_the_machine() -> None:
    made = request()
    assert made["MetadataOptions"]["HttpTokens"] == "required"
    assert made["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert made["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
    [disk] = made["BlockDeviceMappings"]
    assert disk["DeviceName"] == "/dev/xvda"
    assert disk["Ebs"] == {
        "VolumeSize": 100,
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    [small] = request(purchase=replace(PURCHASE, disk_gb=10))["BlockDeviceMappings"]
    assert small["Ebs"]["VolumeSize"] == 65, "an image does not fit on less than it was made from"


def test_everything_that_comes_into_being_is_tagged_in_the_same_call() -> None:
    made = {each["ResourceType"]: each["Tags"] for each in request()["TagSpecifications"]}
    assert set(made) == {"instance", "volume", "network-interface", "spot-instances-request"}
    found = {tag["Key"]: tag["Value"] for tag in made["volume"]}
    assert found == {
        "Name": "runctl-brave-otter",
        "runctl:managed": "true",
        "runctl:run": "brave-otter-7k2m",
        "runctl:attempt": "2",
        "runctl:project": "digits",
        "runctl:owner": "ana",
        "runctl:expires-at": "2026-11-23T18:30:00+00:00",
        "runctl:price": "0.4123 USD",
        "runctl:gpu": "A10G:1",
    }
    assert all(each == made["volume"] for each in made.values())
    on_demand = request(replace(OFFER, spot=False))["TagSpecifications"]
    assert "spot-instances-request" not in {each["ResourceType"] for each in on_demand}


def test_settings_choose_profile_subnet_and_group() -> None:
    made = request(account=Account("train-node", "subnet-1", "sg-1"))
    assert made["IamInstanceProfile"] == {"Name": "train-node"}
    assert (made["SubnetId"], made["SecurityGroupIds"]) == ("subnet-1", ["sg-1"])
    assert "Placement" not in made, "the subnet says the zone"
    bare = request()
    assert not {"IamInstanceProfile", "SubnetId", "SecurityGroupIds"} & set(bare)


def test_a_machine_whose_deadline_comes_ends_for_good_also_one_that_was_kept() -> None:
    for offer in (OFFER, replace(OFFER, spot=False)):
        for purchase in (PURCHASE, replace(PURCHASE, keep=True)):
            assert request(offer, purchase)["InstanceInitiatedShutdownBehavior"] == "terminate"


@given(run=st.from_regex(r"[a-z0-9][a-z0-9-]{0,80}", fullmatch=True), attempt=st.integers(1, 10_000))
def test_a_token_names_the_purchase_of_an_offer_and_nothing_else(run: str, attempt: int) -> None:
    bought = Purchase(run, attempt)
    token = client_token(OFFER, bought)
    assert len(token) <= 64
    assert token.isascii()
    assert token == client_token(
        replace(OFFER, price_per_hour=Decimal(9)), replace(bought, name="x", keep=True)
    )
    others = {
        client_token(OFFER, Purchase(run, attempt + 1)),
        client_token(OFFER, Purchase(run + "x", attempt)),
        client_token(replace(OFFER, zone="us-east-1c"), bought),
        client_token(replace(OFFER, spot=False), bought),
        client_token(replace(OFFER, machine_type="g5.2xlarge"), bought),
    }
    assert len(others) == 5
    assert token not in others


INSTANCE = {
    "InstanceId": "i-0123456789abcdef0",
    "InstanceType": "g5.xlarge",
    "State": {"Name": "running"},
    "Placement": {"AvailabilityZone": "us-east-1b"},
    "InstanceLifecycle": "spot",
    "CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 2},
    "Architecture": "x86_64",
    "LaunchTime": datetime(2026, 11, 23, 18, tzinfo=UTC),
}


def test_a_machine_is_read_back_from_its_tags() -> None:
    written = [{"Key": key, "Value": value} for key, value in tags.of_purchase(OFFER, PURCHASE).items()]
    machine = tags.machine_of({**INSTANCE, "Tags": written}, "us-east-1")
    assert (machine.run_id, machine.attempt, machine.name) == ("brave-otter-7k2m", 2, "brave-otter")
    assert (machine.project, machine.owner) == ("digits", "ana")
    assert machine.expires_at == datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
    assert machine.endpoint == Endpoint("ssm", "i-0123456789abcdef0@us-east-1", home="~/.runctl")
    assert machine.offer.price_per_hour == Decimal("0.4123")
    assert (machine.offer.gpu, machine.offer.gpus, machine.offer.cpus, machine.offer.spot) == (
        "A10G",
        1,
        4,
        True,
    )
    assert machine.notes["managed"] == "true"


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"runctl:price": "dear", "runctl:expires-at": "soon", "runctl:attempt": "x", "runctl:gpu": "A"},
        {"runctl:price": "", "Name": ""},
    ],
)
def test_tags_that_somebody_changed_break_nothing(strange: dict[str, str]) -> None:
    written = [{"Key": key, "Value": value} for key, value in strange.items()]
    machine = tags.machine_of({**INSTANCE, "Tags": written}, "us-east-1")
    assert (machine.run_id, machine.attempt, machine.expires_at) == ("", 1, None)
    assert machine.offer.price_per_hour == 0


@pytest.mark.parametrize(
    ("reason", "code", "family", "transient"),
    [
        ("Server.InsufficientInstanceCapacity", "aws-launch-failed", CapacityError, True),
        ("Server.SpotInstanceTermination", "aws-launch-failed", CapacityError, True),
        ("Server.InternalError", "aws-launch-failed", CapacityError, True),
        ("", "aws-launch-failed", CapacityError, True),
        ("Client.VolumeLimitExceeded", "aws-quota", CapacityError, False),
        ("Client.InternalError", "aws-launch-refused", AccessError, False),
    ],
)
def test_an_early_end_is_understood(reason: str, code: str, family: type, transient: bool) -> None:
    error = early_end({**INSTANCE, "StateReason": {"Code": reason, "Message": "as AWS says"}})
    assert error is not None
    assert isinstance(error, family)
    assert (error.code, error.transient) == (code, transient)
    assert "?" not in error.what + error.why


@pytest.mark.parametrize("reason", ["Client.InstanceInitiatedShutdown", "Client.UserInitiatedShutdown"])
def test_an_instance_that_has_done_its_work_or_was_ended_by_somebody_is_no_failed_launch(reason: str) -> None:
    assert early_end({**INSTANCE, "StateReason": {"Code": reason}}) is None
