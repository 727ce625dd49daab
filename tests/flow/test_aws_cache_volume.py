"""A cache volume really keeps what the next machine needs, is never taken, never formatted over, and never in the way."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.awsworld import Account, Client, account, debts, with_policy
from tests.conftest import Result, World
from tests.unit.environment.wheel_index import Index, wheel
from tests.unit.sandbox.cloud_world import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a volume is a block device, which takes root")
SCRIPT = """
import alpha, os, sys, time
print("alpha", alpha.__version__, "in", os.environ["RUNCTL_ATTEMPT"], flush=True)
if os.environ["RUNCTL_ATTEMPT"] == "1":
    time.sleep(float(sys.argv[1]))
"""
TRAIN = ("train", "train.py", "--cache-volume=pip", "--cache-volume-gb", "1", "--instance-type", "t3.micro")
HOME_ZONE, OTHER_ZONE = "us-east-1a", "us-east-1b"


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with Index(cacheable=True) as found:
        yield found.add(wheel("alpha")).add(wheel("beta"))


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, index: Index) -> Iterator[Account]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", index.url)  # what the sandbox lets its machines reach
        with account(tmp_path_factory.mktemp("account")) as owner:
            yield owner


@pytest.fixture
def user(aws: Account, tmp_path: Path) -> Iterator[World]:
    """Somebody with the printed rights and nothing else; no machine, debt, volume or snapshot is left afterwards."""
    printed = aws.computer(tmp_path / "owner").runctl("aws", "setup", "--print", "policy", "--json").json()
    world = with_policy(aws, tmp_path, f"u-{tmp_path.name[:40]}", printed["client"]["Statement"])
    yield world
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    assert debts(world) == []
    for kind in ("volumes", "snapshots"):
        for each in listed(world)[kind]:
            assert world.runctl("aws", "ebs", "delete", each["id"], "--yes", timeout=60).code == 0


@pytest.fixture
def project(user: World, index: Index) -> Path:
    found = user.project({"train.py": SCRIPT, ".runctl.toml": 'target = "aws"\n'})
    require(found, index, "alpha")
    return found


def require(project: Path, index: Index, *names: str) -> None:
    head = f"--index-url {index.url}\n--trusted-host 127.0.0.1\n"
    (project / "requirements.txt").write_text(head + "\n".join(names) + "\n")


def listed(user: World) -> Any:
    return user.runctl("aws", "ebs", "list", "--json").json()


def train(user: World, project: Path, *options: str, seconds: str = "0") -> Result:
    return user.runctl(*TRAIN, "--yes", *options, "--", seconds, cwd=project, timeout=200)


def fetched(index: Index, name: str) -> int:
    return sum(count for path, count in index.requests.items() if name in path and path.endswith(".whl"))


def put_volume(user: World, zone: str, name: str = "pip") -> str:
    made = user.runctl(
        "aws", "ebs", "create", "--size", "1", "--name", name, "--zone", zone, "--json", "--yes"
    )
    assert made.code == 0, made.err
    return str(made.json()["id"])


def test_the_next_machine_finds_the_packages_and_large_files_of_the_last(
    user: World, project: Path, index: Index, aws: Account
) -> None:
    (project / "model.bin").write_bytes(os.urandom(2 << 20))
    dry = user.runctl(*TRAIN, "--dry-run", cwd=project, timeout=90)
    assert "cache volume pip: new" in dry.out, dry.out
    assert "0.08 USD a month" in dry.out
    assert listed(user) == {"volumes": [], "snapshots": []}  # a dry run makes nothing
    first = train(user, project)
    assert first.code == 0, first.err
    assert "made a file system on it" in first.err, first.err
    assert "cache volume unmounted" in first.err
    (volume,) = listed(user)["volumes"]
    (copy,) = listed(user)["snapshots"]
    assert (copy["volume"], copy["automatic"]) == (volume["id"], True)
    billed = user.runctl("resources", "--json").json()
    assert {(each["kind"], each["price_per_month"]) for each in billed if each["kind"] == "volume"} == {
        ("volume", "0.08")
    }
    assert fetched(index, "alpha") == 1

    require(project, index, "alpha", "beta")  # another environment: the store has none of it
    dry = user.runctl(*TRAIN, "--dry-run", "--json", cwd=project, timeout=90)
    plan = json.loads(dry.out.splitlines()[-1])["plan"]
    found = {each["zone"]: (each["volume"], each["snapshot"]) for each in plan["caches"]}
    assert found.pop(volume["zone"]) == (volume["id"], "")
    assert set(found.values()) == {("", copy["id"])}
    assert plan["offer"]["zone"] == volume["zone"]
    second = train(user, project)
    assert second.code == 0, second.err
    assert "alpha 1.0" in second.out
    assert "2 packages, 1 of them from the cache volume, Python" in second.err, second.err
    assert "1 from the cache volume\n" in second.err  # model.bin
    assert (fetched(index, "alpha"), fetched(index, "beta")) == (1, 1)
    assert [each["id"] for each in listed(user)["volumes"]] == [volume["id"]]
    assert [each["id"] for each in listed(user)["snapshots"]] == [copy["id"]]  # it grew by little
    assert len({each["machine"] for each in user.runctl("runs", "--json").json()}) == 2


def test_one_in_another_zone_is_served_from_the_snapshot(user: World, project: Path, index: Index) -> None:
    assert train(user, project).code == 0
    (volume,) = listed(user)["volumes"]
    until(lambda: listed(user)["snapshots"][0]["state"] == "completed", lambda: str(listed(user)))
    assert user.runctl("aws", "ebs", "delete", volume["id"], "--yes", timeout=60).code == 0
    require(project, index, "alpha", "beta")
    before = fetched(index, "alpha")
    got = train(user, project)
    assert got.code == 0, got.err
    (restored,) = listed(user)["volumes"]
    assert restored["snapshot"] == listed(user)["snapshots"][0]["id"]
    assert "MB in it" in got.err, got.err  # mounted as it was, not made anew
    assert fetched(index, "alpha") == before


def test_a_volume_that_another_machine_has_is_not_taken(user: World, project: Path, aws: Account) -> None:
    """The offers of a subnet are all in one zone, so there is no way around."""
    subnets = aws.box.client("ec2").describe_subnets(
        Filters=[{"Name": "availability-zone", "Values": [HOME_ZONE]}]
    )["Subnets"]
    (project / ".runctl.toml").write_text(f'target = "aws"\n[aws]\nsubnet = "{subnets[0]["SubnetId"]}"\n')
    volume = put_volume(user, HOME_ZONE)
    holder = Client.start(user, *TRAIN, "--yes", "--", "60", cwd=project)
    holder.see("alpha 1.0", seconds=120)
    (has,) = [each["machine"] for each in listed(user)["volumes"]]
    dry = user.runctl(*TRAIN, "--dry-run", cwd=project, timeout=90)
    assert f"no cache volume: {volume} is in use" in dry.out, dry.out
    got = train(user, project)
    assert got.code == 0, got.err
    assert "the run goes on without its cache volume" in got.err
    assert has in got.err
    assert [each["machine"] for each in listed(user)["volumes"]] == [has]
    names = [each["name"] for each in user.runctl("runs", "--json").json() if each["state"] == "running"]
    for name in names:
        assert user.runctl("cancel", name, timeout=90).code == 0
    holder.result()
    assert "cache volume unmounted" in holder.text, holder.text  # also after a cancel


def bytes_of(aws: Account, volume: str) -> Path:
    """The file in which the sandbox keeps what is on a volume."""
    (folder,) = aws.box.base.rglob("volumes")
    return folder / volume


def everywhere(user: World, aws: Account, head: bytes) -> list[Path]:
    """A volume in every zone, with these bytes at its beginning."""
    made = []
    for letter in "abcdef":
        path = bytes_of(aws, put_volume(user, f"us-east-1{letter}"))
        with path.open("xb") as file:
            file.write(head)
            file.truncate(1 << 30)
        made.append(path)
    return made


def test_what_is_on_a_disk_is_not_formatted_over(user: World, project: Path, aws: Account) -> None:
    head = b"LUKS\xba\xbe\x00\x02" + b"somebody's own" * 1000
    made = everywhere(user, aws, head)
    got = train(user, project)
    assert got.code == 0, got.err
    assert "the run goes on without its cache volume: mount" in got.err, got.err
    for path in made:
        with path.open("rb") as file:
            assert file.read(len(head)) == head


def test_a_full_volume_is_not_in_the_way(
    user: World, project: Path, aws: Account, index: Index, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    subprocess.run(["mkfs.ext4", "-q", small, "2048k"], check=True)
    everywhere(user, aws, small.read_bytes())
    index.add(wheel("gamma", files={"gamma/__init__.py": "", "gamma/data.bin": os.urandom(8 << 20)}))
    require(project, index, "alpha", "gamma")
    got = train(user, project)
    assert got.code == 0, got.err
    assert "MB in it" in got.err, got.err
    assert "alpha 1.0" in got.out


def test_a_machine_that_dies_leaves_its_cache_to_the_next(
    user: World, project: Path, aws: Account, index: Index
) -> None:
    client = Client.start(user, *TRAIN, "--yes", "--", "300", cwd=project)
    client.see("alpha 1.0 in 1", seconds=120)
    (volume,) = listed(user)["volumes"]
    (machine,) = aws.instances("running")
    assert machine["InstanceId"] == volume["machine"]
    aws.box.client("ec2").terminate_instances(InstanceIds=[machine["InstanceId"]])
    client.see("alpha 1.0 in 2", seconds=120)
    got = client.result()
    assert got.code == 0, got.out
    (after,) = listed(user)["volumes"]
    assert after["id"] == volume["id"]
    assert got.out.count(f"{volume['id']} in") == 2, got.out  # attached to both


@pytest.mark.parametrize("seen", ["get a machine", "attach the cache volume", "hand over|fetch|mount"])
def test_a_cancel_leaves_nothing_that_is_not_listed(
    user: World, project: Path, aws: Account, seen: str
) -> None:
    client = Client.start(user, *TRAIN, "--yes", "--verbose", "--", "0", cwd=project)
    words = seen.split("|")
    until(lambda: any(each in client.text for each in words), lambda: client.text, seconds=90)
    client.end()
    user.runctl("cancel", "latest", timeout=90)
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=90)
    user.runctl("clean", "--yes", timeout=90)
    assert debts(user) == []
    every = aws.box.client("ec2").describe_volumes()["Volumes"]
    known = {each["id"] for each in listed(user)["volumes"]}
    assert {each["VolumeId"] for each in every} == known
