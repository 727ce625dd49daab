"""Bad days on AWS: each ends with a run that carried on, or with one error that says what to do; nothing is left billing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.awsworld import SCRIPT, Account, Client, account, debts
from tests.conftest import Result, World
from tests.unit.sandbox.cloud_world import until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    words = () if os.geteuid() == 0 else ("--plain",)
    with account(tmp_path_factory.mktemp("account"), *words) as owner:
        yield owner


@pytest.fixture
def aws(shared: Account) -> Iterator[Account]:
    yield shared
    shared.blow("clear")
    until(lambda: not shared.instances(), lambda: str(shared.instances()), seconds=60)


@pytest.fixture
def user(aws: Account, tmp_path: Path) -> World:
    return aws.computer(tmp_path / "laptop")


@pytest.fixture
def project(user: World) -> Path:
    return user.project({"train.py": SCRIPT, ".runctl.toml": 'target = "aws"\n'})


def words(*options: str, steps: int, pause: float) -> tuple[str, ...]:
    return ("train", "train.py", "--yes", *options, "--", str(steps), str(pause))


def train(user: World, project: Path, *options: str, steps: int = 6, pause: float = 0.05) -> Result:
    return user.runctl(*words(*options, steps=steps, pause=pause), cwd=project, timeout=110)


def start(user: World, project: Path, *options: str, steps: int = 200, pause: float = 0.1) -> Client:
    return Client.start(user, *words(*options, steps=steps, pause=pause), cwd=project)


WHOLE = "".join(f"step {n}\n" for n in range(6)) + "done in 1\n"


def test_no_bucket_names_the_command_that_makes_one(user: World, project: Path) -> None:
    got = user.runctl(*words(steps=3, pause=0), cwd=project, RUNCTL_AWS_BUCKET="there-is-none-of-this-name")
    assert got.code == 2, got.err
    assert "runctl aws setup" in got.err
    assert debts(user) == []


def test_systems_manager_that_never_answers_costs_nothing_but_speed(
    user: World, project: Path, aws: Account
) -> None:
    aws.blow("silent")
    got = train(user, project)
    assert (got.code, got.out) == (0, WHOLE), got.err


def test_a_connection_that_is_lost_in_the_middle_loses_no_line(
    user: World, project: Path, aws: Account
) -> None:
    client = start(user, project, steps=60)
    client.see("step 10\n")
    aws.blow("lost", seconds=10)
    got = client.result(seconds=100)
    assert got.code == 0, got.out
    assert [line for line in got.out.splitlines() if line.startswith("step ")] == [
        f"step {n}" for n in range(60)
    ]


def test_credentials_that_expire_while_following_leave_the_run_alone(
    user: World, project: Path, aws: Account
) -> None:
    client = start(user, project, steps=80)
    client.see("step 5\n")
    aws.blow("expired", access_key=aws.box.values["AWS_ACCESS_KEY_ID"])
    aws.blow("lost", seconds=3)
    got = client.result(seconds=100)
    if got.code != 0:  # the open session may have carried it to its end
        assert got.code == 3, got.out
        assert "expired" in got.out
        assert "runctl attach" in got.out
    aws.blow("clear")
    again = user.runctl("attach", "latest", timeout=100)
    assert again.code == 0, again.err
    assert user.runctl("logs", "latest").out.endswith("done in 1\n")
    assert user.runctl("clean", "--yes").code == 0
    assert debts(user) == []


def test_throttling_on_every_call_is_waited_out(user: World, project: Path, aws: Account) -> None:
    aws.blow("throttle", chance=0.4, seconds=20)
    got = train(user, project)
    assert (got.code, got.out) == (0, WHOLE), got.err
    assert debts(user) == []


def test_a_full_disk_is_named_and_the_machine_goes_back(user: World, project: Path, aws: Account) -> None:
    client = start(user, project, steps=400)
    client.see("step 3\n")
    aws.blow("disk-full")
    got = client.result(seconds=100)
    assert got.code != 0, got.out
    assert "No space left" in got.out or "disk is full" in got.out
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    assert user.runctl("clean", "--yes").code == 0
    assert debts(user) == []


def test_an_instance_that_dies_while_it_boots_is_replaced(user: World, project: Path, aws: Account) -> None:
    client = start(user, project, "--spot", steps=6, pause=0.05)
    client.see("get a machine (here): done")
    aws.blow("die")
    got = client.result(seconds=100)
    assert got.code == 0, got.out
    assert "done in" in got.out
    assert debts(user) == []


@pytest.mark.parametrize(
    "moment", ["look for machines", "send code", "get a machine (here): done", "step 2\n"]
)
def test_a_client_that_is_killed_leaves_what_clean_and_resume_mend(
    user: World, project: Path, aws: Account, moment: str
) -> None:
    client = start(user, project, steps=400)
    client.see(moment)
    client.end(9)
    records = user.runctl("runs", "--json").json()
    if records and moment == "step 2\n":
        assert user.runctl("cancel", "latest", "--grace", "1", timeout=90).code == 0
    cleaned = user.runctl("clean", "--yes", timeout=90)
    if cleaned.code != 0:  # what was being bought at that moment may still have to show
        until(lambda: user.runctl("clean", "--yes").code == 0 or not aws.instances(), seconds=60)
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    assert all(debt["machine_id"] == "" for debt in debts(user))


def test_resume_goes_on_where_a_killed_run_was(user: World, project: Path, aws: Account) -> None:
    client = start(user, project, steps=60)
    client.see("step 20\n")
    until(lambda: any("checkpoints.json" in key for key, _ in aws.objects()))
    client.end(9)
    aws.blow("die")
    until(lambda: not aws.instances())
    got = user.runctl("resume", "latest", "--yes", timeout=110)
    assert got.code == 0, got.err
    assert "resumed at" in got.out
    assert got.out.endswith("done in 2\n")
    assert debts(user) == []
