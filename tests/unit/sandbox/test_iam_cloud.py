"""Permissions in the sandbox, as boto3 meets them: least rights work, one less is refused as on AWS."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from tests.unit.sandbox.cloud_world import SSM_CORE, SandboxBox, sandbox, until
from tests.unit.sandbox.iam_world import (
    ACCOUNT,
    PYTHON,
    Person,
    because,
    document,
    lent,
    node_role,
    refusal,
    trouble,
    trust,
    user,
)

BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
EC2 = f"arn:aws:ec2:us-east-1:{ACCOUNT}"
SSM = f"arn:aws:ssm:us-east-1:{ACCOUNT}"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("iam"), "--plain") as box:
        yield box


@pytest.fixture(autouse=True)
def fresh(box: SandboxBox) -> Iterator[None]:
    yield
    box.reset()
    box.close()  # the clients of users that are no more


# --- who ------------------------------------------------------------------------------------------------------


def test_everybody_learns_who_they_are(box: SandboxBox) -> None:
    assert box.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    bob = user(box, "bob", Path="/team/")
    assert bob.arn() == f"arn:aws:iam::{ACCOUNT}:user/team/bob"
    role = box.client("iam").create_role(RoleName="guest", AssumeRolePolicyDocument=trust({"AWS": bob.arn()}))
    given = bob.client("sts").assume_role(RoleArn=role["Role"]["Arn"], RoleSessionName="visit")
    guest = lent(box, given["Credentials"])
    assert guest.arn() == f"arn:aws:sts::{ACCOUNT}:assumed-role/guest/visit"
    told = guest.client("sts").get_caller_identity()
    assert told["UserId"] == f"{role['Role']['RoleId']}:visit" == given["AssumedRoleUser"]["AssumedRoleId"]


@pytest.mark.parametrize(
    ("service", "call", "given", "code", "status", "action", "resource"),
    [
        ("ec2", "describe_instances", {}, "UnauthorizedOperation", 403, "ec2:DescribeInstances", ""),
        ("s3", "list_buckets", {}, "AccessDenied", 403, "s3:ListAllMyBuckets", ""),
        ("ssm", "list_commands", {}, "AccessDeniedException", 400, "ssm:ListCommands", f"{SSM}:*"),
        ("ssm", "get_parameter", {"Name": "/a/b"}, "AccessDeniedException", 400, "ssm:GetParameter", f"{SSM}:parameter/a/b"),
        ("ssm", "get_parameter", {"Name": "/aws/service/x"}, "AccessDeniedException", 400, "ssm:GetParameter", "arn:aws:ssm:us-east-1::parameter/aws/service/x"),
        ("iam", "list_roles", {}, "AccessDenied", 403, "iam:ListRoles", f"arn:aws:iam::{ACCOUNT}:role/"),
        ("iam", "create_role", {"RoleName": "r", "Path": "/p/", "AssumeRolePolicyDocument": "{}"}, "AccessDenied", 403, "iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/p/r"),
        ("iam", "get_user", {}, "AccessDenied", 403, "iam:GetUser", BOB),
        ("sts", "get_federation_token", {"Name": "eve"}, "AccessDenied", 403, "sts:GetFederationToken", f"arn:aws:sts::{ACCOUNT}:federated-user/eve"),
        ("logs", "put_log_events", {"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "x"}]}, "AccessDeniedException", 400, "logs:PutLogEvents", f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:g:log-stream:s"),
        ("ecr", "get_authorization_token", {}, "AccessDeniedException", 400, "ecr:GetAuthorizationToken", "*"),
        ("ecr", "describe_images", {"repositoryName": "own"}, "AccessDeniedException", 400, "ecr:DescribeImages", f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/own"),
        ("kms", "decrypt", {"KeyId": "alias/mine", "CiphertextBlob": b"x"}, "AccessDeniedException", 400, "kms:Decrypt", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/alias/mine"),
        ("pricing", "describe_services", {}, "AccessDeniedException", 400, "pricing:DescribeServices", ""),
        ("service-quotas", "list_service_quotas", {"ServiceCode": "ec2"}, "AccessDeniedException", 400, "servicequotas:ListServiceQuotas", ""),
        ("cloudwatch", "list_metrics", {}, "AccessDenied", 403, "cloudwatch:ListMetrics", "*"),
        ("fis", "get_experiment", {"id": "EXP1"}, "AccessDeniedException", 403, "fis:GetExperiment", f"arn:aws:fis:us-east-1:{ACCOUNT}:experiment/EXP1"),
        ("sns", "publish", {"TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": "x"}, "AuthorizationError", 403, "sns:Publish", "arn:aws:sns:us-east-1:1:t"),
        ("budgets", "describe_budgets", {"AccountId": ACCOUNT}, "AccessDeniedException", 400, "budgets:ViewBudget", ""),
        ("secretsmanager", "get_secret_value", {"SecretId": "s"}, "AccessDeniedException", 400, "secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:s"),
    ],
)  # fmt: skip
def test_who_has_no_policy_may_do_nothing(
    box: SandboxBox,
    service: str,
    call: str,
    given: dict[str, Any],
    code: str,
    status: int,
    action: str,
    resource: str,
) -> None:
    bob = user(box, "bob")
    told = refusal(getattr(bob.client(service), call), **given)
    assert told[:2] == (code, status)
    assert because(BOB, action, resource) in told[2]
    name = f"one-{action.partition(':')[0]}"
    box.client("iam").put_user_policy(
        UserName="bob",
        PolicyName=name,
        PolicyDocument=document({"Action": action, "Resource": resource or "*"}),
    )
    # whatever else is wrong with the call, it is no longer this
    assert "not authorized" not in trouble(getattr(bob.client(service), call), **given)[1]


def test_managed_policies_groups_and_versions_count(box: SandboxBox) -> None:
    iam, bob = box.client("iam"), user(box, "bob")
    iam.attach_user_policy(UserName="bob", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    assert bob.client("s3").list_buckets()["Buckets"] == []
    assert refusal(bob.client("s3").create_bucket, Bucket="new")[0] == "AccessDenied"
    iam.create_group(GroupName="makers")
    iam.put_group_policy(
        GroupName="makers",
        PolicyName="make",
        PolicyDocument=document({"Action": "s3:CreateBucket", "Resource": "arn:aws:s3:::new*"}),
    )
    iam.add_user_to_group(GroupName="makers", UserName="bob")
    bob.client("s3").create_bucket(Bucket="new")
    assert refusal(bob.client("s3").create_bucket, Bucket="old")[0] == "AccessDenied"
    arn = iam.create_policy(PolicyName="own", PolicyDocument=document({"Action": "ec2:Describe*"}))["Policy"][
        "Arn"
    ]
    iam.attach_user_policy(UserName="bob", PolicyArn=arn)
    bob.client("ec2").describe_vpcs()
    iam.create_policy_version(
        PolicyArn=arn, PolicyDocument=document({"Effect": "Deny", "Action": "ec2:*"}), SetAsDefault=True
    )
    assert "explicit deny in an identity-based policy" in refusal(bob.client("ec2").describe_vpcs)[2]
    iam.attach_user_policy(UserName="bob", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    assert refusal(bob.client("ec2").describe_vpcs)[0] == "UnauthorizedOperation"
    iam.detach_user_policy(UserName="bob", PolicyArn=arn)
    bob.client("ec2").describe_vpcs()


def test_boundaries_of_users_and_roles_limit(box: SandboxBox) -> None:
    iam, bob = box.client("iam"), user(box, "bob", {"Action": "*"})
    arn = iam.create_policy(PolicyName="limit", PolicyDocument=document({"Action": "s3:*"}))["Policy"]["Arn"]
    iam.put_user_permissions_boundary(UserName="bob", PermissionsBoundary=arn)
    assert iam.get_user(UserName="bob")["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn
    bob.client("s3").list_buckets()
    told = refusal(bob.client("iam").list_users)
    assert told[2].endswith("because no permissions boundary allows the iam:ListUsers action")
    iam.delete_user_permissions_boundary(UserName="bob")
    bob.client("iam").list_users()
    iam.create_user(UserName="eve", PermissionsBoundary=arn)
    assert "PermissionsBoundary" in iam.get_user(UserName="eve")["User"]
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust({"AWS": BOB}), PermissionsBoundary=arn)
    iam.attach_role_policy(RoleName="r", PolicyArn="arn:aws:iam::aws:policy/PowerUserAccess")
    role = f"arn:aws:iam::{ACCOUNT}:role/r"
    guest = lent(box, bob.client("sts").assume_role(RoleArn=role, RoleSessionName="visit")["Credentials"])
    guest.client("s3").list_buckets()
    assert "no permissions boundary" in refusal(guest.client("ec2").describe_vpcs)[2]


def test_a_key_made_inactive_and_a_deleted_role_are_worth_nothing(box: SandboxBox) -> None:
    iam, bob = box.client("iam"), user(box, "bob", {"Action": "*"})
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust({"AWS": BOB}))
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=document({"Action": "s3:*"}))
    given = bob.client("sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/r", RoleSessionName="visit")
    guest = lent(box, given["Credentials"])
    guest.client("s3").list_buckets()
    iam.delete_role_policy(RoleName="r", PolicyName="p")
    iam.delete_role(RoleName="r")
    assert refusal(guest.client("s3").list_buckets)[0] == "AccessDenied"
    iam.update_access_key(UserName="bob", AccessKeyId=bob.keys["key"], Status="Inactive")
    assert refusal(bob.client("sts").get_caller_identity)[0] == "UnrecognizedClientException"


# --- sessions ---------------------------------------------------------------------------------------------------


def test_a_trust_policy_says_who_may_assume_a_role(box: SandboxBox) -> None:
    iam = box.client("iam")
    bob, eve = user(box, "bob"), user(box, "eve", {"Action": "sts:AssumeRole"})
    arn = f"arn:aws:iam::{ACCOUNT}:role/r"

    def trusted(person: Person, principal: Any, **more: Any) -> bool:
        iam.update_assume_role_policy(RoleName="r", PolicyDocument=trust(principal, **more))
        code, message = trouble(
            person.client("sts").assume_role, RoleArn=arn, RoleSessionName="visit", ExternalId="word"
        )
        assert code in ("", "AccessDenied")
        assert not code or f"not authorized to perform: sts:AssumeRole on resource: {arn}" in message
        return not code

    iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust({"Service": "ec2.amazonaws.com"}))
    assert not trusted(eve, {"Service": "ec2.amazonaws.com"})
    assert trusted(bob, {"AWS": BOB})  # named himself: he needs no policy of his own
    assert not trusted(eve, {"AWS": BOB})
    assert not trusted(bob, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})  # named with everybody: he needs one
    assert trusted(eve, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    assert trusted(bob, {"AWS": BOB}, Condition={"StringEquals": {"sts:ExternalId": "word"}})
    assert not trusted(bob, {"AWS": BOB}, Condition={"StringEquals": {"sts:ExternalId": "other"}})
    missing = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    assert (
        refusal(eve.client("sts").assume_role, RoleArn=missing, RoleSessionName="visit")[0] == "AccessDenied"
    )


def test_session_policies_tags_and_durations(box: SandboxBox) -> None:
    iam = box.client("iam")
    bob = user(box, "bob")
    iam.create_role(
        RoleName="r",
        AssumeRolePolicyDocument=trust({"AWS": BOB}, Action=["sts:AssumeRole", "sts:TagSession"]),
    )
    statement = {"Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/team}*"}
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=document(statement))
    ask = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r", "RoleSessionName": "visit"}
    assume = bob.client("sts").assume_role
    tagged = lent(box, assume(**ask, Tags=[{"Key": "team", "Value": "vision"}])["Credentials"])
    tagged.client("s3").create_bucket(Bucket="vision-data")
    assert refusal(tagged.client("s3").create_bucket, Bucket="speech-data")[0] == "AccessDenied"
    narrow = document({"Action": "s3:ListBucket"})
    limited = lent(
        box, assume(**ask, Tags=[{"Key": "team", "Value": "vision"}], Policy=narrow)["Credentials"]
    )
    limited.client("s3").list_objects_v2(Bucket="vision-data")
    told = refusal(limited.client("s3").put_object, Bucket="vision-data", Key="k", Body=b"")
    assert told[2].endswith("because no session policy allows the s3:PutObject action")
    assert refusal(assume, **ask, Policy="{}")[0] == "MalformedPolicyDocument"
    assert refusal(assume, **ask, DurationSeconds=7200)[0] == "ValidationError"
    iam.update_role(RoleName="r", MaxSessionDuration=7200)
    assume(**ask, DurationSeconds=7200)
    assert refusal(tagged.client("sts").assume_role, **ask)[0] == "AccessDenied"  # nobody trusts the session
    iam.update_assume_role_policy(RoleName="r", PolicyDocument=trust({"AWS": BOB}))
    assert "sts:TagSession" in refusal(assume, **ask, Tags=[{"Key": "team", "Value": "x"}])[2]


def test_federated_users_and_session_tokens(box: SandboxBox) -> None:
    bob = user(box, "bob", {"Action": ["s3:*", "sts:GetFederationToken", "iam:*"]})
    sts = bob.client("sts")
    policy = document({"Action": ["s3:ListAllMyBuckets", "ec2:*"]})
    given = sts.get_federation_token(Name="visitor", Policy=policy)
    visitor = lent(box, given["Credentials"])
    assert visitor.arn() == f"arn:aws:sts::{ACCOUNT}:federated-user/visitor" == given["FederatedUser"]["Arn"]
    visitor.client("s3").list_buckets()
    assert "no session policy" in refusal(visitor.client("s3").create_bucket, Bucket="new")[2]
    assert "no identity-based policy" in refusal(visitor.client("ec2").describe_vpcs)[2]
    assert refusal(visitor.client("iam").list_users)[0] == "InvalidClientTokenId"
    nothing = lent(box, sts.get_federation_token(Name="visitor")["Credentials"])
    assert refusal(nothing.client("s3").list_buckets)[0] == "AccessDenied"
    same = lent(box, sts.get_session_token()["Credentials"])
    assert same.arn() == BOB
    same.client("s3").list_buckets()
    assert refusal(same.client("iam").list_users)[0] == "InvalidClientTokenId"
    assert refusal(same.client("sts").get_session_token)[0] == "AccessDenied"
    assert (
        refusal(Person(box, {**same.keys, "token": "wrong"}).client("s3").list_buckets)[0] == "InvalidToken"
    )


# --- S3 ---------------------------------------------------------------------------------------------------------


def test_the_least_rights_of_a_prefix(box: SandboxBox) -> None:
    box.client("s3").create_bucket(Bucket="data")
    for key in ("mine/a", "theirs/b"):
        box.client("s3").put_object(Bucket="data", Key=key, Body=b"text")
    objects = {"Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::data/mine/*"}
    bob = user(box, "bob", objects)
    s3 = bob.client("s3")
    assert s3.get_object(Bucket="data", Key="mine/a")["Body"].read() == b"text"
    told = refusal(s3.get_object, Bucket="data", Key="theirs/b")
    assert told == ("AccessDenied", 403, because(BOB, "s3:GetObject", '"arn:aws:s3:::data/theirs/b"'))
    # without ListBucket nobody learns that a key is not there
    assert refusal(s3.get_object, Bucket="data", Key="mine/none")[2] == because(
        BOB, "s3:ListBucket", '"arn:aws:s3:::data"'
    )
    assert refusal(s3.head_object, Bucket="data", Key="mine/none")[:2] == ("403", 403)
    assert refusal(s3.list_objects_v2, Bucket="data", Prefix="mine/")[0] == "AccessDenied"
    listing = {
        "Action": "s3:ListBucket",
        "Resource": "arn:aws:s3:::data",
        "Condition": {"StringLike": {"s3:prefix": "mine/*"}},
    }
    box.client("iam").put_user_policy(UserName="bob", PolicyName="list", PolicyDocument=document(listing))
    assert s3.list_objects_v2(Bucket="data", Prefix="mine/")["KeyCount"] == 1
    assert refusal(s3.list_objects_v2, Bucket="data")[0] == "AccessDenied"
    assert refusal(s3.list_objects_v2, Bucket="data", Prefix="theirs/")[0] == "AccessDenied"
    assert refusal(s3.get_object, Bucket="nowhere", Key="x")[0] == "NoSuchBucket"


def test_a_multipart_upload_needs_put_object_and_its_own_to_list_and_abort(box: SandboxBox) -> None:
    box.client("s3").create_bucket(Bucket="data")
    bob = user(box, "bob", {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::data/*"})
    s3, at = bob.client("s3"), {"Bucket": "data", "Key": "big"}
    upload = {**at, "UploadId": s3.create_multipart_upload(**at)["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=b"x" * 10)
    assert "s3:ListMultipartUploadParts" in refusal(s3.list_parts, **upload)[2]
    assert "s3:AbortMultipartUpload" in refusal(s3.abort_multipart_upload, **upload)[2]
    assert "s3:ListBucketMultipartUploads" in refusal(s3.list_multipart_uploads, Bucket="data")[2]
    s3.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert "s3:PutObjectTagging" in refusal(s3.put_object, **at, Body=b"", Tagging="a=b")[2]


def test_a_copy_reads_its_source_and_many_deletes_are_decided_one_by_one(box: SandboxBox) -> None:
    root = box.client("s3")
    for bucket in ("here", "there"):
        root.create_bucket(Bucket=bucket)
        root.put_object(Bucket=bucket, Key="a", Body=b"1", Tagging="kind=old")
    bob = user(
        box,
        "bob",
        {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::there/*"},
        {"Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::there/a"},
    )
    s3 = bob.client("s3")
    copy = {"Bucket": "there", "Key": "b", "CopySource": "here/a"}
    assert because(BOB, "s3:GetObject", '"arn:aws:s3:::here/a"') in refusal(s3.copy_object, **copy)[2]
    more = [{"Action": "s3:GetObject", "Resource": "arn:aws:s3:::here/*"}]
    iam = box.client("iam")
    iam.put_user_policy(UserName="bob", PolicyName="more", PolicyDocument=document(*more))
    assert "s3:GetObjectTagging" in refusal(s3.copy_object, **copy)[2]
    s3.copy_object(**copy, TaggingDirective="REPLACE")
    done = s3.delete_objects(Bucket="there", Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    assert [each["Key"] for each in done["Deleted"]] == ["a"]
    assert [(each["Key"], each["Code"]) for each in done["Errors"]] == [("b", "AccessDenied")]


def test_versions_have_actions_of_their_own(box: SandboxBox) -> None:
    root = box.client("s3")
    root.create_bucket(Bucket="data")
    root.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    version = root.put_object(Bucket="data", Key="k", Body=b"1")["VersionId"]
    bob = user(box, "bob", {"Action": ["s3:GetObject", "s3:DeleteObject"], "Resource": "arn:aws:s3:::data/*"})
    s3 = bob.client("s3")
    assert "s3:GetObjectVersion" in refusal(s3.get_object, Bucket="data", Key="k", VersionId=version)[2]
    assert "s3:DeleteObjectVersion" in refusal(s3.delete_object, Bucket="data", Key="k", VersionId=version)[2]
    s3.delete_object(Bucket="data", Key="k")
    assert refusal(root.get_object, Bucket="data", Key="k")[0] == "NoSuchKey"


def test_bucket_policies_give_and_take(box: SandboxBox) -> None:
    root = box.client("s3")
    root.create_bucket(Bucket="data")
    root.put_object(Bucket="data", Key="k", Body=b"1")
    bob, eve = user(box, "bob"), user(box, "eve", {"Action": "s3:*"})

    def put(*statements: dict[str, Any]) -> None:
        root.put_bucket_policy(Bucket="data", Policy=document(*statements))

    put({"Action": "s3:GetObject", "Principal": {"AWS": BOB}, "Resource": "arn:aws:s3:::data/*"})
    assert bob.client("s3").get_object(Bucket="data", Key="k")["Body"].read() == b"1"
    assert refusal(bob.client("s3").put_object, Bucket="data", Key="k")[0] == "AccessDenied"
    put({
        "Effect": "Deny", "Action": "s3:*", "Principal": "*", "Resource": ["arn:aws:s3:::data", "arn:aws:s3:::data/*"],
        "Condition": {"StringNotEquals": {"aws:PrincipalArn": BOB}},
    })  # fmt: skip
    told = refusal(eve.client("s3").get_object, Bucket="data", Key="k")[2]
    assert told.endswith("with an explicit deny in a resource-based policy")
    assert root.get_object(Bucket="data", Key="k")["Body"].read() == b"1"  # the sandbox's root skips all
    wrong = document({"Action": "s3:*", "Principal": "*", "Resource": "arn:aws:s3:::other/*"})
    assert refusal(root.put_bucket_policy, Bucket="data", Policy=wrong)[0] == "MalformedPolicy"


@pytest.mark.parametrize("secure", ["true", "false"])
def test_a_bucket_for_tls_only(tmp_path: Path, secure: str) -> None:
    with sandbox(tmp_path, "--plain", "--set", f"secure_transport={secure}", name="tls") as box:
        root = box.client("s3")
        root.create_bucket(Bucket="data")
        root.put_bucket_policy(Bucket="data", Policy=document({
            "Effect": "Deny", "Action": "s3:*", "Principal": "*", "Resource": "arn:aws:s3:::data/*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }))  # fmt: skip
        bob = user(box, "bob", {"Action": "s3:*"})
        if secure == "true":
            bob.client("s3").put_object(Bucket="data", Key="k")
        else:
            assert "explicit deny" in refusal(bob.client("s3").put_object, Bucket="data", Key="k")[2]


def test_presigned_urls_are_worth_what_their_signer_may(box: SandboxBox) -> None:
    root = box.client("s3")
    root.create_bucket(Bucket="data")
    root.put_object(Bucket="data", Key="k", Body=b"1")
    bob = user(box, "bob", {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/*"})
    s3 = boto3.client(
        "s3",
        endpoint_url=box.values["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=bob.keys["key"],
        aws_secret_access_key=bob.keys["secret"],
        config=Config(signature_version="s3v4"),
    )
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "data", "Key": "k"})
    s3.close()

    def status() -> int:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=20)
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        connection.close()
        return answer.status

    assert status() == 200
    box.client("iam").delete_user_policy(UserName="bob", PolicyName="own")
    assert status() == 403


# --- instances --------------------------------------------------------------------------------------------------

ASK = """
import boto3, json
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
said = {"arn": boto3.client("sts").get_caller_identity()["Arn"]}
for name, call in {
    "read": lambda: s3.get_object(Bucket="data", Key="in/a")["Body"].read().decode(),
    "write": lambda: s3.put_object(Bucket="data", Key="in/b", Body=b"") and "written",
    "own": lambda: s3.put_object(Bucket="data", Key="out/" + boto3.client("sts").get_caller_identity()["UserId"], Body=b"") and "written",
}.items():
    try:
        said[name] = call()
    except ClientError as error:
        said[name] = error.response["Error"]["Code"]
