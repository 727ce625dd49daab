"""An image is baked on a machine that is given back, a run that needs the same boots from it, and it can be removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.awsworld import Account, Client, account, debts, with_policy
from tests.conftest import World
from tests.unit.environment.wheel_index import wheel
from tests.unit.sandbox.cloud_world import until

SCRIPT = "import alpha, os, sys\nprint('alpha', alpha.__version__, 'in', sys.prefix.rpartition('/')[2])\n"
TYPE = ("--instance-type", "t3.micro")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="an image is of a disk of its own, which takes root"
)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with account(tmp_path_factory.mktemp("account")) as owner:
        yield owner


@pytest.fixture
def user(aws: Account, tmp_path: Path) -> World:
    return aws.computer(tmp_path / "laptop")


@pytest.fixture
def project(user: World) -> Iterator[Path]:
    name, data = wheel("alpha")
    found = user.project({"train.py": SCRIPT, "requirements.txt": f"--no-index\n./wheels/{name}\n"})
    (found / "wheels").mkdir()
    (found / "wheels" / name).write_bytes(data)
    yield found
    assert user.runctl("aws", "ami", "prune", "--keep", "0", "--yes").code == 0


def test_baked_once_and_booted_from_ever_after(user: World, project: Path, aws: Account) -> None:
    dry = user.runctl("aws", "ami", "bake", "train.py", *TYPE, "--dry-run", "--json", cwd=project, timeout=90)
    assert dry.code == 0, dry.err
    assert aws.instances() == []
    made = user.runctl(
        "aws", "ami", "bake", "train.py", *TYPE, "--name", "lab", "--yes", "--json", cwd=project, timeout=300
    )
    assert made.code == 0, made.err
    image = made.json()
    assert (image["name"], image["packages"], image["state"]) == ("lab", 1, "available")
    assert image["environment"] == dry.json()["environment"]
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=30)
    assert debts(user) == []
    (row,) = user.runctl("aws", "ami", "list", "--json").json()
    assert row["id"] == image["id"]
    assert "lab" in user.runctl("aws", "ami", "list").out

    plan = user.runctl("train", "train.py", "--on", "aws", *TYPE, "--dry-run", cwd=project, timeout=90)
    assert f"environment {image['key']} is in the image {image['id']}" in plan.out, plan.out
    got = user.runctl("train", "train.py", "--on", "aws", *TYPE, "--yes", cwd=project, timeout=200)
    assert f"alpha 1.0 in {image['key']}" in got.out, got.err
    assert "cached: Python" in got.err, got.err  # nothing was installed, nor fetched from the store

    there = user.runctl("aws", "ami", "bake", "train.py", *TYPE, "--yes", cwd=project, timeout=90)
    assert "it is there already" in there.out
    assert len(user.runctl("aws", "ami", "list", "--json").json()) == 1


def test_what_cannot_be_installed_leaves_neither_image_nor_machine(
    user: World, project: Path, aws: Account
) -> None:
    (project / "requirements.txt").write_text(
        (project / "requirements.txt").read_text() + "nobody-has-this\n"
    )
    got = user.runctl("aws", "ami", "bake", "train.py", *TYPE, "--yes", cwd=project, timeout=200)
    assert got.code == 8, got.err
    assert "nobody-has-this" in got.err
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=30)
    assert debts(user) == []
    assert user.runctl("aws", "ami", "list", "--json").json() == []


def test_an_image_is_used_by_name_shared_and_pruned(user: World, project: Path, aws: Account) -> None:
    made = user.runctl(
        "aws", "ami", "bake", "train.py", *TYPE, "--name", "lab", "--yes", "--quiet", cwd=project, timeout=300
    )
    assert made.code == 0, made.err
    image = made.out.strip()
    unknown = user.runctl("aws", "ami", "use", "nothing", cwd=project)
    assert unknown.code == 2
    assert "image-unknown" in unknown.err
    assert user.runctl("aws", "ami", "use", "lab", cwd=project).code == 0
    assert user.runctl("config", "get", "aws.image", cwd=project).out == "lab\n"
    (project / "other.py").write_text("# /// script\n# dependencies = []\n# ///\nprint('hello')\n")
    plan = user.runctl("train", "other.py", "--on", "aws", *TYPE, "--dry-run", cwd=project, timeout=90)
    assert image in plan.out, plan.out
    assert "is in the image" not in plan.out  # it has another environment
    assert user.runctl("aws", "ami", "use", "auto", cwd=project).code == 0
    shared = user.runctl("aws", "ami", "share", "lab", "123456789012")
    assert shared.code == 0, shared.err
    ec2 = aws.box.client("ec2")
    allowed = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
    assert [each["UserId"] for each in allowed] == ["123456789012"]
    pruned = user.runctl("aws", "ami", "prune", "--keep", "0", "--yes", "--json")
    assert [each["id"] for each in pruned.json()["images"]] == [image]
    assert user.runctl("aws", "ami", "list", "--json").json() == []
    left = ec2.describe_snapshots(
        OwnerIds=["self"], Filters=[{"Name": "tag:runctl:managed", "Values": ["true"]}]
    )
    assert left["Snapshots"] == []


def test_images_of_presets_stand_on_what_their_packages_need(
    user: World, aws: Account, tmp_path: Path
) -> None:
    words = ("aws", "ami", "bake", "--dry-run", "--json", "--preset")
    cuda = user.runctl(*words, "pytorch-cuda", cwd=tmp_path, timeout=90)
    assert cuda.code == 0, cuda.err
    recipe = cuda.json()
    assert "nvidia" in recipe["base"]
    assert recipe["name"] == "pytorch-cuda"
    plain = user.runctl(*words, "cpu-sklearn", cwd=tmp_path, timeout=90).json()
    assert plain["base"].startswith("/aws/service/ami-amazon-linux-latest/")
    unknown = user.runctl(*words, "fortran", cwd=tmp_path)
    assert unknown.code == 2
    assert "preset-unknown" in unknown.out
    assert aws.instances() == []


def test_the_printed_policy_is_enough_to_bake_and_prune(
    user: World, project: Path, aws: Account, tmp_path: Path
) -> None:
    printed = user.runctl("aws", "setup", "--print", "policy", "--json").json()["client"]["Statement"]
    world = with_policy(aws, tmp_path, "baker", printed)
    made = world.runctl("aws", "ami", "bake", "train.py", *TYPE, "--yes", "--json", cwd=project, timeout=300)
    assert made.code == 0, made.out
    assert world.runctl("aws", "ami", "prune", made.json()["id"], "--yes").code == 0
    assert user.runctl("aws", "ami", "list", "--json").json() == []


@pytest.mark.parametrize("seen", ["get a machine", "environment", "copy its disk"])
def test_a_bake_that_is_cancelled_leaves_neither_image_nor_machine(
    user: World, project: Path, aws: Account, seen: str
) -> None:
    words = ("aws", "ami", "bake", "train.py", *TYPE, "--yes", "--verbose")
    client = Client.start(user, *words, cwd=project)
    client.see(seen, seconds=120)
    client.end()
    assert client.process.returncode == 130, client.text
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    assert debts(user) == []
    assert user.runctl("aws", "ami", "list", "--json").json() == []


@pytest.mark.parametrize(
    "seen", ["reached (here): started", "environment (machine): started", "copy its disk"]
)
def test_a_bake_that_is_killed_is_seen_and_cleaned_up(
    user: World, project: Path, aws: Account, seen: str
) -> None:
    words = ("aws", "ami", "bake", "train.py", *TYPE, "--yes", "--verbose")
    client = Client.start(user, *words, cwd=project)
    client.see(seen, seconds=120)
    client.process.kill()
    client.process.wait()
    listed = user.runctl("resources")
    assert f"bake-{project.name}" in listed.out, listed.out + listed.err
    cleaned = user.runctl("clean", "--yes", timeout=90)
    assert cleaned.code == 0, cleaned.err
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    assert debts(user) == []
    user.runctl("aws", "ami", "prune", "--keep", "0", "--yes")
    assert user.runctl("aws", "ami", "list", "--json").json() == []
