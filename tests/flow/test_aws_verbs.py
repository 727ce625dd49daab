"""Instances by hand: bought to stay, looked at, used, stopped, ended; what runs on them saves first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.awsworld import SCRIPT, Account, Client, account, debts
from tests.conftest import World
from tests.unit.sandbox.cloud_world import ROLE_TRUST, until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    words = () if os.geteuid() == 0 else ("--plain",)
    with account(tmp_path_factory.mktemp("account"), *words) as owner:
        yield owner


@pytest.fixture
def aws(shared: Account) -> Iterator[Account]:
    yield shared
    shared.blow("clear")
    for each in shared.instances():
        shared.box.client("ec2").terminate_instances(InstanceIds=[each["InstanceId"]])
    until(lambda: not shared.instances(), lambda: str(shared.instances()), seconds=60)


@pytest.fixture
def user(aws: Account, tmp_path: Path) -> World:
    return aws.computer(tmp_path / "laptop")


def create(user: World, *options: str) -> str:
    got = user.runctl(
        "aws", "create", "--instance-type", "t3.micro", "--yes", "--quiet", *options, timeout=90
    )
    assert got.code == 0, got.err
    return got.out.strip()


def test_the_life_of_an_instance_by_hand(user: World, aws: Account) -> None:
    made = create(user, "--hours", "2", "--name", "lab")
    assert [debt["machine_id"] for debt in debts(user)] == [made]
    (row,) = user.runctl("aws", "list", "--json").json()
    assert (row["machine"], row["state"], row["name"]) == (made, "running", "lab")
    assert user.runctl("aws", "list", "--quiet").out == f"{made}\n"
    page = user.runctl("aws", "status", made).out
    assert "running" in page
    assert "t3.micro, on demand, us-east-1" in page
    assert user.runctl("aws", "wait", made, "--for", "reached", timeout=90).code == 0
    busy = user.runctl("aws", "processes", made, "--json", timeout=90).json()
    assert busy["cpus"] >= 1
    assert busy["processes"][0]["pid"] > 0
    assert user.runctl("aws", "stop", made, "--yes", timeout=90).code == 0
    assert user.runctl("aws", "status", made, "--json").json()["state"] == "stopped"
    assert user.runctl("aws", "start", made, "--yes", timeout=90).code == 0
    ended = user.runctl("aws", "terminate", made, "--yes", timeout=90)
    assert ended.code == 0, ended.err
    assert user.runctl("aws", "list", "--json").json() == []
    assert debts(user) == []


def test_it_ends_itself_when_its_hours_are_over(user: World, aws: Account) -> None:
    made = create(user, "--hours", "0.001")  # a minute is the least that a machine's own clock knows
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=100)
    assert user.runctl("aws", "wait", made, "--for", "ended", timeout=60).code == 0
    assert user.runctl("clean", "--yes").code == 0
    assert debts(user) == []


def test_a_run_on_a_kept_instance_saves_before_it_is_ended(user: World, aws: Account) -> None:
    project = user.project({"train.py": SCRIPT})
    made = create(user)
    client = Client.start(
        user, "aws", "train", "train.py", "--machine", made, "--yes", "--", "500", "0.1", cwd=project
    )
    client.see("step 3\n")
    client.end()
    ended = user.runctl("aws", "terminate", made, "--yes", timeout=90)
    assert ended.code == 0, ended.err
    assert "let" in ended.err
    assert "save and end" in ended.err
    record = user.runctl("runs", "--json").json()[0]
    assert (record["state"], record["outcome"]) == ("ended", "cancelled")


def test_an_instance_of_somebody_else_is_left_alone_unless_it_is_named_so(user: World, aws: Account) -> None:
    iam = aws.box.client("iam")
    if "other" not in {role["RoleName"] for role in iam.list_roles()["Roles"]}:
        iam.create_role(RoleName="other", AssumeRolePolicyDocument=ROLE_TRUST)
    (theirs,) = aws.box.launch()
    aws.box.wait(theirs, "running")
    refused = user.runctl("aws", "terminate", theirs, "--yes")
    assert refused.code == 2, refused.err
    assert "aws-not-ours" in refused.err
    assert aws.box.state(theirs) == "running"
    assert user.runctl("aws", "terminate", theirs, "--not-mine", "--yes", timeout=90).code == 0
    assert user.runctl("aws", "list", "--json").json() == []


def test_nothing_is_done_without_a_yes(user: World, aws: Account) -> None:
    asked = user.runctl("aws", "create", "--instance-type", "t3.micro")
    assert asked.code == 2
    assert "confirmation-needed" in asked.err
    dry = user.runctl("aws", "create", "--instance-type", "t3.micro", "--dry-run", "--json")
    assert dry.json()[0]["machine_type"] == "t3.micro"
    assert aws.instances() == []


def test_a_workflow_brings_results_home_and_leaves_nothing(user: World, aws: Account) -> None:
    script = (
        SCRIPT + '\nopen(os.path.join(os.environ["RUNCTL_OUTPUT_DIR"], "metrics.json"), "w").write("{}")\n'
    )
    project = user.project({"train.py": script})
    words = ("workflow", "train", "train.py", "--on", "aws", "--yes", "--to", "out", "--", "5", "0")
    got = user.runctl(*words, cwd=project, timeout=110)
    assert got.code == 0, got.err
    there = Path(got.out.splitlines()[-1])
    assert (there / "checkpoints/step-5.safetensors").is_file()
    assert (there / "outputs/metrics.json").read_text() == "{}"
    assert debts(user) == []
