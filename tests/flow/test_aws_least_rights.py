"""The rights that ``runctl aws setup --print policy`` asks for are enough for the whole job, and none is asked in vain.

On a sandbox that evaluates policies: the user has that policy and nothing else, the machine the role that setup made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.awsworld import SCRIPT, Account, account, debts, with_policy
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
    until(lambda: not shared.instances(), lambda: str(shared.instances()))


def printed(aws: Account, folder: Path) -> list[dict[str, Any]]:
    """The statements of the policy that the owner of the account is told to give."""
    told = aws.computer(folder / "owner").runctl("aws", "setup", "--print", "policy", "--json").json()
    return list(told["client"]["Statement"])


def train(world: World, *options: str) -> Result:
    project = world.project({"training/train.py": SCRIPT, ".runctl.toml": 'target = "aws"\n'})
    words = ("train", "training/train.py", "--yes", *options, "--", "6", "0.05")
    return world.runctl(*words, cwd=project, timeout=110)


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_the_printed_policy_is_enough_for_the_whole_job(aws: Account, tmp_path: Path, market: str) -> None:
    world = with_policy(aws, tmp_path, f"user-{market}", printed(aws, tmp_path))
    got = train(world, *["--spot"] * (market == "spot"))
    assert got.code == 0, got.err
    assert got.out.endswith("done in 1\n")
    assert debts(world) == []
    until(lambda: not aws.instances(), lambda: str(aws.instances()))
    assert world.runctl("logs", "latest").out == got.out
    pulled = world.runctl("checkpoint", "pull", "latest", "--to", str(world.root / "models"))
    assert pulled.code == 0, pulled.err
    assert world.runctl("resources", "--json").json() == []
    told = world.runctl("doctor", "--on", "aws", "--json")
    assert told.code == 0, told.out
    (rights,) = [check for check in told.json()["checks"] if check["name"] == "permissions"]
    assert rights["what"].endswith(" actions are allowed")


# A statement that is left out, and what is then missing.
LACKING = {
    "BuyFrom": "ec2:RunInstances",
    "MakeTagged": "ec2:RunInstances",
    "TagWhatIsBought": "ec2:CreateTags",
    "PassOneRole": "iam:PassRole",
    "PublicImages": "ssm:GetParameter",
    "Objects": "s3:",
}


@pytest.mark.parametrize(("sid", "action"), LACKING.items())
def test_a_right_that_is_missing_is_named_and_nothing_is_left(
    aws: Account, tmp_path: Path, sid: str, action: str
) -> None:
    every = printed(aws, tmp_path)
    fewer = [each for each in every if each["Sid"] != sid]
    assert len(fewer) == len(every) - 1
    world = with_policy(aws, tmp_path, f"without-{sid}", fewer)
    got = train(world)
    assert got.code == 3, got.err
    assert action in got.err
    assert aws.instances() == []
    assert debts(world) == []
