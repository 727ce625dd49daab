"""The policies are least, fit into what IAM takes, and Terraform says the same as what setup does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runctl.aws import data_access, quotas
from runctl.aws.names import Names, names
from runctl.aws.policies import bucket_policy, client_policy, instance_policy, same, trust_policy
from runctl.aws.terraform import terraform
from runctl.core.errors import RunctlError
from runctl.project.settings import SETTINGS

ACCOUNT = "123456789012"
MANAGED_POLICY = 6144  # characters without white space that IAM takes in a managed policy
INLINE_POLICY = 10_240  # the same for all inline policies of a role


def default(key: str) -> Any:
    return SETTINGS[key].default


def those(**given: Any) -> Names:
    return names(default, **{"account": ACCOUNT, "region": "us-west-2", **given})


def size(policy: dict[str, Any]) -> int:
    return len(json.dumps(policy, separators=(",", ":")))


def actions(policy: dict[str, Any]) -> set[str]:
    return {action for each in policy["Statement"] if each["Effect"] == "Allow" for action in each["Action"]}


def test_the_longest_names_still_fit() -> None:
    longest = names(
        lambda key: "p" * 60 if key == "aws.prefix" else default(key),
        account=ACCOUNT,
        region="ap-southeast-2",
        partition="aws-us-gov",
        bucket="b" * 63,
        role="r" * 64,
    )
    assert size(client_policy(longest)) < MANAGED_POLICY
    assert size(instance_policy(longest)) < INLINE_POLICY


def test_a_machine_can_neither_delete_nor_write_outside_of_runs_nor_manage_anything() -> None:
    policy = instance_policy(those())
    assert not {
        each
        for each in actions(policy)
        if re.search("Delete(?!Message)|^(ec2|iam|sts):|Policy|ListAll", each)
    }
    writes = [each for each in policy["Statement"] if "s3:PutObject" in each["Action"]]
    assert [each["Resource"] for each in writes] == [
        [f"arn:aws:s3:::runctl-{ACCOUNT}-us-west-2/runctl/{below}/*" for below in ("runs", "envs")]
    ]


def test_no_statement_allows_everything_of_a_service() -> None:
    for policy in (client_policy(those()), instance_policy(those())):
        assert not [action for action in actions(policy) if "*" in action]


def test_a_client_changes_only_what_carries_the_tag_and_passes_one_role() -> None:
    changing = {"ec2:TerminateInstances", "ec2:StopInstances", "ec2:StartInstances"}
    for each in client_policy(those())["Statement"]:
        if changing & set(each["Action"]):
            assert each["Condition"] == {"StringEquals": {"aws:ResourceTag/runctl:managed": "true"}}
        if "iam:PassRole" in each["Action"]:
            assert each["Resource"] == [f"arn:aws:iam::{ACCOUNT}:role/runctl-instance"]


def test_a_bucket_that_another_account_made_under_this_name_gets_nothing_and_gives_nothing() -> None:
    for policy in (client_policy(those()), instance_policy(those())):
        on_bucket = [each for each in policy["Statement"] if each["Action"][0].startswith("s3:")]
        assert on_bucket
        for each in on_bucket:
            assert each["Condition"] == {"StringEquals": {"aws:ResourceAccount": ACCOUNT}}


def test_names_come_from_the_settings_unless_they_are_given() -> None:
    settings = {"aws.bucket": "ours", "aws.prefix": "/team/a/", "aws.instance_profile": "node"}
    found = names(settings.__getitem__, account=ACCOUNT, region="eu-west-1")
    assert (found.bucket, found.prefix, found.profile, found.role) == ("ours", "team/a", "node", "node")
    assert found.objects("runs/*") == "arn:aws:s3:::ours/team/a/runs/*"
    given = names(settings.__getitem__, account=ACCOUNT, region="eu-west-1", bucket="b", role="r")
    assert (given.bucket, given.profile) == ("b", "r")
    china = names(default, account=ACCOUNT, region="cn-north-1", partition="aws-cn")
    assert china.bucket_arn == f"arn:aws-cn:s3:::runctl-{ACCOUNT}-cn-north-1"
    assert trust_policy(china)["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com.cn"}


def test_policies_are_compared_by_what_they_say() -> None:
    one = {"Statement": {"Effect": "Allow", "Action": ["a", "b"], "Resource": "*"}}
    other = {"Statement": [{"Resource": ["*"], "Action": ["b", "a"], "Effect": "Allow"}]}
    assert same(one, other)
    assert not same(one, {"Statement": [{**one["Statement"], "Action": ["a"]}]})
    assert not same(None, one)


def documents(text: str, found: Names) -> list[dict[str, Any]]:
    """The policies in a Terraform text, as Terraform would fill them in."""
    values = {
        "data.aws_caller_identity.current.account_id": found.account,
        "data.aws_region.current.id": found.region,
        "data.aws_partition.current.partition": found.partition,
        "data.aws_partition.current.dns_suffix": found.domain,
    }
    filled = re.sub(r"(?<!\$)\$\{([^}]+)\}", lambda match: values[match[1]], text).replace("$${", "${")
    return [json.loads(each) for each in re.findall(r"<<-JSON\n(.*?)\n *JSON\n", filled, re.DOTALL)]


@pytest.mark.parametrize(
    "given",
    [
        {"region": "us-west-2"},
        {"region": "cn-north-1", "partition": "aws-cn"},
        {"region": "eu-west-1", "bucket": "b"},
    ],
)
def test_terraform_says_what_setup_does_in_every_account(given: dict[str, str]) -> None:
    found = those(**given)
    text = terraform(default, bucket=given.get("bucket", ""))
    expected = [bucket_policy(found), trust_policy(found), instance_policy(found), client_policy(found)]
    assert documents(text, found) == expected


DATA = ("s3://pictures/cats", "s3://pictures/dogs/small", "s3://words")


def test_the_policy_for_data_names_what_was_asked_for_and_nothing_else() -> None:
    policy = data_access.policy(map(data_access.place, DATA), "aws")
    assert [each.address for each in data_access.places_in(policy)] == list(DATA)
    assert actions(policy) == {"s3:GetObject", "s3:ListBucket"}
    read, pictures, words = policy["Statement"]
    assert "arn:aws:s3:::pictures/cats/*" in read["Resource"]
    assert "arn:aws:s3:::pictures/*" not in read["Resource"]
    assert pictures["Condition"]["StringLike"]["s3:prefix"][:2] == ["cats", "cats/*"]
    assert "Condition" not in words
    assert data_access.places_in(None) == data_access.places_in({"Statement": {"Sid": "x"}}) == ()


@pytest.mark.parametrize("address", ["pictures", "s3://", "s3:///cats", "s3://pictures/*", "file:///data"])
def test_what_is_no_address_of_data_is_refused(address: str) -> None:
    with pytest.raises(RunctlError) as caught:
        data_access.place(address)
    assert caught.value.code == "store-url"


def test_terraform_has_the_data_too() -> None:
    text = terraform(default, data=DATA)
    wanted = data_access.policy(map(data_access.place, DATA), "aws")
    assert wanted in documents(text, those())
    assert "runctl_data" not in terraform(default)


@pytest.mark.parametrize(
    ("machine_type", "on_demand", "spot"),
    [
        ("t3.micro", "L-1216C47A", "L-34B43A08"),
        ("m7i.large", "L-1216C47A", "L-34B43A08"),
        ("im4gn.large", "L-1216C47A", "L-34B43A08"),
        ("g5.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("p6-b200.48xlarge", "L-417A185B", None),
        ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
        ("trn1.2xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("x2idn.16xlarge", "L-7295265B", "L-E3A00192"),
        ("mac2.metal", None, None),
    ],
)
def test_every_type_has_the_quota_of_its_family(
    machine_type: str, on_demand: str | None, spot: str | None
) -> None:
    found = [quotas.quota_of(machine_type, spot=market) for market in (False, True)]
    assert [None if quota is None else quota.code for quota in found] == [on_demand, spot]


def test_the_guide_says_what_every_statement_is_for() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "aws.md").read_text()
    table = guide[guide.index("| statement | for |") : guide.index("Before anything is bought")]
    named = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    assert sorted(named) == sorted(each["Sid"] for each in client_policy(those())["Statement"])
