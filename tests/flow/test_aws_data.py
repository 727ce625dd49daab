"""Data in a bucket of the user's: said before anything is bought when machines may not read it, and read once they may."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.awsworld import Account, account, debts, with_policy
from tests.conftest import Result, World
from tests.unit.sandbox.cloud_world import until

READS = """
import os
for base, _, names in os.walk(os.environ["RUNCTL_DATA_DIR"], followlinks=True):
    for name in sorted(names):
        print(name, open(os.path.join(base, name)).read().strip(), flush=True)
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    words = () if os.geteuid() == 0 else ("--plain",)
    with account(tmp_path_factory.mktemp("account"), *words) as owner:
        s3 = owner.box.client("s3")
        for bucket in ("pictures", "open", "letters"):
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key="set/a.txt", Body=b"first\n")
            s3.put_object(Bucket=bucket, Key="other/b.txt", Body=b"second\n")
        yield owner


def train(world: World, data: str) -> Result:
    project = world.project({"train.py": READS, ".runctl.toml": 'target = "aws"\n'})
    return world.runctl("train", "train.py", "--yes", "--data", data, cwd=project, timeout=110)


def test_what_machines_may_not_read_is_said_before_anything_is_bought(aws: Account, tmp_path: Path) -> None:
    owner = aws.computer(tmp_path / "owner")
    rights = owner.runctl("aws", "setup", "--print", "policy", "--json").json()["client"]["Statement"]
    user = with_policy(aws, tmp_path, "reader", rights)
    refused = train(user, "s3://pictures/set")
    assert refused.code == 3, refused.err
    assert "error[aws-data-denied]: the machines may not read s3://pictures/set" in refused.err
    assert "  runctl aws setup --data s3://pictures/set" in refused.err
    assert not aws.instances("pending", "running", "terminated", "shutting-down")
    assert debts(user) == []

    shown = owner.runctl("aws", "setup", "--data", "s3://pictures/set", "--dry-run")
    assert "may read s3://pictures/set" in shown.out
    assert train(user, "s3://pictures/set").code == 3  # a dry run changed nothing
    assert owner.runctl("aws", "setup", "--data", "s3://pictures/set", "--yes").code == 0
    got = train(user, "s3://pictures/set")
    assert got.code == 0, got.err
    assert got.out == "a.txt first\n"
    until(lambda: not aws.instances(), lambda: str(aws.instances()))
    beside = train(user, "s3://pictures/other")
    assert "aws-data-denied" in beside.err


def test_one_object_is_an_address_too(aws: Account, tmp_path: Path) -> None:
    owner = aws.computer(tmp_path / "owner")
    assert owner.runctl("aws", "setup", "--data", "s3://letters/set/a.txt", "--yes").code == 0
    got = train(owner, "s3://letters/set/a.txt")
    assert got.code == 0, got.err
    assert got.out == "a.txt first\n"


def test_a_bucket_that_may_let_machines_in_by_itself_is_a_warning(aws: Account, tmp_path: Path) -> None:
    everybody = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
    statement = {**everybody, "Resource": ["arn:aws:s3:::open", "arn:aws:s3:::open/*"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.box.client("s3").put_bucket_policy(Bucket="open", Policy=policy)
    got = train(aws.computer(tmp_path / "owner"), "s3://open/set")
    assert got.code == 0, got.err
    assert "unless the bucket itself lets it in" in got.err
    assert got.out == "a.txt first\n"


def test_words_of_setup_that_contradict_each_other(aws: Account, tmp_path: Path) -> None:
    owner = aws.computer(tmp_path / "owner")
    both = owner.runctl("aws", "setup", "--remove", "--data", "s3://pictures")
    assert (both.code, "error[usage]" in both.err) == (2, True)
    wrong = owner.runctl("aws", "setup", "--data", "pictures", "--dry-run")
    assert (wrong.code, "error[store-url]" in wrong.err) == (2, True)
    told = owner.runctl("aws", "setup", "--data", "s3://x/y", "--print", "policy", "--json").json()
    assert told["instance_data"]["Statement"][0]["Resource"] == ["arn:aws:s3:::x/y", "arn:aws:s3:::x/y/*"]
