"""``runctl aws setup`` as it is typed: what it shows, what it asks, what its JSON says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.conftest import World
from tests.terminal import COLOURS, on_terminal, plain
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox

PLAN = """\
Plan for AWS account 123456789012 in us-east-1, as root

Creates
  + bucket runctl-123456789012-us-east-1          s3:CreateBucket
  +   tag it                                      s3:PutBucketTagging
  +   block public access                         s3:PutBucketPublicAccessBlock
  +   encrypt objects (SSE-S3)                    s3:PutEncryptionConfiguration
  +   the account owns every object               s3:PutBucketOwnershipControls
  +   allow TLS only                              s3:PutBucketPolicy
  +   unfinished uploads and tmp/ go after a day  s3:PutLifecycleConfiguration
  + role runctl-instance                          iam:CreateRole
  +   may use the bucket and SSM, nothing else    iam:PutRolePolicy
  + instance profile runctl-instance              iam:CreateInstanceProfile
  +   gives role runctl-instance to machines      iam:AddRoleToInstanceProfile

Mind
  ! these are the root user's keys  which nothing limits: make a user or a role

"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("cloud"), "--plain") as box:
        yield box


@pytest.fixture
def account(cloud: SandboxBox, world: World) -> Iterator[World]:
    """A world whose AWS is an empty sandbox."""
    world.env |= cloud.values
    yield world
    cloud.reset()


def test_the_plan_is_shown_asked_about_and_nothing_done_without_an_answer(
    account: World, cloud: SandboxBox
) -> None:
    shown = account.runctl("aws", "setup", "--dry-run")
    assert (shown.code, shown.out) == (0, PLAN)
    asked = account.runctl("aws", "setup")
    assert asked.code == 2
    assert "error[confirmation-needed]" in asked.err
    assert not cloud.client("s3").list_buckets()["Buckets"]


def test_yes_does_it_and_once_more_does_nothing(account: World, cloud: SandboxBox) -> None:
    done = account.runctl("aws", "setup", "--yes", "--json").json()
    assert done["applied"] is True
    assert {change["of"] for change in done["changes"]} == {
        f"bucket {done['bucket']}",
        "role runctl-instance",
        "instance profile runctl-instance",
    }
    assert [each["Name"] for each in cloud.client("s3").list_buckets()["Buckets"]] == [done["bucket"]]
    again = account.runctl("aws", "setup", "--yes", "--json").json()
    assert (again["applied"], again["changes"], len(again["kept"])) == (False, [], 3)
    words = account.runctl("aws", "setup")
    assert words.code == 0
    assert "= role runctl-instance" in words.out
    assert words.err.endswith("nothing to do\n")
    gone = account.runctl("aws", "setup", "--remove", "--yes", "--json").json()
    assert [change["kind"] for change in gone["changes"]] == ["remove"] * 3
    assert not cloud.client("s3").list_buckets()["Buckets"]


def test_every_call_of_the_plan_stands_in_its_json(account: World) -> None:
    plan = account.runctl("aws", "setup", "--dry-run", "--json").json()
    calls = [call for change in plan["changes"] for call in change["calls"]]
    assert calls[0] == {
        "action": "s3:CreateBucket",
        "service": "s3",
        "operation": "create_bucket",
        "params": {"Bucket": plan["bucket"], "ObjectOwnership": "BucketOwnerEnforced"},
    }
    assert len(calls) == 11


def test_names_of_ones_own_are_told_how_to_be_kept(account: World) -> None:
    done = account.runctl("aws", "setup", "-y", "--bucket", "my-runs", "--role", "train-node")
    assert done.code == 0
    assert "runctl config set aws.bucket my-runs\n" in done.err
    assert "runctl config set aws.instance_profile train-node\n" in done.err
    for words in (("aws.bucket", "my-runs"), ("aws.instance_profile", "train-node")):
        assert account.runctl("config", "set", "--user", *words).code == 0
    again = account.runctl("aws", "setup", "--dry-run", "--json").json()
    assert (again["changes"], again["bucket"], again["role"]) == ([], "my-runs", "train-node")


def test_policies_and_terraform_are_printed_and_nothing_is_changed(account: World, cloud: SandboxBox) -> None:
    policies = json.loads(account.runctl("aws", "setup", "--print", "policy").out)
    assert list(policies) == ["client", "client_pushes", "instance", "instance_trust", "bucket"]
    iam = cloud.client("iam")
    for name in ("client", "client_pushes", "instance"):
        iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policies[name]))
    text = account.runctl("aws", "setup", "--print", "terraform", "--role", "node").out
    assert 'resource "aws_iam_instance_profile" "runctl"' in text
    assert 'name = "node"' in text
    assert not cloud.client("s3").list_buckets()["Buckets"]


def test_terraform_needs_no_credentials(world: World) -> None:
    world.env["AWS_EC2_METADATA_DISABLED"] = "true"
    assert world.runctl("aws", "setup", "--print", "terraform").code == 0
    without = world.runctl("aws", "setup", "--dry-run", AWS_REGION="us-east-1")
    assert (without.code, "error[aws-no-credentials]" in without.err) == (3, True)


def test_what_is_denied_is_named_with_its_action(account: World, cloud: SandboxBox) -> None:
    cloud.weather("denied", "--service", "iam", "--action", "CreateRole")
    refused = account.runctl("aws", "setup", "--yes")
    assert refused.code == 3
    assert "error[aws-denied]" in refused.err
    assert "iam:CreateRole" in refused.err
    cloud.weather("clear")
    assert account.runctl("aws", "setup", "--yes").code == 0


def test_on_a_terminal_it_asks_below_the_plan_and_does_it(account: World, cloud: SandboxBox) -> None:
    sent, status = on_terminal(account, "aws", "setup", answers=["n"])
    assert status == 0
    assert plain(sent).endswith("\n\nDo it? [y/N] n\n")
    assert not cloud.client("s3").list_buckets()["Buckets"]
    sent, status = on_terminal(account, "aws", "setup", answers=["y"])
    shown = plain(sent)
    assert status == 0
    assert "\x1b[32m+\x1b[0m bucket runctl-123456789012-us-east-1" in sent
    assert all(len(line) <= 80 for line in shown.splitlines())
    above, _, below = shown.partition("Do it? [y/N] y")
    assert "Plan for AWS account" in above
    for of in ("bucket runctl-12", "role runctl-instance", "instance profile", "see it done"):
        assert of in below
    assert "created" in below
    assert len(cloud.client("s3").list_buckets()["Buckets"]) == 1


def test_without_colour_the_plan_has_none(account: World) -> None:
    sent, _ = on_terminal(account, "aws", "setup", "--dry-run", NO_COLOR="1")
    assert not COLOURS.search(sent)
    assert "  + role runctl-instance" in sent
