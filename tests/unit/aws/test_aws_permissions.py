"""The least policies are enough for every call runctl makes, and a permission that is missing is told beforehand."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aws.aws_world import Heard, calls_to
from tests.unit.aws.test_aws_probes import account_of
from tests.unit.aws.test_aws_setup import apply, names, planned, prepare
from tests.unit.sandbox.cloud_world import SandboxBox, until

from runctl.aws import doctor, setup
from runctl.aws.calls import AwsCalls
from runctl.aws.errors import action_of
from runctl.aws.names import Names
from runctl.aws.needs import Need, Use, needs
from runctl.aws.permissions import Refusal, Verdict, in_the_way, judge, missing, permissions, principal_of
from runctl.aws.policies import client_policy, push_policy
from runctl.aws.session import Identity
from runctl.core.cancel import CancelToken
from runctl.core.checks import CheckState, run_checks
from runctl.core.errors import AccessError
from runctl.core.model import Endpoint, Offer, Purchase, Resources
from runctl.providers.aws.provider import AwsProvider
from runctl.stores.s3 import S3Store
from runctl.testing.surroundings import surroundings
from runctl.transports.ssm.transport import SsmTransport

SOURCE = Path(doctor.__file__).parents[1]
ADA = Identity("123456789012", "arn:aws:iam::123456789012:user/ada")
USE = Use(regions=("us-east-1",), spot=True, user="ada")
THOSE = Names("123456789012", "us-east-1", "b", "runctl", "runctl-instance", "runctl-instance")
ACTIONS = sorted({action for need in needs(THOSE, USE) for action in need.actions})
SESSIONS, COMMANDS = (
    {action for need in needs(THOSE, USE) if need.way == way for action in need.actions}
    for way in ("sessions", "commands")
)


def allowed(policy: dict[str, Any]) -> set[str]:
    return {action for each in policy["Statement"] if each["Effect"] == "Allow" for action in each["Action"]}


# --- tables


def test_every_need_is_in_the_client_policy() -> None:
    assert set(ACTIONS) <= allowed(client_policy(THOSE))


def test_every_call_in_the_source_is_in_the_client_policy() -> None:
    """Setting up and undoing it is for whoever owns the account; all other calls a client makes."""
    called = set()
    for path in SOURCE.rglob("*.py"):
        if "sandbox" in path.relative_to(SOURCE).parts:
            continue
        for match in re.finditer(
            r'\.(?:call|pages|do)\(\s*"([a-z0-9-]+)",\s*"([a-z_0-9]+)"', path.read_text()
        ):
            called.add(action_of(match[1], match[2]))
    assert len(called) > 20
    for_owners = {"iam:ListRolePolicies", "iam:ListAttachedRolePolicies"}
    free = {"sts:GetCallerIdentity"}  # needs no permission
    assert called - for_owners - free <= allowed(client_policy(THOSE)) | allowed(push_policy(THOSE))


def test_the_client_policy_allows_nothing_that_no_call_takes() -> None:
    """Least also means: what the source does not call is not asked for."""
    named = set()
    for path in SOURCE.rglob("*.py"):
        if "sandbox" not in path.relative_to(SOURCE).parts:
            named |= set(re.findall(r'"([a-z]+(?:_[a-z0-9]+)+)"', path.read_text()))
    services = {"servicequotas": "service-quotas"}
    implied = {
        "ec2:CreateTags",  # by RunInstances with tags
        "iam:PassRole",  # by RunInstances with a profile
        "iam:CreateServiceLinkedRole",  # by the first RunInstances on the spot market
        "s3:AbortMultipartUpload",  # spoken without boto3
        "s3:ListMultipartUploadParts",
    }
    for action in allowed(client_policy(THOSE)) - implied:
        service = services.get(action.partition(":")[0], action.partition(":")[0])
        assert any(action_of(service, each) == action for each in named), action


def result(action: str, *rows: tuple[str, str, list[str]], **more: Any) -> dict[str, Any]:
    return {
        "EvalActionName": action,
        "EvalDecision": rows[0][1],
        "ResourceSpecificResults": [
            {"EvalResourceName": name, "EvalResourceDecision": decision, "MissingContextValues": lacking}
            for name, decision, lacking in rows
        ],
        **more,
    }


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (result("s3:GetObject", ("a", "allowed", [])), Verdict()),
        (
            result("s3:GetObject", ("a", "allowed", []), ("b", "implicitDeny", [])),
            Verdict((Refusal("s3:GetObject", "b", "read", "no policy allows it"),)),
        ),
        (
            result("s3:GetObject", ("a", "explicitDeny", [])),
            Verdict((Refusal("s3:GetObject", "a", "read", "a policy forbids it"),)),
        ),
        (
            result(
                "s3:GetObject",
                ("a", "implicitDeny", []),
                OrganizationsDecisionDetail={"AllowedByOrganizations": False},
            ),
            Verdict((Refusal("s3:GetObject", "a", "read", "the organisation forbids it"),)),
        ),
        (
            result(
                "s3:GetObject",
                ("a", "implicitDeny", []),
                PermissionsBoundaryDecisionDetail={"AllowedByPermissionsBoundary": False},
            ),
            Verdict((Refusal("s3:GetObject", "a", "read", "outside of the permissions boundary"),)),
        ),
        (
            result("s3:GetObject", ("a", "explicitDeny", ["aws:MultiFactorAuthPresent"])),
            Verdict(unsure=("s3:GetObject",)),
        ),
        (
            result("s3:GetObject", ("a", "implicitDeny", ["aws:RequestTag/team"])),
            Verdict((Refusal("s3:GetObject", "a", "read", "no policy allows it"),)),
        ),
        (
            {"EvalActionName": "s3:GetObject", "EvalResourceName": "*", "EvalDecision": "implicitDeny"},
            Verdict((Refusal("s3:GetObject", "*", "read", "no policy allows it"),)),
        ),
    ],
)
def test_what_iam_answers_is_judged(told: dict[str, Any], verdict: Verdict) -> None:
    assert judge(Need(("s3:GetObject",), "read"), [told]) == verdict


def test_one_way_to_talk_is_enough_and_none_is_told_by_the_best() -> None:
    needed = needs(THOSE, USE)
    session = Refusal("ssm:StartSession", "x", "talk", way="sessions")
    command = Refusal("ssm:SendCommand", "x", "talk", way="commands")
    other = Refusal("ec2:RunInstances", "x", "buy")
    assert in_the_way(needed, [command]) == ((), "")
    firm, words = in_the_way(needed, [session])
    assert (firm, words.startswith("ssm:StartSession: not allowed; commands take the place")) == ((), True)
    assert in_the_way(needed, [command, session, other]) == ((other, session), "")
    assert in_the_way((Need(("a:B",), "x"),), [other]) == ((other,), "")


def test_what_is_missing_is_one_error_with_the_statements_to_add() -> None:
    refused = (
        Refusal("ec2:RunInstances", "x", "buy a machine"),
        Refusal("ec2:RunInstances", "y", "buy a machine"),
        Refusal("iam:PassRole", "z", "give the machine its role", "a policy forbids it"),
    )
    error = missing(refused, ADA, THOSE)
    assert isinstance(error, AccessError)
    assert error.what == "user/ada lacks 2 permissions that this takes" or error.what.startswith(
        "ada lacks 2"
    )
    assert error.why == (
        "ec2:RunInstances to buy a machine (no policy allows it); "
        "iam:PassRole to give the machine its role (a policy forbids it)"
    )
    statements = [json.loads(line) for line in error.fix if line.startswith("  {")]
    assert [(each["Sid"], each["Action"]) for each in statements] == [
        ("BuyFrom", ["ec2:RunInstances"]),
        ("MakeTagged", ["ec2:RunInstances"]),
        ("PassOneRole", ["iam:PassRole"]),
    ]


# --- against IAM


@pytest.fixture
def box(aws: SandboxBox) -> Iterator[SandboxBox]:
    """A prepared account."""
    aws.reset()
    prepare()
    yield aws
    aws.reset()


@contextmanager
def user(
    box: SandboxBox, policy: dict[str, Any], *, name: str = "ada", heard: Heard | None = None
) -> Iterator[AwsCalls]:
    """The calls of a user who has this one policy."""
    iam = box.client("iam")
    iam.create_user(UserName=name)
    arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        with calls_to(attempts=2, heard=heard) as calls:
            yield calls
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.detach_user_policy(UserName=name, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_user(UserName=name)


def least(box: SandboxBox) -> dict[str, Any]:
    with calls_to() as calls:
        return client_policy(names(calls))


def without(policy: dict[str, Any], action: str) -> dict[str, Any]:
    kept = [{**each, "Action": [a for a in each["Action"] if a != action]} for each in policy["Statement"]]
    return {**policy, "Statement": [each for each in kept if each["Action"]]}


def test_a_user_with_the_least_policy_finds_everything_fine(box: SandboxBox) -> None:
    with user(box, least(box)) as calls:
        found = run_checks(
            doctor.probes_for_account(account_of(calls)), cancel=CancelToken(), clock=calls.clock
        )
    assert {check.name: check.what for check in found if check.state is not CheckState.OK} == {}
    (told,) = [check for check in found if check.name == "permissions"]
    assert re.fullmatch(r"all \d+ actions are allowed", told.what)


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_that_is_taken_away_is_told_before_anything_is_bought(
    box: SandboxBox, action: str
) -> None:
    heard = Heard()
    with user(box, without(least(box), action), heard=heard) as calls:
        offer = Offer("aws", "t3.micro", "us-east-1", cpus=2, spot=True)
        probes = doctor.probes_for_plan(account_of(calls), [offer])
        found = run_checks(probes, cancel=CancelToken(), clock=calls.clock)
    (told,) = [check for check in found if check.name == "permissions"]
    assert "ec2:RunInstances" not in heard.attempts
    if action in COMMANDS:
        assert told.what == f"{len(ACTIONS) - 1} actions are allowed, {action} is done without"
    elif action in SESSIONS:
        assert told.what == f"{action}: not allowed; commands take the place of sessions, and are slower"
        assert told.state is CheckState.WARN
    else:
        assert told.error is not None
        assert told.error.code == "aws-permissions-missing"
        assert told.error.context["actions"] == action
        assert any(action in line for line in told.error.fix if line.startswith("  {"))


def test_a_denied_tag_condition_is_told_too(box: SandboxBox) -> None:
    """A policy that lets buy machines, but only with somebody else's tag."""
    text = json.dumps(least(box)).replace("aws:RequestTag/runctl:managed", "aws:RequestTag/team")
    with user(box, json.loads(text)) as calls, pytest.raises(AccessError) as caught:
        permissions(calls, names(calls), needs(names(calls), USE), CancelToken())
    assert "ec2:RunInstances to buy a machine" in caught.value.why


