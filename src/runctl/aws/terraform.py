"""The set-up as Terraform (or OpenTofu) configuration, for those who keep their account in it. Pure.

Account, region and partition are read by Terraform itself, so the text holds for whatever account it is applied in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runctl.aws import data_access
from runctl.aws.bucket import lifecycle_rules
from runctl.aws.names import MANAGED, Names, names
from runctl.aws.policies import bucket_policy, client_policy, instance_policy, trust_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ACCOUNT = "${data.aws_caller_identity.current.account_id}"
_REGION = "${data.aws_region.current.id}"
_PARTITION = "${data.aws_partition.current.partition}"
_DOMAIN = "${data.aws_partition.current.dns_suffix}"
_OURS = (_ACCOUNT, _REGION, _PARTITION, _DOMAIN)

_HEAD = """\
# What runctl needs in an AWS account: a bucket, a role for the machines it buys, and a policy for those who run it.
# Written by `runctl aws setup --print terraform`.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_region" "current" {}
data "aws_partition" "current" {}
"""


def terraform(
    setting: Callable[[str], Any], *, bucket: str = "", role: str = "", data: tuple[str, ...] = ()
) -> str:
    """The configuration, with the names that the settings (or ``bucket`` and ``role``) give.

    ``data`` are addresses that machines may read, too. Raises ``store-url`` for one that is none.
    """
    found = names(
        setting,
        account=_ACCOUNT,
        region=_REGION,
        partition=_PARTITION,
        bucket=bucket,
        role=role,
        data=data,
    )
    found = Names(**{**vars(found), "domain": _DOMAIN})
    return "\n".join((_HEAD, *_bucket(found), *_role(found)))


def _bucket(names: Names) -> tuple[str, ...]:
    return (
        _resource("aws_s3_bucket", "runctl", {"bucket": _text(names.bucket), "tags": _map(MANAGED)}),
        _of_bucket("public_access_block", dict.fromkeys(_BLOCKS, "true")),
        _of_bucket(
            "ownership_controls", {}, _block("rule", {"object_ownership": _text("BucketOwnerEnforced")})
        ),
        _of_bucket(
            "server_side_encryption_configuration",
            {},
            _block(
                "rule",
                {},
                _block("apply_server_side_encryption_by_default", {"sse_algorithm": _text("AES256")}),
            ),
        ),
        _of_bucket("policy", {"policy": _document(bucket_policy(names))}),
        _of_bucket("lifecycle_configuration", {}, *_lifecycle(names)),
    )


_BLOCKS = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")


def _of_bucket(kind: str, values: Mapping[str, str], *blocks: str) -> str:
    return _resource(
        f"aws_s3_bucket_{kind}", "runctl", {"bucket": "aws_s3_bucket.runctl.id", **values}, *blocks
    )


def _lifecycle(names: Names) -> tuple[str, ...]:
    unfinished, temporary = lifecycle_rules(names)
    after_a_day = (
        _block("abort_incomplete_multipart_upload", {"days_after_initiation": "1"}),
        _block("expiration", {"days": "1"}),
    )
    return tuple(
        _block(
            "rule",
            {"id": _text(rule["ID"]), "status": _text(rule["Status"])},
            _block("filter", {"prefix": _text(rule["Filter"]["Prefix"])}),
            action,
        )
        for rule, action in zip((unfinished, temporary), after_a_day, strict=True)
    )


def _role(names: Names) -> tuple[str, ...]:
    return (
        _resource(
            "aws_iam_role",
            "runctl",
            {
                "name": _text(names.role),
                "description": _text("Machines that runctl buys"),
                "assume_role_policy": _document(trust_policy(names)),
                "tags": _map(MANAGED),
            },
        ),
        _resource(
            "aws_iam_role_policy",
            "runctl",
            {
                "name": _text("runctl"),
                "role": "aws_iam_role.runctl.id",
                "policy": _document(instance_policy(names)),
            },
        ),
        *_data(names),
        _resource(
            "aws_iam_instance_profile",
            "runctl",
            {"name": _text(names.profile), "role": "aws_iam_role.runctl.name", "tags": _map(MANAGED)},
        ),
        "# Attach this one to the users and roles that run `runctl`.",
        _resource(
            "aws_iam_policy",
            "runctl_client",
            {"name": _text("runctl-client"), "policy": _document(client_policy(names))},
        ),
    )


def _data(names: Names) -> tuple[str, ...]:
    if not names.data:
        return ()
    policy = data_access.policy(map(data_access.place, names.data), names.partition)
    values = {
        "name": _text(data_access.POLICY),
        "role": "aws_iam_role.runctl.id",
        "policy": _document(policy),
    }
    return (_resource("aws_iam_role_policy", "runctl_data", values),)


def _resource(kind: str, name: str, values: Mapping[str, str], *blocks: str) -> str:
    return _block(f'resource "{kind}" "{name}"', values, *blocks) + "\n"


def _block(head: str, values: Mapping[str, str], *blocks: str) -> str:
    width = max(map(len, values), default=0)
    lines = [f"{name:{width}} = {value}" for name, value in values.items()]
    body = [_indented(each) for each in (*lines, *blocks)]
    return "\n".join([f"{head} {{", *body, "}"])


def _indented(text: str) -> str:
    """Two spaces further in; the body of a document may stand as deep as its end (``<<-``)."""
    return "\n".join(f"  {line}" for line in text.split("\n"))


def _text(value: str) -> str:
    return json.dumps(value)


def _map(values: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{_text(key)} = {_text(value)}" for key, value in values.items()) + " }"


def _document(policy: Mapping[str, Any]) -> str:
    """A policy as it is in JSON. What IAM itself fills in (``${aws:username}``) is none of Terraform's business."""
    text = json.dumps(policy, indent=2).replace("${", "$${")
    for ours in _OURS:
        text = text.replace(f"${ours}", ours)
    return f"<<-JSON\n{text}\nJSON"
