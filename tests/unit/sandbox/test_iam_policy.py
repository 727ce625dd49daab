"""Policies of the sandbox, read and compared with requests: the tables of the IAM user guide, row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runctl.sandbox.iam.policy import Asked, BadPolicy, parse

KEYS = {
    "aws:username": ("ann",),
    "aws:principaltag/team": ("vision",),
    "aws:sourceip": ("203.0.113.7",),
    "aws:currenttime": ("2026-05-01T12:00:00Z",),
    "aws:epochtime": ("1777636800",),
    "aws:securetransport": ("true",),
    "aws:principalarn": ("arn:aws:iam::123456789012:role/team/node",),
    "s3:max-keys": ("50",),
    "s3:prefix": ("home/ann/x",),
    "aws:tagkeys": ("owner", "cost"),
}


def statement(**elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **elements}


def applies(asked: Asked, *, version: str = "2012-10-17", **elements: Any) -> bool:
    document = {"Version": version, "Statement": [statement(**elements)]}
    return fits_whole(json.dumps(document), asked)


def fits_whole(document: str, asked: Asked) -> bool:
    """Whether the one statement of a policy is about a request, and its conditions hold."""
    policy = parse(document)
    return any(each.applies(asked) for each in policy.about(asked.action, allow=True))


def get(resource: str = "arn:aws:s3:::data/a/b", action: str = "s3:GetObject") -> Asked:
    return Asked(action, resource, KEYS)


@pytest.mark.parametrize(
    ("elements", "fits"),
    [
        ({"Action": "*"}, True),
        ({"Action": "S3:getobject"}, True),
        ({"Action": "s3:Get*"}, True),
        ({"Action": "s3:Get"}, False),
        ({"Action": "s3:G?tObject"}, True),
        ({"Action": ["ec2:*", "s3:PutObject"]}, False),
        ({"Action": ["ec2:*", "s3:*Object"]}, True),
        ({"Action": "s3:GetObjec."}, False),
        ({"Resource": "arn:aws:s3:::data/*"}, True),
        ({"Resource": "arn:aws:s3:::data"}, False),
        ({"Resource": "arn:aws:s3:::DATA/*"}, False),
        ({"Resource": "arn:aws:s3:::data/?/b"}, True),
        ({"Resource": "arn:aws:s3:::data/?"}, False),
        ({"Resource": ["arn:aws:s3:::other/*", "arn:aws:s3:::da*"]}, True),
        ({"Resource": "arn:aws:s3:::data/(a|b)/b"}, False),
    ],
)
def test_actions_and_resources(elements: dict[str, Any], fits: bool) -> None:
    assert applies(get(), **elements) is fits


@pytest.mark.parametrize(
    ("elements", "fits"),
    [
        ({"NotAction": ["s3:Put*"]}, True),
        ({"NotAction": ["s3:*"]}, False),
        ({"NotResource": "arn:aws:s3:::secret/*"}, True),
        ({"NotResource": ["arn:aws:s3:::data/*"]}, False),
        ({"NotResource": "arn:aws:s3:::${aws:PrincipalTag/absent}/*"}, False),
    ],
)
def test_the_negated_elements(elements: dict[str, Any], fits: bool) -> None:
    whole = statement(**elements)
    for name in elements:
        del whole[name.removeprefix("Not")]
    document = {"Version": "2012-10-17", "Statement": whole}
    assert fits_whole(json.dumps(document), get()) is fits


@pytest.mark.parametrize(
    ("resource", "asked", "fits"),
    [
        ("arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/ann/x", True),
        ("arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/bob/x", False),
        ("arn:aws:s3:::b/${AWS:UserName}/*", "arn:aws:s3:::b/ann/x", True),
        ("arn:aws:s3:::${aws:PrincipalTag/team}-*", "arn:aws:s3:::vision-data", True),
        ("arn:aws:s3:::${aws:PrincipalTag/absent}*", "arn:aws:s3:::vision-data", False),
        ("arn:aws:s3:::${aws:PrincipalTag/absent, 'common'}/*", "arn:aws:s3:::common/x", True),
        ("arn:aws:s3:::${aws:PrincipalTag/team, 'common'}/*", "arn:aws:s3:::common/x", False),
        ("arn:aws:s3:::b/${aws:TagKeys}", "arn:aws:s3:::b/owner", False),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/*", True),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/x", False),
        ("arn:aws:s3:::b/${?}${$}", "arn:aws:s3:::b/?$", True),
    ],
)
def test_policy_variables(resource: str, asked: str, fits: bool) -> None:
    assert applies(get(asked), Resource=resource) is fits


def test_policies_of_the_old_version_have_no_variables() -> None:
    literal = "arn:aws:s3:::b/${aws:username}"
    assert applies(get(literal), Resource=literal, version="2008-10-17")
    assert not applies(get("arn:aws:s3:::b/ann"), Resource=literal, version="2008-10-17")


def test_what_a_variable_brings_in_is_no_wildcard() -> None:
    keys = {"aws:principaltag/team": ("*",)}
    asked = Asked("s3:GetObject", "arn:aws:s3:::b/anything", keys)
    assert not applies(asked, Resource="arn:aws:s3:::b/${aws:PrincipalTag/team}")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:username": "ann"}}, True),
        ({"StringEquals": {"AWS:USERNAME": ["bob", "ann"]}}, True),
        ({"StringEquals": {"aws:username": "Ann"}}, False),
        ({"StringEqualsIgnoreCase": {"aws:username": "ANN"}}, True),
        ({"StringNotEquals": {"aws:username": ["bob", "ann"]}}, False),
        ({"StringNotEquals": {"aws:username": ["bob", "eve"]}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:username": "ANN"}}, False),
        ({"StringLike": {"s3:prefix": ["home/${aws:username}/*"]}}, True),
        ({"StringLike": {"s3:prefix": "home/?nn/x"}}, True),
        ({"StringEquals": {"s3:prefix": "home/*"}}, False),
        ({"StringNotLike": {"s3:prefix": "home/*"}}, False),
        ({"NumericLessThanEquals": {"s3:max-keys": "50"}}, True),
        ({"NumericLessThan": {"s3:max-keys": 50}}, False),
        ({"NumericGreaterThan": {"s3:max-keys": "9"}}, True),
        ({"NumericEquals": {"s3:max-keys": "50.0"}}, True),
        ({"NumericNotEquals": {"s3:max-keys": "10"}}, True),
        ({"NumericEquals": {"aws:username": "1"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2026-05-01T12:00:01Z"}}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-05-01T14:00:00+02:00"}}, False),
        ({"DateGreaterThanEquals": {"aws:CurrentTime": "2026-05-01T14:00:00+02:00"}}, True),
        ({"DateEquals": {"aws:EpochTime": "2026-05-01T12:00:00Z"}}, True),
        ({"DateNotEquals": {"aws:EpochTime": "2026-05-01T12:00:00Z"}}, False),
        ({"Bool": {"aws:SecureTransport": "True"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "203.0.113.0/24"]}}, True),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.7"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
        ({"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}, False),
        ({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/team/*"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/team/node"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:*:role/team/node"}}, False),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::123456789012:user/*"}}, True),
        ({"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/team/node"}}, False),
        ({"BinaryEquals": {"aws:username": "YW5u"}}, False),
        # several operators and keys all have to hold
        ({"StringEquals": {"aws:username": "ann"}, "Bool": {"aws:SecureTransport": "false"}}, False),
        ({"StringEquals": {"aws:username": "ann", "s3:prefix": "other"}}, False),
        # keys that are absent
        ({"StringEquals": {"aws:PrincipalTag/absent": "x"}}, False),
        ({"StringNotEquals": {"aws:PrincipalTag/absent": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:PrincipalTag/absent": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:username": "x"}}, False),
        ({"NumericLessThan": {"aws:absent": "5"}}, False),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}, True),
        ({"Null": {"aws:PrincipalTag/absent": "true"}}, True),
        ({"Null": {"aws:PrincipalTag/absent": "false"}}, False),
        ({"Null": {"aws:username": "false"}}, True),
        ({"Null": {"aws:username": True}}, False),
        # keys with many values
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["cost", "team"]}}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["cost", "owner", "team"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["cost"]}}, False),
        ({"ForAllValues:StringLike": {"aws:TagKeys": "*o*"}}, True),
        ({"ForAllValues:StringEquals": {"aws:absent": "x"}}, True),
        ({"ForAnyValue:StringEquals": {"aws:absent": "x"}}, False),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": "cost"}}, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": "cost"}}, False),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": "team"}}, True),
        # variables in values
        ({"StringEquals": {"aws:username": "${aws:username}"}}, True),
        ({"StringEquals": {"aws:username": "${aws:PrincipalTag/absent}"}}, False),
        ({"StringNotEquals": {"aws:username": "${aws:PrincipalTag/absent}"}}, True),
        ({"StringLike": {"aws:username": "a${*}n"}}, False),
    ],
)  # fmt: skip
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    assert applies(get(), Condition=condition) is holds


def test_binary_values_are_compared_as_bytes() -> None:
    asked = Asked("s3:GetObject", "*", {"some:key": ("YW5u",)})
    assert applies(asked, Condition={"BinaryEquals": {"some:key": "YW5u"}})


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("", "Syntax"),
        ("[]", "Syntax"),
        ("{}", "Syntax"),
        ('{"Statement": []}', "Syntax"),
        ({"Version": "2020-01-01", "Statement": statement()}, "version"),
        ({"Statement": statement(Effect="allow")}, "Effect"),
        ({"Statement": statement(NotAction="s3:*")}, "action"),
        ({"Statement": {"Effect": "Allow", "Action": "s3:*"}}, "resource"),
        ({"Statement": statement(Action=[])}, "action"),
        ({"Statement": statement(Resources="*")}, "Resources"),
        ({"Statement": statement(Principal="*")}, "principal"),
        ({"Statement": statement(Condition={"StringIs": {"a": "b"}})}, "Condition type"),
        ({"Statement": statement(Condition={"ForSomeValue:StringEquals": {"a": "b"}})}, "Condition type"),
        ({"Statement": statement(Condition={"NullIfExists": {"a": "true"}})}, "Condition type"),
        ({"Statement": statement(Condition={"StringEquals": "b"})}, "object"),
        ({"Statement": statement(Condition={"StringEquals": {"a": {}}})}, "values"),
    ],
)
def test_a_document_that_aws_would_not_keep(document: Any, why: str) -> None:
    with pytest.raises(BadPolicy, match=why):
        parse(document if isinstance(document, str) else json.dumps(document))


@pytest.mark.parametrize(
    ("kind", "elements", "why"),
    [
        ("resource", {}, "Principal"),
        ("resource", {"Principal": {"Aws": "*"}}, "principal"),
        ("trust", {"Principal": {"Service": "ec2.amazonaws.com"}}, "Resource"),
    ],
)
def test_resource_and_trust_policies_have_rules_of_their_own(
    kind: str, elements: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadPolicy, match=why):
        parse(json.dumps({"Version": "2012-10-17", "Statement": statement(**elements)}), kind)


def test_every_policy_of_aws_can_be_read() -> None:
    from moto.iam.aws_managed_policies import aws_managed_policies_data

    documents = {name: each["Document"] for name, each in json.loads(aws_managed_policies_data).items()}
    assert len(documents) > 1_000
    for name, document in documents.items():
        assert parse(json.dumps(document)).statements, name