def test_who_may_not_ask_is_not_held_up(box: SandboxBox) -> None:
    with user(box, without(least(box), "iam:SimulatePrincipalPolicy")) as calls:
        found = permissions(calls, names(calls), needs(names(calls), USE), CancelToken())
    assert found.state is CheckState.SKIPPED
    assert found.what == "you may not ask IAM: iam:SimulatePrincipalPolicy is not allowed"


def test_the_role_behind_a_session_is_asked_about(box: SandboxBox) -> None:
    iam = box.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    role = iam.create_role(RoleName="people", Path="/teams/", AssumeRolePolicyDocument=json.dumps(trust))[
        "Role"
    ]["Arn"]
    session = Identity("123456789012", "arn:aws:sts::123456789012:assumed-role/people/ada")
    with calls_to() as calls:
        assert principal_of(calls, session, CancelToken()) == role
        assert principal_of(calls, ADA, CancelToken()) == ADA.arn
        assert not principal_of(
            calls, Identity("123456789012", "arn:aws:sts::123456789012:federated-user/x"), CancelToken()
        )


def test_the_root_user_may_do_everything(box: SandboxBox) -> None:
    with calls_to() as calls:
        found = permissions(calls, names(calls), needs(names(calls), USE), CancelToken())
    assert (found.state, found.what) == (
        CheckState.OK,
        f"{len(ACTIONS)} actions: the root user may do everything",
    )


