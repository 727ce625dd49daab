"""An account is prepared by exactly what the plan lists, whatever was there and whatever got in between; and undone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.aws.aws_world import Heard, blow, calls_to
from tests.unit.sandbox.cloud_world import SandboxBox

from runctl.aws import data_access, setup
from runctl.aws.calls import AwsCalls
from runctl.aws.changes import make
from runctl.aws.names import Names
from runctl.aws.policies import TLS_SID, bucket_policy, instance_policy, same
from runctl.aws.setup import SetupPlan
from runctl.core.cancel import CancelToken
from runctl.core.errors import AccessError, Cancelled, RunctlError, UnreachableError, UsageError
from runctl.project.settings import SETTINGS
from runctl.testing.clock import FakeClock

READS = ("Get", "List", "Head", "Describe")
CHANGING = (
    ("s3", "CreateBucket"),
    ("s3", "PutBucketTagging"),
    ("s3", "PutPublicAccessBlock"),
    ("s3", "PutBucketEncryption"),
    ("s3", "PutBucketOwnershipControls"),
    ("s3", "PutBucketPolicy"),
    ("s3", "PutBucketLifecycleConfiguration"),
    ("iam", "CreateRole"),
    ("iam", "PutRolePolicy"),
    ("iam", "CreateInstanceProfile"),
    ("iam", "AddRoleToInstanceProfile"),
)


@pytest.fixture
def empty(aws: SandboxBox) -> Iterator[SandboxBox]:
    """An account nobody has prepared."""
    yield aws
    aws.reset()


def names(calls: AwsCalls, **given: Any) -> Names:
    return setup.names_in(calls, lambda key: SETTINGS[key].default, CancelToken(), **given)


def planned(calls: AwsCalls, *, remove: bool = False, **given: Any) -> SetupPlan:
    plan: Callable[[AwsCalls, Names, CancelToken], SetupPlan]
    plan = setup.plan_removal if remove else setup.plan_setup
    return plan(calls, names(calls, **given), CancelToken())


def apply(calls: AwsCalls, plan: SetupPlan) -> None:
    for change in plan.changes:
        make(change, calls, CancelToken())


def prepare(**given: Any) -> SetupPlan:
    with calls_to() as calls:
        plan = planned(calls, **given)
        apply(calls, plan)
        return plan


def test_an_empty_account_gets_a_private_bucket_and_a_role_that_may_use_it(empty: SandboxBox) -> None:
    plan = prepare()
    s3, iam, bucket = empty.client("s3"), empty.client("iam"), plan.names.bucket
    assert bucket == f"runctl-{plan.names.account}-us-east-1"
    blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(blocked.values())
    assert len(blocked) == 4
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    owned = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert owned == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert same(json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]), bucket_policy(plan.names))
    lifecycle = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert lifecycle["runctl-unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {
        "DaysAfterInitiation": 1
    }
    assert lifecycle["runctl-temporary"]["Filter"] == {"Prefix": "runctl/tmp/"}
    assert lifecycle["runctl-temporary"]["Expiration"] == {"Days": 1}
    role = iam.get_role(RoleName="runctl-instance")["Role"]
    assert role["Tags"] == [{"Key": "runctl:managed", "Value": "true"}]
    policy = iam.get_role_policy(RoleName="runctl-instance", PolicyName="runctl")["PolicyDocument"]
    assert same(policy, instance_policy(plan.names))
    profile = iam.get_instance_profile(InstanceProfileName="runctl-instance")["InstanceProfile"]
    assert [each["RoleName"] for each in profile["Roles"]] == ["runctl-instance"]


def test_a_machine_with_the_profile_starts(empty: SandboxBox) -> None:
    prepare()
    (machine,) = empty.launch(IamInstanceProfile={"Name": "runctl-instance"})
    empty.wait(machine, "running")


def test_planning_reads_and_applying_makes_the_listed_calls_and_no_other(empty: SandboxBox) -> None:
    heard = Heard()
    with calls_to(heard=heard) as calls:
        plan = planned(calls)
        assert all(each.split(":")[1].startswith(READS) for each in heard.attempts), heard.attempts
        heard.events.clear()
        apply(calls, plan)
        assert heard.attempts == [call.action for change in plan.changes for call in change.calls]
        assert len(heard.attempts) == len(CHANGING)


def test_a_prepared_account_has_nothing_to_be_done(empty: SandboxBox) -> None:
    prepare()
    with calls_to() as calls:
        plan = planned(calls)
    assert not plan.changes
    assert [line.what for line in plan.kept] == [
        f"bucket {plan.names.bucket}",
        "role runctl-instance",
        "instance profile runctl-instance",
    ]


@pytest.mark.parametrize("number", range(len(CHANGING)))
def test_what_is_refused_in_the_middle_is_finished_by_doing_it_again(empty: SandboxBox, number: int) -> None:
    service, action = CHANGING[number]
    blow(empty, "denied", service=service, action=action)
    with calls_to() as calls:
        plan = planned(calls)
        with pytest.raises(AccessError) as caught:
            apply(calls, plan)
        assert caught.value.code == "aws-denied"
        blow(empty, "clear")
        rest = planned(calls)
        assert rest.changes
        assert {change.said for change in rest.changes} <= {change.said for change in plan.changes[number:]}
        apply(calls, rest)
        assert not planned(calls).changes
        removal = planned(calls, remove=True)
        apply(calls, removal)
        assert not planned(calls, remove=True).changes
    assert removal.names.bucket in {change.of.removeprefix("bucket ") for change in removal.changes}


@pytest.mark.parametrize("number", range(len(CHANGING)))
def test_a_call_whose_answer_got_lost_is_no_failure(empty: SandboxBox, number: int) -> None:
    """The first attempt takes effect, and the connection breaks before its answer."""
    service, action = CHANGING[number]
    blow(empty, "cut", service=service, action=action, after_bytes=0, times=1)
    with calls_to() as calls:
        apply(calls, planned(calls))
        assert not planned(calls).changes


@pytest.mark.parametrize(
    ("service", "action", "code"),
    [
        ("iam", "AddRoleToInstanceProfile", "NoSuchEntity"),
        ("iam", "PutRolePolicy", "NoSuchEntity"),
        ("s3", "PutPublicAccessBlock", "NoSuchBucket"),
        ("s3", "PutBucketPolicy", "OperationAborted"),
    ],
)
def test_a_service_that_has_not_heard_yet_is_asked_again(
    empty: SandboxBox, service: str, action: str, code: str
) -> None:
    blow(empty, "error", service=service, action=action, code=code, status=404, times=6)
    heard = Heard()
    with calls_to(heard=heard, clock=FakeClock()) as calls:
        plan = planned(calls)
        apply(setup.patient(calls), plan)
        assert not planned(calls).changes
    assert len([each for each in heard.retries if code in each]) == 6


def test_a_change_that_is_slow_to_show_is_waited_for(empty: SandboxBox) -> None:
    prepare()
    blow(empty, "error", service="iam", action="GetRolePolicy", code="NoSuchEntity", status=404, times=6)
    clock = FakeClock()
    with calls_to(clock=clock) as calls:
        plan = SetupPlan(names(calls), calls.identity(CancelToken()), ())
        setup.settle(plan, calls, CancelToken())
        assert clock.slept == [1.0, 1.0, 1.0]
        blow(empty, "error", service="iam", action="GetRolePolicy", code="NoSuchEntity", status=404)
        with pytest.raises(UnreachableError) as caught:
            setup.settle(plan, calls, CancelToken())
    assert caught.value.code == "aws-setup-unsettled"
    assert "role runctl-instance: may use the bucket and SSM" in caught.value.why


def test_what_others_configured_on_a_bucket_stays(empty: SandboxBox) -> None:
    s3 = empty.client("s3")
    s3.create_bucket(Bucket="shared")
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": "123456789012"},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::shared/*",
    }
    s3.put_bucket_policy(Bucket="shared", Policy=json.dumps({"Version": "2012-10-17", "Statement": theirs}))
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket="shared", LifecycleConfiguration={"Rules": [rule]})
    s3.put_bucket_tagging(Bucket="shared", Tagging={"TagSet": [{"Key": "team", "Value": "a"}]})
    kms = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket="shared", ServerSideEncryptionConfiguration={"Rules": [kms]})
    s3.delete_public_access_block(Bucket="shared")
    plan = prepare(bucket="shared")
    assert [change.what for change in plan.changes if change.of == "bucket shared"] == [
        "block public access",
        "allow TLS only",
        "unfinished uploads and tmp/ go after a day",
    ]
    statements = json.loads(s3.get_bucket_policy(Bucket="shared")["Policy"])["Statement"]
    assert [each["Sid"] for each in statements] == ["Theirs", TLS_SID]
    rules = s3.get_bucket_lifecycle_configuration(Bucket="shared")["Rules"]
    assert [each["ID"] for each in rules] == ["old", "runctl-unfinished-uploads", "runctl-temporary"]
    assert s3.get_bucket_tagging(Bucket="shared")["TagSet"] == [{"Key": "team", "Value": "a"}]
    with calls_to() as calls:
        assert not planned(calls, bucket="shared").changes
        removal = planned(calls, remove=True, bucket="shared")
    assert "bucket shared" not in {change.of for change in removal.changes}
    assert ("=", "bucket shared", "not made by runctl") in removal.kept


def test_a_weakened_bucket_and_role_are_mended(empty: SandboxBox) -> None:
    plan = prepare()
    empty.client("s3").delete_bucket_policy(Bucket=plan.names.bucket)
    iam = empty.client("iam")
    wide = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="runctl-instance", PolicyName="runctl", PolicyDocument=json.dumps(wide))
    mend = prepare()
    assert [change.said for change in mend.changes] == [
        f"bucket {plan.names.bucket}: allow TLS only",
        "role runctl-instance: may use the bucket and SSM, nothing else",
    ]
    with calls_to() as calls:
        assert not planned(calls).changes


def test_a_profile_that_holds_another_role_keeps_it(empty: SandboxBox) -> None:
    iam = empty.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    iam.create_role(RoleName="trainers", AssumeRolePolicyDocument=json.dumps(trust))
    iam.create_instance_profile(InstanceProfileName="train-node")
    iam.add_role_to_instance_profile(InstanceProfileName="train-node", RoleName="trainers")
    plan = prepare(role="train-node")
    assert [change.said for change in plan.changes if "role" in change.of] == [
        "role trainers: EC2 may use it",
        "role trainers: may use the bucket and SSM, nothing else",
    ]
    statements = iam.get_role(RoleName="trainers")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert [each["Principal"]["Service"] for each in statements] == [
        "lambda.amazonaws.com",
        "ec2.amazonaws.com",
    ]
    with calls_to() as calls:
        assert not planned(calls, role="train-node").changes
        removal = planned(calls, remove=True, role="train-node")
        apply(calls, removal)
    assert iam.list_role_policies(RoleName="trainers")["PolicyNames"] == []
    assert iam.get_instance_profile(InstanceProfileName="train-node")["InstanceProfile"]["Roles"]


def test_removal_takes_everything_runctl_made_and_nothing_that_holds_data(empty: SandboxBox) -> None:
    plan = prepare()
    s3, iam = empty.client("s3"), empty.client("iam")
    s3.put_object(Bucket=plan.names.bucket, Key="runctl/runs/a/checkpoint", Body=b"weights")
    with calls_to() as calls:
        removal = planned(calls, remove=True)
        apply(calls, removal)
        assert ("=", f"bucket {plan.names.bucket}", "holds objects: runs, checkpoints, code") in removal.kept
        kept = s3.get_object(Bucket=plan.names.bucket, Key="runctl/runs/a/checkpoint")
        assert kept["Body"].read() == b"weights"
        assert not [each for each in iam.list_roles()["Roles"] if each["RoleName"] == "runctl-instance"]
        assert not iam.list_instance_profiles()["InstanceProfiles"]
        s3.delete_object(Bucket=plan.names.bucket, Key="runctl/runs/a/checkpoint")
        apply(calls, planned(calls, remove=True))
        assert not s3.list_buckets()["Buckets"]
        assert not planned(calls, remove=True).changes


def test_data_is_added_to_what_the_role_reads_and_stays_until_the_role_goes(empty: SandboxBox) -> None:
    prepare(data=("s3://pictures/cats",))
    with calls_to() as calls:
        assert not planned(calls).changes  # set up anew, it stays
        assert not planned(calls, data=("s3://pictures/cats/",)).changes
        more = planned(calls, data=("s3://words", "s3://pictures/cats"))
        assert [(each.kind, each.what) for each in more.changes] == [("change", "may read s3://words")]
        apply(calls, more)
        setup.settle(more, calls, CancelToken())
        iam = empty.client("iam")
        text = iam.get_role_policy(RoleName="runctl-instance", PolicyName=data_access.POLICY)
        reads = data_access.places_in(text["PolicyDocument"])
        assert [each.address for each in reads] == ["s3://pictures/cats", "s3://words"]
        apply(calls, planned(calls, remove=True))
        assert not [each for each in iam.list_roles()["Roles"] if each["RoleName"] == "runctl-instance"]


def test_removal_keeps_a_role_that_others_gave_policies(empty: SandboxBox) -> None:
    prepare()
    iam = empty.client("iam")
    more = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="runctl-instance", PolicyName="data", PolicyDocument=json.dumps(more))
    with calls_to() as calls:
        removal = planned(calls, remove=True)
        apply(calls, removal)
    assert ("=", "role runctl-instance", "has policies of others: data") in removal.kept
    assert iam.list_role_policies(RoleName="runctl-instance")["PolicyNames"] == ["data"]


def test_removal_is_refused_while_a_machine_has_the_role(empty: SandboxBox) -> None:
    prepare()
    (machine,) = empty.launch(IamInstanceProfile={"Name": "runctl-instance"})
    with calls_to() as calls:
        with pytest.raises(UsageError) as caught:
            planned(calls, remove=True)
        assert caught.value.code == "aws-setup-in-use"
        assert machine in caught.value.why
        empty.client("ec2").terminate_instances(InstanceIds=[machine])
        empty.wait(machine, "terminated")
        assert planned(calls, remove=True).changes


def test_a_bucket_elsewhere_or_of_somebody_else_is_never_touched(empty: SandboxBox) -> None:
    empty.client("s3", region="eu-west-1").create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    heard = Heard()
    with calls_to(heard=heard) as calls:
        with pytest.raises(UsageError) as elsewhere:
            planned(calls, bucket="far-away")
        assert elsewhere.value.code == "aws-bucket-elsewhere"
        assert "  runctl config set aws.region eu-west-1" in elsewhere.value.fix
        blow(empty, "denied", service="s3", action="HeadBucket")
        with pytest.raises(AccessError) as closed:
            planned(calls, bucket="far-away")
    assert closed.value.code == "aws-bucket-closed"
    assert all(each.split(":")[1].startswith(READS) for each in heard.attempts)


def test_every_call_says_whose_bucket_it_expects(empty: SandboxBox) -> None:
    with calls_to() as calls:
        plan = planned(calls)
        apply(calls, plan)
        made = [*plan.changes, *planned(calls, remove=True).changes]
    on_bucket = [
        call
        for change in made
        for call in change.calls
        if call.service == "s3" and call.operation != "create_bucket"
    ]
    assert len(on_bucket) == 7
    assert {call.params["ExpectedBucketOwner"] for call in on_bucket} == {plan.names.account}


def test_a_cancel_ends_it_between_two_calls(empty: SandboxBox) -> None:
    token, heard = CancelToken(), Heard()
    with calls_to(heard=heard) as calls:
        plan = planned(calls)
        heard.events.clear()
        make(plan.changes[0], calls, token)
        token.cancel("enough")
        with pytest.raises(Cancelled):
            make(plan.changes[1], calls, token)
    assert heard.attempts == ["s3:CreateBucket"]


def test_a_denied_read_is_told_and_changes_nothing(empty: SandboxBox) -> None:
    blow(empty, "denied", service="iam", action="GetRole")
    with calls_to() as calls, pytest.raises(RunctlError) as caught:
        planned(calls)
    assert caught.value.code == "aws-denied"
    assert caught.value.context["action"] == "iam:GetRole"


def test_the_keys_of_the_root_user_are_warned_of() -> None:
    from runctl.aws.session import Identity

    def plan(arn: str) -> tuple[Any, ...]:
        identity = Identity("123456789012", arn)
        return setup._warnings(identity)

    assert plan("arn:aws:iam::123456789012:root")
    assert not plan("arn:aws:iam::123456789012:user/root")
