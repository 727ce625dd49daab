"""EC2 as a provider, on the sandbox: what is bought and how, bad weather, listings, the end. Seen through boto3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aws.aws_world import Heard, Providers, blow
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.errors import (
    AccessError,
    Cancelled,
    CapacityError,
    MachineGone,
    ReleaseOwed,
    UnreachableError,
    UsageError,
)
from runctl.core.events import Notice
from runctl.core.model import Offer, Purchase, Resources
from runctl.engine.lease import lease
from runctl.engine.ledger import Ledger
from runctl.providers.aws.provider import AwsProvider
from runctl.testing.clock import FakeClock
from runctl.testing.providers import purchase

SMALL = Resources(machine_type="t3.micro")
SPOT = Resources(machine_type="t3.micro", spot=True)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("cloud"), "--plain") as box:
        yield box


@pytest.fixture(scope="module")
def clients(box: SandboxBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    with Providers.of(box, tmp_path_factory.mktemp("home")) as clients:
        yield clients


@pytest.fixture
def aws(box: SandboxBox, clients: Providers) -> Iterator[AwsProvider]:
    """A fresh client of a cloud without machines, in fair weather."""
    yield clients.make()
    box.reset()


def first(aws: AwsProvider, need: Resources = SMALL) -> Offer:
    return aws.offers(need, CancelToken())[0]


def buy(aws: AwsProvider, need: Resources = SMALL, **more: Any) -> str:
    return aws.acquire(first(aws, need), replace(purchase(), **more), CancelToken()).id


def seen(box: SandboxBox, machine: str) -> Any:
    return box.client("ec2").describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]


def tags(described: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described["Tags"]}


# What is for sale.


def test_a_gpu_is_offered_by_type_zone_and_market_cheapest_first(aws: AwsProvider) -> None:
    offers = aws.offers(Resources(gpu="A10G", spot=True), CancelToken())
    spot = [each for each in offers if each.spot]
    assert spot == list(offers[: len(spot)]), "spot first, then on demand"
    assert [each.price_per_hour for each in spot] == sorted(each.price_per_hour for each in spot)
    assert len({each.zone for each in spot}) > 1
    assert {(each.gpu, each.gpus) for each in offers} == {("A10G", 1)}
    assert {each.price_source.split(" ")[0] for each in spot} == {"spot"}
    assert all(each.image.startswith("ami-") and each.arch == "x86_64" for each in offers)
    cheapest = offers[len(spot)]
    assert cheapest.machine_type == "g5.xlarge"
    assert cheapest.price_source.startswith("Pricing API")
    assert max(each.price_per_hour for each in spot) <= cheapest.price_per_hour


def test_all_regions_are_asked_and_compared(clients: Providers, aws: AwsProvider) -> None:
    both = clients.make(aws__regions=("us-west-2",))
    assert both.regions == ("us-east-1", "us-west-2")
    assert {each.region for each in both.offers(SPOT, CancelToken())} == {"us-east-1", "us-west-2"}
    named = aws.offers(replace(SPOT, regions=("eu-west-1",)), CancelToken())
    assert {each.region for each in named} == {"eu-west-1"}


def test_a_second_plan_asks_nothing_and_a_dry_run_writes_nothing(box: SandboxBox, tmp_path: Path) -> None:
    with Providers.of(box, tmp_path) as clients:
        dry = clients.make(read_only=True)
        offers = dry.offers(SPOT, CancelToken())
        assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
        assert clients.make().offers(SPOT, CancelToken())
        heard = Heard()
        again = clients.make(heard=heard, read_only=True).offers(SPOT, CancelToken())
        assert heard.attempts == []
        assert [each.price_per_hour for each in again] == [each.price_per_hour for each in offers]


def test_without_the_price_list_the_dated_table_stands_in_and_says_so(
    box: SandboxBox, tmp_path: Path
) -> None:
    blow(box, "denied", service="pricing")
    try:
        with Providers.of(box, tmp_path) as clients:
            heard = Heard()
            offers = clients.make(heard=heard).offers(Resources(machine_type="g5.xlarge"), CancelToken())
            assert {each.price_source for each in offers} == {"table of 2025-07-01, with 100 GB of disk"}
            assert any("price list" in each for each in heard.retries)
    finally:
        box.reset()


def test_a_region_that_cannot_be_asked_is_left_out_and_said(box: SandboxBox, tmp_path: Path) -> None:
    blow(box, "denied", service="ec2", action="DescribeInstanceTypes", region="us-west-2")
    try:
        with Providers.of(box, tmp_path) as clients:
            heard = Heard()
            both = clients.make(heard=heard, aws__regions=("us-west-2",))
            assert {each.region for each in both.offers(SMALL, CancelToken())} == {"us-east-1"}
            said = [
                each.text for each in heard.events if isinstance(each, Notice) and each.level == "warning"
            ]
            assert len(said) == 1
            assert "us-west-2" in said[0]
            alone = clients.make(aws__region="us-west-2")
            with pytest.raises(AccessError):
                alone.offers(SMALL, CancelToken())
    finally:
        box.reset()


def test_a_type_nobody_has_is_a_mistake_of_the_user(aws: AwsProvider) -> None:
    with pytest.raises(UsageError) as refused:
        aws.offers(Resources(machine_type="t3.enormous"), CancelToken())
    assert refused.value.code == "aws-type-unknown"


def test_an_image_of_ones_own_by_id_and_by_parameter(
    clients: Providers, aws: AwsProvider, box: SandboxBox
) -> None:
    image = box.image()
    assert first(clients.make(aws__image=image), Resources(gpu="V100", gpus=8)).image == image
    name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
    assert first(aws, replace(SMALL, image=name)).image != image
    with pytest.raises(UsageError) as refused:
        first(aws, replace(SMALL, image="ami-0123456789abcdef0"))
    assert refused.value.code == "aws-image-unknown"


# What is bought.


def test_a_machine_is_bought_as_the_settings_and_the_rules_say(
    box: SandboxBox, clients: Providers, aws: AwsProvider
) -> None:
    box.role()
    aws = clients.make(aws__instance_profile="node")
    offer = first(aws, replace(SPOT, disk_gb=40))
    bought = replace(purchase(), disk_gb=40, expires_at=datetime(2026, 12, 1, tzinfo=UTC))
    machine = aws.acquire(offer, bought, CancelToken())
    assert machine.state == "running"
    assert machine.offer == offer
    assert machine.endpoint.address == f"{machine.id}@us-east-1"
    instance, ec2 = seen(box, machine.id), box.client("ec2")
    assert instance["InstanceLifecycle"] == "spot"
    assert instance["IamInstanceProfile"]["Arn"].endswith("/node")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["Placement"]["AvailabilityZone"] == offer.zone
    wanted = {
        "Name": f"runctl-{bought.name}",
        "runctl:managed": "true",
        "runctl:run": bought.run_id,
        "runctl:attempt": "1",
        "runctl:project": "project",
        "runctl:owner": "owner",
        "runctl:expires-at": "2026-12-01T00:00:00+00:00",
        "runctl:price": f"{offer.price_per_hour} USD",
    }
    assert tags(instance) == wanted
    [volume] = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [machine.id]}])[
        "Volumes"
    ]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (40, "gp3", True)
    assert instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"]
    assert tags(volume) == wanted
    behaviour = ec2.describe_instance_attribute(
        InstanceId=machine.id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    [request] = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert request["Type"] == "one-time"
    assert aws.store() == f"s3://runctl-{aws.calls.identity(CancelToken()).account}-us-east-1/runctl"


def test_user_data_runs_and_a_machine_that_ended_its_work_is_no_failure(
    aws: AwsProvider, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    script = f"#!/bin/sh\ntouch {mark}\nshutdown -h now\n".encode()
    machine = aws.acquire(first(aws), replace(purchase(), user_data=script), CancelToken())
    until(mark.exists)
    until(lambda: aws.machines(CancelToken()) == [])
    aws.release(machine.id, CancelToken())


def test_no_room_in_a_zone_or_a_market_moves_on_and_the_next_zone_has_some(
    box: SandboxBox, aws: AwsProvider
) -> None:
    offers = aws.offers(SPOT, CancelToken())
    zones = [each.zone for each in offers if each.spot]
    blow(box, "capacity", zone=zones[0])
    bought, heard = purchase(), Heard()
    aws = replace_heard(aws, heard)
    with pytest.raises(CapacityError) as none:
        aws.acquire(offers[0], bought, CancelToken())
    assert none.value.code == "aws-no-capacity"
    assert none.value.transient, "the next offer is tried"
    assert heard.attempts.count("ec2:RunInstances") == 1, "the same zone is not asked twice"
    assert aws.acquire(offers[1], bought, CancelToken()).offer.zone == zones[1]
    blow(box, "capacity", market="spot")
    with pytest.raises(CapacityError):
        aws.acquire(offers[1], purchase(), CancelToken())
    on_demand = next(each for each in offers if not each.spot and each.zone not in zones[:1])
    assert not aws.acquire(on_demand, purchase(), CancelToken()).offer.spot


def replace_heard(aws: AwsProvider, heard: Heard) -> AwsProvider:
    aws.calls.emit = heard
    return aws


@pytest.mark.parametrize(
    ("code", "message", "family", "ours"),
    [
        ("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded", CapacityError, "aws-quota"),
        ("VcpuLimitExceeded", "more vCPU capacity than your current limit of 0", CapacityError, "aws-quota"),
        ("UnauthorizedOperation", "You are not authorized", AccessError, "aws-denied"),
        (
            "UnauthorizedOperation",
            "User: arn:aws:iam::1:user/a is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/r",
            AccessError,
            "aws-pass-role",
        ),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "no", AccessError, "aws-spot-role"),
        ("VPCIdNotSpecified", "No default VPC for this user", UsageError, "aws-network"),
        (
            "ExpiredToken",
            "The security token included in the request is expired",
            AccessError,
            "aws-credentials-expired",
        ),
    ],
)
def test_what_stops_a_purchase_for_good_is_said_and_buys_nothing(
    box: SandboxBox, aws: AwsProvider, code: str, message: str, family: type[Exception], ours: str
) -> None:
    offer = first(aws)
    blow(box, "denied", service="ec2", action="RunInstances", code=code, message=message, status=400)
    with pytest.raises(family) as refused:
        aws.acquire(offer, purchase(), CancelToken())
    error = refused.value
    assert isinstance(error, AccessError | CapacityError | UsageError)
    assert (error.code, error.transient) == (ours, False)
    assert error.fix
    assert aws.machines(CancelToken()) == []


def test_a_profile_that_is_not_there_is_said_at_once(clients: Providers, aws: AwsProvider) -> None:
    with pytest.raises(UsageError) as refused:
        clients.make(aws__instance_profile="nobody").acquire(first(aws), purchase(), CancelToken())
    assert refused.value.code == "aws-instance-profile"


def test_a_profile_that_ec2_does_not_know_yet_is_waited_for(
    box: SandboxBox, clients: Providers, aws: AwsProvider
) -> None:
    iam = box.client("iam")
    iam.create_instance_profile(InstanceProfileName="fresh")
    blow(
        box,
        "error",
        service="ec2",
        action="RunInstances",
        times=3,
        code="InvalidParameterValue",
        status=400,
        message="Value (fresh) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
    )
    clock = FakeClock()
    patient = clients.make(aws__instance_profile="fresh", clock=clock)
    offer = first(aws)
    assert patient.acquire(offer, purchase(), CancelToken()).state in ("running", "pending")
    assert clock.slept[:3] == [1.0, 1.0, 1.0]


# Bad days of a purchase.


def test_an_answer_that_never_arrived_is_asked_for_again_with_the_same_token(
    box: SandboxBox, aws: AwsProvider
) -> None:
    offer, heard = first(aws), Heard()
    blow(box, "cut", service="ec2", action="RunInstances", times=2)
    machine = replace_heard(aws, heard).acquire(offer, purchase(), CancelToken())
    assert heard.attempts.count("ec2:RunInstances") == 3
    assert [each.id for each in aws.machines(CancelToken())] == [machine.id]


def test_throttling_and_broken_answers_on_the_way_are_ridden_out(box: SandboxBox, clients: Providers) -> None:
    aws = clients.make(clock=FakeClock())
    offer = first(aws)
    blow(box, "throttle", service="ec2", action="RunInstances", times=5)
    blow(box, "error", service="ec2", action="DescribeInstances", times=3)
    machine = aws.acquire(offer, purchase(), CancelToken())
    assert [each.id for each in aws.machines(CancelToken())] == [machine.id]
    box.reset()


def test_an_instance_that_is_not_seen_yet_is_pending(box: SandboxBox, aws: AwsProvider) -> None:
    offer = first(aws)
    blow(
        box,
        "error",
        service="ec2",
        action="DescribeInstances",
        skip=1,
        times=2,
        code="InvalidInstanceID.NotFound",
        message="The instance ID does not exist",
        status=400,
    )
    assert aws.acquire(offer, purchase(), CancelToken()).state == "running"


def test_an_instance_that_is_never_seen_is_gone_and_not_refused(box: SandboxBox, clients: Providers) -> None:
    clock = FakeClock()
    aws = clients.make(clock=clock)
    offer = first(aws)
    blow(
        box,
        "error",
        service="ec2",
        action="DescribeInstances",
        skip=1,
        code="InvalidInstanceID.NotFound",
        message="The instance ID does not exist",
        status=400,
    )
    with pytest.raises(MachineGone):
        aws.acquire(offer, purchase(), CancelToken())
    assert 60 < clock.monotonic() < 70
    box.reset()


def test_a_repeated_purchase_with_other_user_data_is_the_same_machine(
    clients: Providers, aws: AwsProvider
) -> None:
    """The lease's end and the user data hold times: a second client's are never those of the first."""
    offer, bought = first(aws), purchase()
    machine = aws.acquire(offer, bought, CancelToken())
    again = clients.make()
    again._asked.add(
        (bought.run_id, 1)
    )  # as when the listing does not show it yet: the token alone has to do
    other = replace(bought, user_data=b"#!/bin/sh\necho other\n", expires_at=datetime.now(UTC))
    assert again.acquire(offer, other, CancelToken()).id == machine.id
    assert len(aws.machines(CancelToken())) == 1


def test_a_second_client_with_other_prices_finds_the_machine_that_was_bought(
    clients: Providers, aws: AwsProvider
) -> None:
    offers = aws.offers(SPOT, CancelToken())
    bought = purchase()
    machine = aws.acquire(offers[0], bought, CancelToken())
    again = clients.make()
    assert again.acquire(offers[1], bought, CancelToken()).id == machine.id
    assert again.acquire(offers[1], replace(bought, attempt=2), CancelToken()).id != machine.id


def test_a_client_killed_between_buying_and_knowing_finds_its_machine_again(
    box: SandboxBox, clients: Providers, aws: AwsProvider
) -> None:
    offer, bought = first(aws), purchase()
    # the answer of the purchase is held back, and the client dies waiting for it
    blow(box, "slow", service="ec2", action="RunInstances", delay=0.1, rate=1, times=1)
    code = (
        "from tests.unit.aws.aws_world import surroundings, AwsProvider\n"
        "from runctl.core.cancel import CancelToken\n"
        "from runctl.core.model import Purchase, Resources\n"
        f"aws = AwsProvider(surroundings(env={{'HOME': {str(clients.home)!r}}}, aws__instance_profile=''))\n"
        f"need = Resources(machine_type='t3.micro')\n"
        f"bought = Purchase({bought.run_id!r}, 1, name={bought.name!r}, project='project', owner='owner')\n"
        "aws.acquire(aws.offers(need, CancelToken())[0], bought, CancelToken())\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ, cwd=Path(__file__).parents[2])
    try:
        until(lambda: aws.machines(CancelToken()))
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    [orphan] = aws.machines(CancelToken())
    again = clients.make().acquire(offer, bought, CancelToken())
    assert again.id == orphan.id
    assert len(aws.machines(CancelToken())) == 1


def test_a_cancel_while_buying_is_heard_and_the_machine_can_be_found_by_its_run(
    box: SandboxBox, aws: AwsProvider
) -> None:
    offer, bought, cancel, when = first(aws), purchase(), CancelToken(), [0.0]
    blow(box, "slow", service="ec2", action="RunInstances", delay=3)

    def stop() -> None:
        until(lambda: any(each.name == "ec2:run_instances" for each in threading.enumerate()))
        when[0] = time.monotonic()
        cancel.cancel()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Cancelled):
        aws.acquire(offer, bought, cancel)
    assert time.monotonic() - when[0] < 1
    [machine] = until(lambda: aws.machines(CancelToken()))
    assert machine.run_id == bought.run_id
    aws.release(machine.id, CancelToken())


def leased(aws: AwsProvider, ledger: Ledger, bought: Purchase, heard: Heard) -> Any:
    offers = aws.offers(SMALL, CancelToken())[:2]
    return lease(aws, offers, bought, ledger=ledger, emit=heard, clock=SystemClock(), cancel=CancelToken())


def test_credentials_that_expire_after_a_lost_answer_leave_the_debt_standing(
    box: SandboxBox, clients: Providers, tmp_path: Path
) -> None:
    """The purchase was made, its answer was lost, and from then on nobody may ask: that is no refusal."""
    aws, bought, heard = clients.make(clock=FakeClock()), purchase(), Heard()
    ledger = Ledger(tmp_path / "ledger.jsonl", FakeClock())
    aws.offers(SMALL, CancelToken())
    blow(box, "cut", service="ec2", action="RunInstances", times=1)
    blow(box, "expired", service="ec2", skip=1)
    with pytest.raises(ReleaseOwed) as unsure, leased(aws, ledger, bought, heard):
        raise AssertionError("there is no machine to hold")
    assert unsure.value.code == "aws-purchase-unsure"
    assert [each.run_id for each in ledger.debts()] == [bought.run_id]
    blow(box, "clear")
    [machine] = clients.make().machines(CancelToken())
    assert machine.run_id == bought.run_id
    box.reset()


def test_a_machine_that_cannot_be_watched_is_bought_all_the_same(
    box: SandboxBox, clients: Providers, tmp_path: Path
) -> None:
    aws, bought, heard = clients.make(), purchase(), Heard()
    replace_heard(aws, heard)
    ledger = Ledger(tmp_path / "ledger.jsonl", FakeClock())
    aws.offers(SMALL, CancelToken())
    blow(box, "expired", service="ec2", action="DescribeInstances", skip=1, times=1)
    with leased(aws, ledger, bought, heard) as held:
        assert ledger.debts()[0].machine_id == held.machine.id
        held.keep()
    assert any("cannot be watched" in each.text for each in heard.events if isinstance(each, Notice))
    assert [each.machine_id for each in ledger.debts()] == [held.machine.id]
    assert [each.id for each in aws.machines(CancelToken())] == [held.machine.id]
    box.reset()


def test_a_lease_moves_on_from_a_full_zone_and_owes_nothing_in_the_end(
    box: SandboxBox, clients: Providers, tmp_path: Path
) -> None:
    aws, bought, heard = clients.make(), purchase(), Heard()
    ledger = Ledger(tmp_path / "ledger.jsonl", FakeClock())
    full = first(aws).zone
    blow(box, "capacity", zone=full)
    with leased(aws, ledger, bought, heard) as held:
        assert held.machine.offer.zone != full
    assert ledger.debts() == ()
    assert aws.machines(CancelToken()) == []
    box.reset()


def test_no_room_anywhere_tries_every_offer_once_and_owes_nothing(
    box: SandboxBox, clients: Providers, tmp_path: Path
) -> None:
    aws, heard = clients.make(), Heard()
    replace_heard(aws, heard)
    ledger = Ledger(tmp_path / "ledger.jsonl", FakeClock())
    offers = aws.offers(SPOT, CancelToken())
    assert {each.spot for each in offers} == {True, False}
    blow(box, "capacity")
    with (
        pytest.raises(CapacityError) as none,
        lease(aws, offers, purchase(), ledger=ledger, emit=heard, clock=FakeClock(), cancel=CancelToken()),
    ):
        raise AssertionError("there is no machine to hold")
    assert none.value.code == "no-capacity"
    assert heard.attempts.count("ec2:RunInstances") == len(offers)
    assert ledger.debts() == ()
    box.reset()


def test_throttling_of_every_second_call_is_ridden_out_from_plan_to_end(
    box: SandboxBox, tmp_path: Path
) -> None:
    blow(box, "throttle", chance=0.5)
    try:
        with Providers.of(box, tmp_path) as clients:
            aws = clients.make(clock=FakeClock(), aws__regions=("us-west-2",))
            machine = aws.acquire(first(aws, SPOT), purchase(), CancelToken())
            assert [each.id for each in aws.machines(CancelToken())] == [machine.id]
            aws.release(machine.id, CancelToken())
            assert aws.machines(CancelToken()) == []
    finally:
        box.reset()


ACTIONS = {
    "ec2:DescribeInstanceTypes": "offers",
    "ec2:DescribeInstanceTypeOfferings": "offers",
    "ec2:DescribeSpotPriceHistory": "offers",
    "ec2:DescribeImages": "offers",
    "ssm:GetParameters": "offers",
    "ec2:DescribeInstances": "buy",
    "ec2:RunInstances": "buy",
}


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_that_is_denied_is_named_and_buys_nothing(
    box: SandboxBox, tmp_path: Path, action: str
) -> None:
    service, name = action.split(":")
    with Providers.of(box, tmp_path) as clients:
        aws = clients.make()
        if ACTIONS[action] == "buy":
            aws.offers(SPOT, CancelToken())
        blow(box, "denied", service=service, action=name)
        with pytest.raises(AccessError) as refused:
            aws.acquire(first(aws, SPOT), purchase(), CancelToken())
        assert refused.value.code == "aws-denied"
        assert action in refused.value.what
        blow(box, "clear")
        assert clients.make().machines(CancelToken()) == []


# Listing and ending.


def test_a_listing_has_state_price_and_run_of_every_machine_on_every_page(
    box: SandboxBox, clients: Providers
) -> None:
    heard = Heard()
    aws = clients.make(heard=heard, aws__regions=("us-west-2",))
    here, there = first(aws), first(aws, replace(SMALL, regions=("us-west-2",)))
    runs = {
        aws.acquire(offer, bought, CancelToken()).id: (bought.run_id, offer)
        for offer in (here, here, here, there)
        for bought in [purchase()]
    }
    [foreign] = box.launch()
    heard.events.clear()
    aws.fleet.page = 2
    listed = aws.machines(CancelToken())
    assert {each.id: (each.run_id, each.offer.price_per_hour) for each in listed} == {
        machine: (run, offer.price_per_hour) for machine, (run, offer) in runs.items()
    }
    assert foreign not in {each.id for each in listed}
    assert {each.state for each in listed} == {"running"}
    assert {each.offer.region for each in listed} == {"us-east-1", "us-west-2"}
    assert heard.attempts == ["ec2:DescribeInstances"] * 3, "two pages here, one there"
    aws.fleet.page = 1000
    heard.events.clear()
    aws.machines(CancelToken())
    assert len(heard.attempts) == 2, "one call a region"
    box.reset()


def test_a_machine_bought_in_a_region_that_no_setting_names_any_more_is_still_listed(
    box: SandboxBox, tmp_path: Path
) -> None:
    with Providers.of(box, tmp_path) as clients:
        clock = FakeClock()
        there = clients.make(aws__region="eu-west-1", clock=clock)
        machine = there.acquire(first(there), purchase(), CancelToken())
        here = clients.make(clock=clock)
        assert here.regions == ("us-east-1",)
        assert [each.id for each in here.machines(CancelToken())] == [machine.id]
        clock.advance(48 * 3600)
        assert [each.id for each in clients.make(clock=clock).machines(CancelToken())] == [machine.id]
        clients.make(clock=clock).release(machine.id, CancelToken())
        heard = Heard()
        last = clients.make(clock=clock, heard=heard)
        assert last.machines(CancelToken()) == []
        assert len(heard.attempts) == 2
        assert clients.make(clock=clock).fleet.regions == ["us-east-1"], (
            "an empty region is forgotten in time"
        )
    box.reset()


def test_a_region_that_does_not_answer_is_no_empty_region(box: SandboxBox, clients: Providers) -> None:
    aws = clients.make(aws__regions=("us-west-2",))
    blow(box, "denied", service="ec2", action="DescribeInstances", region="us-west-2")
    with pytest.raises(AccessError):
        aws.machines(CancelToken())
    box.reset()


def test_a_machine_of_somebody_else_is_not_ended_unless_it_is_said_twice(
    box: SandboxBox, aws: AwsProvider
) -> None:
    [foreign] = box.launch()
    box.wait(foreign, "running")
    for act in (aws.release, aws.fleet.stop, aws.fleet.start):
        with pytest.raises(UsageError) as refused:
            act(foreign, CancelToken())
        assert refused.value.code == "aws-not-ours"
    assert box.state(foreign) == "running"
    assert aws.fleet.machine(foreign, CancelToken()).run_id == ""
    aws.fleet.release(f"{foreign}@us-east-1", CancelToken(), not_mine=True)
    assert box.state(foreign) in ("shutting-down", "terminated")


def test_the_tag_is_looked_at_in_the_moment_of_the_end(box: SandboxBox, aws: AwsProvider) -> None:
    machine = buy(aws)
    box.client("ec2").delete_tags(Resources=[machine], Tags=[{"Key": "runctl:managed"}])
    with pytest.raises(UsageError):
        aws.release(machine, CancelToken())
    assert box.state(machine) == "running"


@pytest.mark.parametrize("kind", ["denied", "error"])
def test_an_end_that_is_not_sure_is_owed(box: SandboxBox, clients: Providers, kind: str) -> None:
    aws = clients.make(clock=FakeClock(), retries__attempts=2.0)
    machine = buy(aws)
    blow(box, kind, service="ec2", action="TerminateInstances")
    with pytest.raises(ReleaseOwed) as owed:
        aws.release(machine, CancelToken())
    assert machine in owed.value.what
    assert any(
        f"terminate-instances --region us-east-1 --instance-ids {machine}" in each for each in owed.value.fix
    )
    blow(box, "clear")
    aws.release(machine, CancelToken())
    assert box.state(machine) in ("shutting-down", "terminated")
    box.reset()


def test_an_end_whose_answer_is_lost_is_seen_all_the_same(box: SandboxBox, aws: AwsProvider) -> None:
    machine = buy(aws)
    blow(box, "cut", service="ec2", action="TerminateInstances", times=1)
    aws.release(machine, CancelToken())
    assert box.state(machine) in ("shutting-down", "terminated")


def test_a_machine_nobody_knows_is_gone_and_no_id_is_a_mistake(aws: AwsProvider) -> None:
    aws.release("i-0123456789abcdef0", CancelToken())
    with pytest.raises(MachineGone):
        aws.fleet.machine("i-0123456789abcdef0", CancelToken())
    with pytest.raises(UsageError) as refused:
        aws.release("web-server", CancelToken())
    assert refused.value.code == "aws-id"


def test_a_machine_is_stopped_and_started(aws: AwsProvider, box: SandboxBox) -> None:
    machine = buy(aws, keep=True)
    aws.fleet.stop(machine, CancelToken())
    assert box.state(machine) == "stopped"
    [listed] = aws.machines(CancelToken())
    assert (listed.id, listed.state) == (machine, "stopped")
    assert aws.fleet.start(machine, CancelToken()).state == "running"
    spot = buy(aws, SPOT)
    with pytest.raises(UsageError) as refused:
        aws.fleet.stop(spot, CancelToken())
    assert refused.value.code == "aws-spot-cannot-stop"


def test_a_machine_that_is_there_is_taken_as_it_is(box: SandboxBox, aws: AwsProvider) -> None:
    [foreign] = box.launch()
    with pytest.raises(UsageError) as refused:
        aws.offers(Resources(machine="i-nothing"), CancelToken())
    assert refused.value.code == "aws-id"
    box.wait(foreign, "running")
    [offer] = aws.offers(Resources(machine=foreign), CancelToken())
    assert (offer.machine, offer.machine_type, offer.region) == (foreign, "t3.micro", "us-east-1")
    reached = aws.endpoint(offer)
    assert reached is not None
    assert reached.address == f"{foreign}@us-east-1"
    before = tags(seen(box, foreign)) if "Tags" in seen(box, foreign) else {}
    bought = purchase()
    machine = aws.acquire(offer, bought, CancelToken())
    assert (machine.id, machine.run_id) == (foreign, bought.run_id)
    after = tags(seen(box, foreign)) if "Tags" in seen(box, foreign) else {}
    assert before == after, "nothing of it is changed"
    box.client("ec2").stop_instances(InstanceIds=[foreign])
    box.wait(foreign, "stopped")
    with pytest.raises(UsageError) as stopped:
        aws.offers(Resources(machine=foreign), CancelToken())
    assert stopped.value.code == "aws-not-running"
    assert aws.endpoint(first(aws)) is None


def test_a_subnet_of_ones_own_decides_the_zone(box: SandboxBox, clients: Providers, aws: AwsProvider) -> None:
    [subnet, *_] = box.client("ec2").describe_subnets()["Subnets"]
    mine = clients.make(aws__subnet=subnet["SubnetId"], aws__regions=("us-west-2",))
    offers = mine.offers(SPOT, CancelToken())
    assert {each.zone for each in offers} == {subnet["AvailabilityZone"]}
    machine = mine.acquire(offers[0], purchase(), CancelToken())
    assert seen(box, machine.id)["SubnetId"] == subnet["SubnetId"]


def test_nothing_is_asked_before_it_is_needed_and_an_unreachable_cloud_is_said(
    box: SandboxBox, tmp_path: Path
) -> None:
    with Providers.of(box, tmp_path) as clients:
        os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
        aws = clients.make(clock=FakeClock(), retries__attempts=2.0)
        with pytest.raises(UnreachableError):
            aws.offers(SMALL, CancelToken())
        os.environ["AWS_ENDPOINT_URL"] = box.values["AWS_ENDPOINT_URL"]


def test_purchases_are_equal_by_value() -> None:
    assert purchase("run") == Purchase("run", 1, name="run", project="project", owner="owner")