print(json.dumps(said))
"""


def test_an_instance_has_the_rights_of_its_role_and_no_more(box: SandboxBox, tmp_path: Path) -> None:
    root = box.client("s3")
    root.create_bucket(Bucket="data")
    root.put_object(Bucket="data", Key="in/a", Body=b"code")
    node_role(
        box,
        {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/in/*"},
        {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::data/out/${aws:userid}"},
    )
    program, said = tmp_path / "program.py", tmp_path / "said"
    program.write_text(ASK)
    data = f"#!/bin/sh\n{PYTHON} {program} > {said}.new 2>&1; mv {said}.new {said}\n"
    [instance] = box.launch(IamInstanceProfile={"Name": "node"}, UserData=data)
    until(said.exists)
    told = json.loads(said.read_text())
    assert told == {
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/node/{instance}",
        "read": "code",
        "write": "AccessDenied",
        "own": "written",
    }


def registered(box: SandboxBox) -> set[str]:
    found = box.client("ssm").describe_instance_information(MaxResults=50)["InstanceInformationList"]
    return {each["InstanceId"] for each in found}


def test_an_agent_registers_once_its_role_lets_it(box: SandboxBox) -> None:
    node_role(box, core=False)
    node_role(box, name="good")
    [good] = box.launch(IamInstanceProfile={"Name": "good"})
    [bare] = box.launch(IamInstanceProfile={"Name": "node"})
    box.wait(bare, "running")
    until(lambda: good in registered(box))
    assert bare not in registered(box)
    box.client("iam").attach_role_policy(RoleName="node", PolicyArn=SSM_CORE)
    until(lambda: bare in registered(box))


def test_a_role_that_does_not_trust_ec2_gives_an_instance_nothing(box: SandboxBox, tmp_path: Path) -> None:
    node_role(box)
    box.client("iam").update_assume_role_policy(
        RoleName="node", PolicyDocument=trust({"Service": "lambda.amazonaws.com"})
    )
    said = tmp_path / "said"
    ask = 'curl -s -H "X-aws-ec2-metadata-token: $(curl -s -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" $AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/api/token)"'
    box.launch(
        IamInstanceProfile={"Name": "node"},
        UserData=f"#!/bin/sh\n{ask} $AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/meta-data/iam/security-credentials/node > {said}.new; mv {said}.new {said}\n",
    )
    until(said.exists)
    assert json.loads(said.read_text())["Code"] == "AssumeRoleUnauthorizedAccess"