def test_the_provider_needs_no_more_than_what_was_asked_about(box: SandboxBox) -> None:
    """Offers, a purchase, the listing, the end: as a user with the least policy, and no action but those simulated."""
    heard = Heard()
    token = CancelToken()
    with user(box, least(box), heard=heard) as calls:
        around = surroundings(emit=heard)
        around.shared["aws"] = calls.session
        provider = AwsProvider(around)
        for spot in (True, False):
            need = Resources(machine_type="t3.micro", spot=spot, fallback=False)
            (offer, *_) = provider.offers(need, token)
            machine = provider.acquire(offer, Purchase(f"run-{spot}", user_data=b"#!/bin/sh\ntrue\n"), token)
            assert [each.id for each in provider.machines(token)] == [machine.id]
            provider.release(machine.id, token)
    used = {action for action in heard.attempts if action != "sts:GetCallerIdentity"}
    assert used <= set(ACTIONS)
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:DescribeSpotPriceHistory"} <= used


@contextmanager
def lent_role(box: SandboxBox, policy: dict[str, Any], *, heard: Heard) -> Iterator[AwsCalls]:
    """The calls of somebody who has taken a role with this one policy."""
    iam = box.client("iam")
    anyone = {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [anyone]})
    role = iam.create_role(RoleName="people", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName="people", PolicyName="own", PolicyDocument=json.dumps(policy))
    iam.create_user(UserName="eve")
    may = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role}],
    }
    iam.put_user_policy(UserName="eve", PolicyName="own", PolicyDocument=json.dumps(may))
    key = iam.create_access_key(UserName="eve")["AccessKey"]
    sts = box.client("sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    keys = sts.assume_role(RoleArn=role, RoleSessionName="eve")["Credentials"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        patch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
        with calls_to(attempts=2, heard=heard) as calls:
            yield calls


@pytest.mark.parametrize("who", [user, lent_role])
def test_sessions_and_the_store_need_no_more(box: SandboxBox, who: Any) -> None:
    """A command on a machine that runctl bought, bytes to the bucket and back, as a user and as a role."""
    heard, token, said = Heard(), CancelToken(), bytearray()
    tags = [{"Key": "runctl:managed", "Value": "true"}]
    (mine,) = box.launch(
        IamInstanceProfile={"Name": "runctl-instance"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    (theirs,) = box.launch(IamInstanceProfile={"Name": "runctl-instance"})
    ssm = box.client("ssm")

    def connected() -> bool:
        return all(ssm.get_connection_status(Target=each)["Status"] == "connected" for each in (mine, theirs))

    until(connected, box.log)
    with who(box, least(box), heard=heard) as calls:
        around = surroundings(env=dict(os.environ), emit=heard)
        around.shared["aws"] = calls.session
        transport = SsmTransport(Endpoint("ssm", f"{mine}@us-east-1"), around)
        try:
            done = transport.exec(["echo", "hello"], on_output=said.extend, cancel=token)
        finally:
            transport.close()
        assert (done.exit_code, bytes(said)) == (0, b"hello\n")
        until(lambda: "ssm:TerminateSession" in heard.attempts, lambda: str(heard.attempts))
        other = SsmTransport(Endpoint("ssm", f"{theirs}@us-east-1"), around)
        with pytest.raises(AccessError):
            other.exec(["echo", "hello"], cancel=token)
        other.close()
        store = S3Store("s3://runctl-123456789012-us-east-1/runctl", around)
        assert store.put("blobs/aa/one", b"1", cancel=token)
        assert not store.put("blobs/aa/one", b"2", if_absent=True, cancel=token)
        assert store.get("blobs/aa/one", cancel=token) == b"1"
        assert [each.key for each in store.list("blobs/", cancel=token)] == ["blobs/aa/one"]
        store.delete(["blobs/aa/one"], token)
        with pytest.raises(AccessError):
            S3Store("s3://runctl-123456789012-us-east-1/elsewhere", around).put("x", b"", cancel=token)
    assert set(heard.attempts) <= {*ACTIONS, "sts:GetCallerIdentity", "s3:DeleteObject"}


def test_a_machine_of_somebody_else_cannot_be_ended(box: SandboxBox) -> None:
    (theirs,) = box.launch()
    with user(box, least(box)) as calls, pytest.raises(AccessError):
        calls.call("ec2", "terminate_instances", cancel=CancelToken(), InstanceIds=[theirs])
    assert box.state(theirs) in ("pending", "running")


# --- the machine's role, from the inside

TRIES = """
import json, boto3
from botocore.exceptions import ClientError
s3, out = boto3.client("s3", region_name="us-east-1"), {}
ec2, iam = boto3.client("ec2", region_name="us-east-1"), boto3.client("iam")
def attempt(name, work):
    try:
        work()
        out[name] = "done"
    except ClientError as error:
        out[name] = error.response["Error"]["Code"]
B = dict(Bucket=BUCKET)
attempt("read code", lambda: s3.get_object(**B, Key="runctl/blobs/aa/code")["Body"].read())
attempt("read what is not there yet", lambda: s3.get_object(**B, Key="runctl/runs/r/1/request.json"))
attempt("list", lambda: s3.list_objects_v2(**B, Prefix="runctl/runs/"))
attempt("write a run", lambda: s3.put_object(**B, Key="runctl/runs/r/1/status.json", Body=b"{}"))
attempt("write code", lambda: s3.put_object(**B, Key="runctl/blobs/aa/code", Body=b"other"))
attempt("write elsewhere", lambda: s3.put_object(**B, Key="other/x", Body=b""))
attempt("delete a run", lambda: s3.delete_object(**B, Key="runctl/runs/r/1/status.json"))
attempt("see machines", lambda: ec2.describe_instances())
attempt("see roles", lambda: iam.get_role(RoleName="runctl-instance"))
def big():
    part = dict(**B, Key="runctl/runs/r/1/big")
    upload = s3.create_multipart_upload(**part)["UploadId"]
    s3.upload_part(**part, UploadId=upload, PartNumber=1, Body=b"x")
    s3.list_parts(**part, UploadId=upload)
    s3.abort_multipart_upload(**part, UploadId=upload)
attempt("upload in parts and give up", big)
s3.put_object(**B, Key="runctl/runs/r/1/told.json", Body=json.dumps(out).encode())
"""


def test_a_machine_may_do_what_a_run_takes_and_nothing_else(box: SandboxBox) -> None:
    bucket, s3 = "runctl-123456789012-us-east-1", box.client("s3")
    s3.put_object(Bucket=bucket, Key="runctl/blobs/aa/code", Body=b"code")
    script = f"#!/bin/sh\n{sys.executable} - <<'END'\nBUCKET = {bucket!r}\n{TRIES}\nEND\n"
    box.launch(IamInstanceProfile={"Name": "runctl-instance"}, UserData=script)

    def told() -> Any:
        found = s3.list_objects_v2(Bucket=bucket, Prefix="runctl/runs/r/1/told.json")
        return found.get("Contents")

    until(told, lambda: f"the machine told nothing\n{box.log()}", seconds=60)
    answer = json.loads(s3.get_object(Bucket=bucket, Key="runctl/runs/r/1/told.json")["Body"].read())
    assert answer == {
        "read code": "done",
        "read what is not there yet": "NoSuchKey",
        "list": "done",
        "write a run": "done",
        "write code": "AccessDenied",
        "write elsewhere": "AccessDenied",
        "delete a run": "AccessDenied",
        "see machines": "UnauthorizedOperation",
        "see roles": "AccessDenied",
        "upload in parts and give up": "done",
    }
    assert s3.get_object(Bucket=bucket, Key="runctl/blobs/aa/code")["Body"].read() == b"code"


# --- setting up


def owner_policy() -> dict[str, Any]:
    """Everything that setting up takes."""
    with calls_to() as calls:
        plan = planned(calls)
    made = {action for need in setup.needs_of(plan) for action in need.actions}
    reads = {"s3:Get*", "s3:List*", "iam:Get*", "iam:List*", "ec2:DescribeInstances"}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": sorted(made), "Resource": ["*"]},
            {"Effect": "Allow", "Action": [*sorted(reads), "iam:SimulatePrincipalPolicy"], "Resource": ["*"]},
        ],
    }


def test_what_the_plan_of_a_set_up_lists_is_enough_to_do_it(aws: SandboxBox) -> None:
    aws.reset()
    with user(aws, owner_policy(), name="owner") as calls:
        plan = planned(calls)
        needed = setup.needs_of(plan)
        count = len({action for need in needed for action in need.actions})
        told = permissions(calls, plan.names, needed, CancelToken()).what
        assert told == f"all {count} actions are allowed"
        assert {"iam:TagRole", "iam:TagInstanceProfile", "iam:PassRole"} <= {
            action for need in needed for action in need.actions
        }
        apply(calls, plan)
        assert not planned(calls).changes


def test_a_set_up_that_would_stop_half_way_does_not_begin(aws: SandboxBox) -> None:
    aws.reset()
    heard = Heard()
    with user(aws, without(owner_policy(), "iam:CreateInstanceProfile"), name="owner", heard=heard) as calls:
        plan = planned(calls)
        with pytest.raises(AccessError) as caught:
            permissions(calls, plan.names, setup.needs_of(plan), CancelToken())
    assert caught.value.why == (
        "iam:CreateInstanceProfile to prepare the instance profile runctl-instance (no policy allows it)"
    )
    (statement,) = [json.loads(line) for line in caught.value.fix if line.startswith("  {")]
    assert statement["Action"] == ["iam:CreateInstanceProfile"]
    assert statement["Resource"] == ["arn:aws:iam::123456789012:instance-profile/runctl-instance"]
