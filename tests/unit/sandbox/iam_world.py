"""People for tests of permissions: users with a policy, roles, and what a refusal said."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.unit.sandbox.cloud_world import SandboxBox

ACCOUNT = "123456789012"
PYTHON = sys.executable


def document(*statements: dict[str, Any]) -> str:
    """A policy; each statement allows unless it says otherwise, on everything unless it says on what."""
    whole = [{"Effect": "Allow", **each} for each in statements]
    whole = [
        each if "Resource" in each or "Principal" in each else {**each, "Resource": "*"} for each in whole
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": whole})


def trust(principal: Any, **more: Any) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@dataclass
class Person:
    """Somebody with credentials."""

    box: SandboxBox
    keys: dict[str, str]

    def client(self, service: str, **more: Any) -> Any:
        return self.box.client(service, **self.keys, **more)

    def arn(self) -> str:
        return str(self.client("sts").get_caller_identity()["Arn"])


def user(box: SandboxBox, name: str, *statements: dict[str, Any], **more: Any) -> Person:
    """A new user with an inline policy."""
    iam = box.client("iam")
    iam.create_user(UserName=name, **more)
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return Person(box, {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]})


def lent(box: SandboxBox, credentials: dict[str, str]) -> Person:
    """Who STS lent these credentials."""
    names = {"key": "AccessKeyId", "secret": "SecretAccessKey", "token": "SessionToken"}
    return Person(box, {ours: credentials[theirs] for ours, theirs in names.items()})


def node_role(box: SandboxBox, *statements: dict[str, Any], name: str = "node", core: bool = True) -> None:
    """A role for instances with an inline policy."""
    box.role(name, core=core, policy=document(*statements) if statements else "")


def trouble(call: Callable[..., Any], **given: Any) -> tuple[str, str]:
    """(code, message) of a call that may be refused; empty when it was not."""
    try:
        call(**given)
    except ClientError as error:
        return str(error.response["Error"]["Code"]), str(error.response["Error"].get("Message", ""))
    return "", ""


def refusal(call: Callable[..., Any], **given: Any) -> tuple[str, int, str]:
    """(code, HTTP status, message) of a call that has to be refused."""
    with pytest.raises(ClientError) as caught:
        call(**given)
    response = caught.value.response
    return (
        response["Error"]["Code"],
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"].get("Message", ""),
    )


def because(person_arn: str, action: str, resource: str = "") -> str:
    """The sentence of a refusal for want of an identity policy."""
    on = f" on resource: {resource}" if resource else ""
    return f"User: {person_arn} is not authorized to perform: {action}{on} because no identity-based policy allows the {action} action"
