"""A volume lives as its commands say: made where it is wanted, mounted by its id, unmounted before it leaves, copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.awsworld import Account, account, with_policy
from tests.conftest import World
from tests.unit.sandbox.cloud_world import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a volume is a block device, which takes root")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with account(tmp_path_factory.mktemp("account")) as owner:
        yield owner


@pytest.fixture
def user(aws: Account, tmp_path: Path) -> World:
    """Somebody who has what setup prints, and nothing else."""
    name = f"u-{tmp_path.name[:20]}"
    printed = aws.computer(tmp_path / "owner").runctl("aws", "setup", "--print", "policy", "--json").json()
    return with_policy(aws, tmp_path, name, printed["client"]["Statement"])


@pytest.fixture
def machine(user: World, aws: Account) -> Iterator[str]:
    got = user.runctl("aws", "create", "--instance-type", "t3.micro", "--yes", "--quiet", timeout=90)
    assert got.code == 0, got.err
    made = got.out.strip()
    assert user.runctl("aws", "wait", made, timeout=90).code == 0
    yield made
    assert user.runctl("aws", "terminate", made, "--yes", timeout=90).code == 0
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)


def ebs(user: World, *words: str) -> dict[str, object]:
    got = user.runctl("aws", "ebs", *words, "--json", "--yes", timeout=90)
    assert got.code == 0, (words, got.out, got.err)
    value: dict[str, object] = got.json()
    return value


def test_the_life_of_a_volume(user: World, machine: str) -> None:
    made = ebs(user, "create", "--size", "1", "--name", "data", "--for", machine)
    assert (made["state"], made["gb"], made["iops"], made["mbs"]) == ("available", 1, 3000, 125)
    mounted = ebs(user, "mount", "data", machine, "/mnt/data")
    assert mounted["how"] == "made"
    assert ebs(user, "mount", "data", machine, "/mnt/data")["how"] == "there"
    wrote = user.runctl("exec", machine, "--", "sh", "-c", "echo kept > /mnt/data/file; sync", timeout=60)
    assert wrote.code == 0, wrote.err
    refused = user.runctl("aws", "ebs", "delete", "data", "--yes", timeout=60)
    assert "volume-attached" in refused.err, refused.err
    warmed = user.runctl("aws", "ebs", "prewarm", "data", timeout=90)
    assert warmed.code == 0, warmed.err

    busy = ("sh", "-c", "cd /mnt/data && (sleep 300 >/dev/null 2>&1 & echo $!)")
    sleeper = user.runctl("exec", machine, "--", *busy, timeout=60).out.strip()
    held = user.runctl("aws", "ebs", "detach", "data", timeout=60)
    assert held.code == 9, held.err
    assert "volume-mount" in held.err
    assert "busy" in held.err
    assert user.runctl("exec", machine, "--", "kill", sleeper, timeout=60).code == 0
    assert ebs(user, "detach", "data")["machine"] == ""
    copy = ebs(user, "snapshot", "data")
    assert copy["state"] == "completed"
    restored = ebs(user, "restore", "data", "--name", "again", "--for", machine)
    assert restored["snapshot"] == copy["id"]
    assert ebs(user, "mount", "again", machine, "/mnt/again")["how"] == "mounted"
    read = user.runctl("exec", machine, "--", "cat", "/mnt/again/file", timeout=60)
    assert read.out == "kept\n", read.err
    listed = ebs(user, "list")
    assert [each["name"] for each in listed["volumes"]] == ["again", "data"]  # type: ignore[attr-defined]
    billed = user.runctl("resources", "--json").json()
    kinds = sorted((each["kind"], each["price_per_month"]) for each in billed if each["kind"] != "machine")
    assert kinds == [("snapshot", None), ("volume", "0.08"), ("volume", "0.08")]
    told = user.runctl("resources")
    assert "0.16 USD a month for volumes" in told.err, told.err
    assert str(copy["id"]) in told.out
    page = user.runctl("aws", "ebs", "list").out
    assert "again" in page
    assert "snapshot" in page
    ebs(user, "delete", "again", "--force")
    ebs(user, "delete", "data")
    ebs(user, "delete", str(copy["id"]))
    assert ebs(user, "list") == {"volumes": [], "snapshots": []}


def test_a_volume_of_another_zone_is_refused_with_the_way_there(
    user: World, machine: str, aws: Account
) -> None:
    (zone,) = {each["Placement"]["AvailabilityZone"] for each in aws.instances()}
    other = "us-east-1b" if zone != "us-east-1b" else "us-east-1a"
    made = ebs(user, "create", "--size", "1", "--zone", other)
    refused = user.runctl("aws", "ebs", "mount", str(made["id"]), machine, "/mnt/x", timeout=60)
    assert refused.code == 2
    assert "volume-elsewhere" in refused.err
    assert f"runctl aws ebs restore SNAPSHOT --zone {zone}" in refused.err
    ebs(user, "delete", str(made["id"]))


def test_what_is_not_ours_is_not_seen(user: World, aws: Account) -> None:
    theirs = aws.box.client("ec2").create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    refused = user.runctl("aws", "ebs", "delete", theirs, "--yes", timeout=60)
    assert refused.code == 2
    assert "volume-unknown" in refused.err
    aws.box.client("ec2").delete_volume(VolumeId=theirs)
