"""A policy as the one runctl asks for, proved on the sandbox: it launches, commands and ends its own, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until
from tests.unit.sandbox.iam_world import (
    ACCOUNT,
    Person,
    because,
    document,
    lent,
    node_role,
    refusal,
    trust,
    user,
)

BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
EC2 = f"arn:aws:ec2:us-east-1:{ACCOUNT}"
OWN = {"StringEquals": {"aws:RequestTag/managed": "true"}}
MINE = {"StringEquals": {"aws:ResourceTag/managed": "true"}}
KINDS = ("instance", "volume", "network-interface")
# the statements of a launcher's policy by name, so that a test can leave one out
LAUNCHER: dict[str, dict[str, Any]] = {
    "Read": {"Action": ["ec2:DescribeInstances", "ec2:DescribeImages", "ssm:GetCommandInvocation"]},
    "Support": {
        "Action": "ec2:RunInstances",
        "Resource": ["arn:aws:ec2:*::image/*", f"arn:aws:ec2:*:{ACCOUNT}:subnet/*", f"arn:aws:ec2:*:{ACCOUNT}:security-group/*"],
    },
    "Tagged": {
        "Action": "ec2:RunInstances",
        "Resource": [f"arn:aws:ec2:*:{ACCOUNT}:{kind}/*" for kind in (*KINDS, "spot-instances-request")],
        "Condition": OWN,
    },
    "ImdsV2": {
        "Effect": "Deny",
        "Action": "ec2:RunInstances",
        "Resource": f"arn:aws:ec2:*:{ACCOUNT}:instance/*",
        "Condition": {"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}},
    },
    "Small": {
        "Effect": "Deny",
        "Action": "ec2:RunInstances",
        "Resource": f"arn:aws:ec2:*:{ACCOUNT}:instance/*",
        "Condition": {"StringNotLike": {"ec2:InstanceType": "t3.*"}},
    },
    "Tag": {
        "Action": "ec2:CreateTags",
        "Resource": f"arn:aws:ec2:*:{ACCOUNT}:*/*",
        "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}},
    },
    "Lifecycle": {
        "Action": ["ec2:TerminateInstances", "ec2:StopInstances"],
        "Resource": f"arn:aws:ec2:*:{ACCOUNT}:instance/*",
        "Condition": MINE,
    },
    "Pass": {
        "Action": "iam:PassRole",
        "Resource": f"arn:aws:iam::{ACCOUNT}:role/node",
        "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
    },
    "Document": {"Action": "ssm:SendCommand", "Resource": "arn:aws:ssm:*::document/AWS-RunShellScript"},
    "Command": {
        "Action": ["ssm:SendCommand", "ssm:StartSession"],
        "Resource": f"arn:aws:ec2:*:{ACCOUNT}:instance/*",
        "Condition": {"StringEquals": {"ssm:resourceTag/managed": "true"}},
    },
    "Image": {"Action": "ssm:GetParameter", "Resource": "arn:aws:ssm:*::parameter/aws/service/*"},
}  # fmt: skip


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("launch"), "--plain") as box:
        yield box


@pytest.fixture(autouse=True)
def fresh(box: SandboxBox) -> Iterator[None]:
    yield
    box.reset()
    box.close()


def launcher(box: SandboxBox, *, without: str = "") -> Person:
    return user(box, "bob", *({"Sid": name, **each} for name, each in LAUNCHER.items() if name != without))


def asked(box: SandboxBox, **more: Any) -> dict[str, Any]:
    """A launch as the policy wants it."""
    tags = [{"Key": "managed", "Value": "true"}]
    return {
        "ImageId": box.image(),
        "InstanceType": "t3.micro",
        "MinCount": 1,
        "MaxCount": 1,
        "IamInstanceProfile": {"Name": "node"},
        "MetadataOptions": {"HttpTokens": "required"},
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in KINDS],
        **more,
    }


def launch(person: Person, box: SandboxBox, **more: Any) -> str:
    return str(person.client("ec2").run_instances(**asked(box, **more))["Instances"][0]["InstanceId"])


def test_the_least_rights_launch_command_and_end_an_instance(box: SandboxBox) -> None:
    node_role(box)
    bob = launcher(box)
    instance = launch(bob, box)
    ssm = bob.client("ssm")

    def sent() -> str | None:
        try:
            answer = ssm.send_command(
                InstanceIds=[instance],
                DocumentName="AWS-RunShellScript",
                Parameters={"commands": ["echo hello"]},
            )
        except ssm.exceptions.InvalidInstanceId:  # not registered yet
            return None
        return str(answer["Command"]["CommandId"])

    command = until(sent)
    until(
        lambda: (
            ssm.get_command_invocation(CommandId=command, InstanceId=instance)["StandardOutputContent"]
            == "hello\n"
        )
    )
    bob.client("ec2").terminate_instances(InstanceIds=[instance])
    box.wait(instance, "terminated")


@pytest.mark.parametrize(
    ("without", "action", "resource"),
    [
        ("Tagged", "ec2:RunInstances", f"{EC2}:instance/*"),
        ("Support", "ec2:RunInstances", "arn:aws:ec2:us-east-1::image/"),
        ("Tag", "ec2:CreateTags", f"{EC2}:instance/*"),
        ("Pass", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/node"),
    ],
)
def test_each_statement_that_a_launch_needs_is_missed(
    box: SandboxBox, without: str, action: str, resource: str
) -> None:
    node_role(box)
    bob = launcher(box, without=without)
    code, status, message = refusal(bob.client("ec2").run_instances, **asked(box))
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert f"{BOB} is not authorized to perform: {action} on resource: {resource}" in message
    assert box.client("ec2").describe_instances()["Reservations"] == []


@pytest.mark.parametrize(
    ("change", "resource", "why"),
    [
        ({"TagSpecifications": []}, "instance/*", "because no identity-based policy"),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "managed", "Value": "true"}]}]},
            "network-interface/*",
            "because no identity-based policy",
        ),
        ({"MetadataOptions": {"HttpTokens": "optional"}}, "instance/*", "with an explicit deny in an identity-based policy"),
        ({"MetadataOptions": {}}, "instance/*", "with an explicit deny"),
        ({"InstanceType": "p4d.24xlarge"}, "instance/*", "with an explicit deny"),
        ({"KeyName": "mine"}, "key-pair/mine", "because no identity-based policy"),
    ],
)  # fmt: skip
def test_a_launch_that_the_conditions_do_not_fit(
    box: SandboxBox, change: dict[str, Any], resource: str, why: str
) -> None:
    node_role(box)
    bob = launcher(box)
    message = refusal(bob.client("ec2").run_instances, **asked(box, **change))[2]
    assert f"ec2:RunInstances on resource: {EC2}:{resource} {why}" in message


def test_another_role_is_not_passed_and_other_instances_are_not_touched(box: SandboxBox) -> None:
    for name in ("node", "admin"):
        node_role(box, name=name)
    bob = launcher(box)
    message = refusal(bob.client("ec2").run_instances, **asked(box, IamInstanceProfile={"Name": "admin"}))[2]
    assert f"iam:PassRole on resource: arn:aws:iam::{ACCOUNT}:role/admin" in message
    [other] = box.launch(
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "managed", "Value": "no"}]}]
    )
    mine = launch(bob, box)
    for call in ("terminate_instances", "stop_instances"):
        assert (
            f"{EC2}:instance/{other}"
            in refusal(getattr(bob.client("ec2"), call), InstanceIds=[mine, other])[2]
        )
    tags = {"Resources": [other], "Tags": [{"Key": "managed", "Value": "true"}]}
    assert "ec2:CreateTags" in refusal(bob.client("ec2").create_tags, **tags)[2]  # only while launching
    assert box.state(other) != "terminated" != box.state(mine)
    box.client("ec2").create_tags(**tags)
    bob.client("ec2").terminate_instances(InstanceIds=[mine, other])


def test_the_first_spot_launch_needs_the_service_linked_role(box: SandboxBox) -> None:
    node_role(box)
    bob = launcher(box)
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    assert refusal(bob.client("ec2").run_instances, **asked(box, **spot))[0] == code
    box.client("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    launch(bob, box, **spot)
    tags = [
        *asked(box)["TagSpecifications"],
        {"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]},
    ]
    message = refusal(bob.client("ec2").run_instances, **asked(box, **spot, TagSpecifications=tags))[2]
    assert f"{EC2}:spot-instances-request/*" in message  # asked for only when it is tagged


def test_whoever_may_make_the_spot_role_makes_it_by_launching(box: SandboxBox) -> None:
    node_role(box)
    bob = launcher(box)
    linked = {
        "Action": "iam:CreateServiceLinkedRole",
        "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
    }
    box.client("iam").put_user_policy(UserName="bob", PolicyName="spot", PolicyDocument=document(linked))
    launch(bob, box, InstanceMarketOptions={"MarketType": "spot"})
    box.client("iam").delete_user_policy(UserName="bob", PolicyName="spot")
    launch(bob, box, InstanceMarketOptions={"MarketType": "spot"})
    assert (
        box.client("iam")
        .get_role(RoleName="AWSServiceRoleForEC2Spot")["Role"]["Path"]
        .startswith("/aws-service-role/")
    )


def test_a_launch_template_is_a_resource_of_its_own(box: SandboxBox) -> None:
    node_role(box)
    bob = launcher(box)
    data = {name: value for name, value in asked(box).items() if name not in ("MinCount", "MaxCount")}
    template = box.client("ec2").create_launch_template(LaunchTemplateName="t", LaunchTemplateData=data)
    name = template["LaunchTemplate"]["LaunchTemplateId"]
    use = {"MinCount": 1, "MaxCount": 1, "LaunchTemplate": {"LaunchTemplateName": "t"}}
    assert f"{EC2}:launch-template/{name}" in refusal(bob.client("ec2").run_instances, **use)[2]
    more = document({"Action": "ec2:RunInstances", "Resource": f"{EC2}:launch-template/{name}"})
    box.client("iam").put_user_policy(UserName="bob", PolicyName="template", PolicyDocument=more)
    bob.client("ec2").run_instances(**use)


def test_who_makes_a_fleet_or_a_group_needs_the_rights_to_launch(box: SandboxBox) -> None:
    node_role(box)
    data = {"ImageId": box.image(), "InstanceType": "t3.micro", "IamInstanceProfile": {"Name": "node"}}
    template = box.client("ec2").create_launch_template(LaunchTemplateName="t", LaunchTemplateData=data)
    use = {"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"], "Version": "$Default"}
    bob = user(box, "bob", {"Action": ["ec2:CreateFleet", "autoscaling:*"]})
    fleet = {
        "Type": "instant",
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": use}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    }
    group = {
        "AutoScalingGroupName": "g",
        "MinSize": 0,
        "MaxSize": 0,
        "LaunchTemplate": use,
        "AvailabilityZones": ["us-east-1a"],
    }
    create_fleet, create_group = (
        bob.client("ec2").create_fleet,
        bob.client("autoscaling").create_auto_scaling_group,
    )
    for call, given in ((create_fleet, fleet), (create_group, group)):
        assert "ec2:RunInstances" in refusal(call, **given)[2]
    iam = box.client("iam")
    iam.put_user_policy(
        UserName="bob", PolicyName="run", PolicyDocument=document({"Action": "ec2:RunInstances"})
    )
    for call, given in ((create_fleet, fleet), (create_group, group)):
        assert "iam:PassRole" in refusal(call, **given)[2]
    assert box.client("ec2").describe_instances()["Reservations"] == []
    iam.put_user_policy(
        UserName="bob", PolicyName="pass", PolicyDocument=document({"Action": "iam:PassRole"})
    )
    assert len(create_fleet(**fleet)["Instances"][0]["InstanceIds"]) == 1
    create_group(**group)


@pytest.mark.parametrize(
    ("call", "given", "action"),
    [
        ("describe_instances", {}, "ec2:DescribeInstances"),
        ("describe_vpcs", {}, "ec2:DescribeVpcs"),
        ("describe_spot_price_history", {}, "ec2:DescribeSpotPriceHistory"),
        ("create_security_group", {"GroupName": "g", "Description": "d"}, "ec2:CreateSecurityGroup"),
        ("create_volume", {"AvailabilityZone": "us-east-1a", "Size": 1}, "ec2:CreateVolume"),
        ("terminate_instances", {"InstanceIds": ["i-0123456789abcdef0"]}, "ec2:TerminateInstances"),
        ("create_key_pair", {"KeyName": "k"}, "ec2:CreateKeyPair"),
        (
            "run_instances",
            {"MinCount": 1, "MaxCount": 1, "ImageId": "ami-0123456789abcdef0"},
            "ec2:RunInstances",
        ),
    ],
)
def test_a_dry_run_asks_whether_one_may(
    box: SandboxBox, call: str, given: dict[str, Any], action: str
) -> None:
    ec2 = user(box, "bob").client("ec2")
    assert refusal(getattr(ec2, call), DryRun=True, **given)[0] == "UnauthorizedOperation"
    box.client("iam").put_user_policy(
        UserName="bob", PolicyName="p", PolicyDocument=document({"Action": action})
    )
    assert refusal(getattr(ec2, call), DryRun=True, **given)[0] == "DryRunOperation"
    assert refusal(getattr(box.client("ec2"), call), DryRun=True, **given)[0] == "DryRunOperation"
    found = box.client("ec2")
    assert found.describe_instances()["Reservations"] == found.describe_volumes()["Volumes"] == []
    assert {each["GroupName"] for each in found.describe_security_groups()["SecurityGroups"]} == {"default"}


def test_an_encoded_message_is_decoded_by_who_may(box: SandboxBox) -> None:
    node_role(box)
    bob = launcher(box)
    message = refusal(bob.client("ec2").run_instances, **asked(box, MetadataOptions={}))[2]
    encoded = message.partition("Encoded authorization failure message: ")[2]
    sts = bob.client("sts")
    assert (
        "sts:DecodeAuthorizationMessage"
        in refusal(sts.decode_authorization_message, EncodedMessage=encoded)[2]
    )
    decoded = json.loads(
        box.client("sts").decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"]
    )
    assert (decoded["allowed"], decoded["explicitDeny"]) == (False, True)
    assert decoded["matchedStatements"]["items"][0]["statementId"] == "ImdsV2"
    context = decoded["context"]
    assert (context["action"], context["resource"]) == ("ec2:RunInstances", f"{EC2}:instance/*")
    assert context["principal"]["arn"] == BOB
    keys = {
        each["key"]: [value["value"] for value in each["values"]["items"]]
        for each in context["conditions"]["items"]
    }
    assert keys["ec2:instancetype"] == ["t3.micro"]
    assert keys["aws:requesttag/managed"] == ["true"]
    wrong = encoded[:-4] + ("AAAA" if encoded[-4:] != "AAAA" else "BBBB")
    told = refusal(box.client("sts").decode_authorization_message, EncodedMessage=wrong)
    assert told[0] == "InvalidAuthorizationMessageException"


def test_systems_manager_asks_for_document_instance_and_session(box: SandboxBox) -> None:
    node_role(box)
    bob = launcher(box)
    mine = launch(bob, box)
    [other] = box.launch(IamInstanceProfile={"Name": "node"})
    ssm = bob.client("ssm")
    shell = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
    told = refusal(ssm.send_command, InstanceIds=[other], **shell)
    assert told == ("AccessDeniedException", 400, because(BOB, "ssm:SendCommand", f"{EC2}:instance/{other}"))
    powershell = {**shell, "DocumentName": "AWS-RunPowerShellScript"}
    assert (
        "document/AWS-RunPowerShellScript" in refusal(ssm.send_command, InstanceIds=[mine], **powershell)[2]
    )
    by_tag = {"Targets": [{"Key": "tag:managed", "Values": ["true"]}]}
    ssm.send_command(**by_tag, **shell)
    by_tag["Targets"][0]["Values"] = ["no"]
    assert f"{EC2}:instance/*" in refusal(ssm.send_command, **by_tag, **shell)[2]

    def session() -> str | None:
        try:
            return str(ssm.start_session(Target=mine)["SessionId"])
        except ssm.exceptions.TargetNotConnected:
            return None

    own = until(session)
    assert own.startswith("bob-")
    named = {
        "Target": mine,
        "DocumentName": "AWS-StartInteractiveCommand",
        "Parameters": {"command": ["true"]},
    }
    assert "document/AWS-StartInteractiveCommand" in refusal(ssm.start_session, **named)[2]
    assert f"session/{own}" in refusal(ssm.terminate_session, SessionId=own)[2]
    mine_only = document(
        {"Action": "ssm:TerminateSession", "Resource": "arn:aws:ssm:*:*:session/${aws:username}-*"}
    )
    box.client("iam").put_user_policy(UserName="bob", PolicyName="end", PolicyDocument=mine_only)
    theirs = box.client("ssm").start_session(Target=mine)["SessionId"]
    assert refusal(ssm.terminate_session, SessionId=theirs)[0] == "AccessDeniedException"
    ssm.terminate_session(SessionId=own)


def test_who_assumed_a_role_ends_their_own_sessions_alone(box: SandboxBox) -> None:
    node_role(box)
    [instance] = box.launch(IamInstanceProfile={"Name": "node"})
    until(lambda: box.client("ssm").describe_instance_information()["InstanceInformationList"])
    box.client("iam").create_role(
        RoleName="team", AssumeRolePolicyDocument=trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    )
    own = {"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}}
    rights = document(
        {"Action": "ssm:StartSession"},
        {"Action": ["ssm:TerminateSession", "ssm:ResumeSession"], "Condition": own},
    )
    box.client("iam").put_role_policy(RoleName="team", PolicyName="own", PolicyDocument=rights)

    def member(name: str) -> Any:
        given = box.client("sts").assume_role(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/team", RoleSessionName=name
        )
        return lent(box, given["Credentials"]).client("ssm")

    ann, eve = member("ann"), member("eve")
    session = ann.start_session(Target=instance)["SessionId"]
    assert session.startswith("ann-")
    for call in (eve.terminate_session, eve.resume_session):
        assert refusal(call, SessionId=session)[0] == "AccessDeniedException"
    ann.resume_session(SessionId=session)
    ann.terminate_session(SessionId=session)


def test_the_default_session_document_is_asked_for_where_a_policy_wants_it(box: SandboxBox) -> None:
    node_role(box)
    [instance] = box.launch(IamInstanceProfile={"Name": "node"})
    checked = {
        "Action": "ssm:StartSession",
        "Resource": f"{EC2}:instance/*",
        "Condition": {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}},
    }
    bob = user(box, "bob", checked)
    start = bob.client("ssm").start_session
    assert "SSM-SessionManagerRunShell" in refusal(start, Target=instance)[2]
    more = document(
        {
            "Action": "ssm:StartSession",
            "Resource": f"arn:aws:ssm:*:{ACCOUNT}:document/SSM-SessionManagerRunShell",
        }
    )
    box.client("iam").put_user_policy(UserName="bob", PolicyName="document", PolicyDocument=more)

    def started() -> bool:
        try:
            start(Target=instance)
        except bob.client("ssm").exceptions.TargetNotConnected:
            return False
        return True

    until(started)


# --- simulation ---------------------------------------------------------------------------------------------------


def simulated(box: SandboxBox, action: str, *resources: str, **context: str) -> dict[str, Any]:
    entries = [
        {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for name, value in context.items()
    ]
    more = {"ResourceArns": list(resources)} if resources else {}
    answer = box.client("iam").simulate_principal_policy(
        PolicySourceArn=BOB, ActionNames=[action], ContextEntries=entries, **more
    )
    assert not answer["IsTruncated"]
    [result] = answer["EvaluationResults"]
    return dict(result)


def test_a_simulation_decides_as_the_call_would(box: SandboxBox) -> None:
    launcher(box)
    plain = simulated(box, "ec2:DescribeInstances")
    assert plain["EvalDecision"] == "allowed"
    assert plain["EvalResourceName"] == "*"
    assert plain["MatchedStatements"][0]["SourcePolicyId"] == "user_bob_own"
    assert plain["MatchedStatements"][0]["SourcePolicyType"] == "IAM Policy"
    assert simulated(box, "ec2:CreateVpc")["EvalDecision"] == "implicitDeny"
    instance = f"{EC2}:instance/i-1"
    ours = simulated(box, "ec2:TerminateInstances", instance, **{"aws:ResourceTag/managed": "true"})
    assert (ours["EvalDecision"], ours["MissingContextValues"]) == ("allowed", [])
    unknown = simulated(box, "ec2:TerminateInstances", instance)
    assert (unknown["EvalDecision"], unknown["MissingContextValues"]) == (
        "implicitDeny",
        ["aws:ResourceTag/managed"],
    )
    denied = simulated(box, "ec2:RunInstances", f"{EC2}:instance/*", **{"ec2:MetadataHttpTokens": "optional"})
    assert denied["EvalDecision"] == "explicitDeny"
    assert denied["ResourceSpecificResults"][0]["EvalResourceDecision"] == "explicitDeny"


def test_a_simulation_tells_each_resource_and_where_the_statement_stands(box: SandboxBox) -> None:
    text = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"},
                {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"},
            ],
        },
        indent=4,
    )
    answer = box.client("iam").simulate_custom_policy(
        PolicyInputList=[text],
        ActionNames=["s3:GetObject"],
        ResourceArns=["arn:aws:s3:::a/k", "arn:aws:s3:::b/k", "arn:aws:s3:::c/k"],
    )
    [result] = answer["EvaluationResults"]
    assert result["EvalDecision"] == "explicitDeny"
    assert result["EvalResourceName"] == "arn:${Partition}:s3:::${BucketName}/${KeyName}"
    each = {one["EvalResourceName"][-3:]: one for one in result["ResourceSpecificResults"]}
    assert {name: one["EvalResourceDecision"] for name, one in each.items()} == {
        "a/k": "allowed", "b/k": "explicitDeny", "c/k": "implicitDeny",
    }  # fmt: skip
    first, second = (each[name]["MatchedStatements"][0] for name in ("a/k", "b/k"))
    # from behind the bracket (or comma) before a statement to behind its own brace, as the real service counts
    assert (first["StartPosition"], first["EndPosition"]) == (
        {"Line": 3, "Column": 19},
        {"Line": 8, "Column": 10},
    )
    assert (second["StartPosition"], second["EndPosition"]) == (
        {"Line": 8, "Column": 11},
        {"Line": 13, "Column": 10},
    )
    assert first["SourcePolicyId"] == "PolicyInputList.1"


def test_simulations_take_roles_groups_boundaries_and_resource_policies(box: SandboxBox) -> None:
    iam = box.client("iam")
    node_role(box, {"Action": "s3:*"}, core=False)
    iam.create_group(GroupName="g")
    iam.put_group_policy(GroupName="g", PolicyName="p", PolicyDocument=document({"Action": "s3:Get*"}))
    boundary = document({"Action": "ec2:*"})

    def word(source: str, **more: Any) -> tuple[str, Any]:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:{source}", ActionNames=["s3:GetObject"],
            ResourceArns=["arn:aws:s3:::b/k"], **more,
        )  # fmt: skip
        [result] = answer["EvaluationResults"]
        return result["EvalDecision"], result.get("PermissionsBoundaryDecisionDetail")

    assert word("role/node") == ("allowed", None)
    assert word("group/g") == ("allowed", None)
    bounded = {"AllowedByPermissionsBoundary": False}
    assert word("role/node", PermissionsBoundaryPolicyInputList=[boundary]) == ("implicitDeny", bounded)
    assert (
        word("role/node", PolicyInputList=[document({"Effect": "Deny", "Action": "*"})])[0] == "explicitDeny"
    )
    user(box, "bob")
    grant = {"Action": "s3:GetObject", "Principal": {"AWS": BOB}, "Resource": "arn:aws:s3:::b/*"}
    assert word("user/bob")[0] == "implicitDeny"
    assert word("user/bob", ResourcePolicy=document(grant), CallerArn=BOB)[0] == "allowed"
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        word("user/nobody")
    names = iam.get_context_keys_for_custom_policy(
        PolicyInputList=[
            document({"Action": "*", "Resource": "arn:aws:s3:::${aws:username}", "Condition": OWN})
        ]
    )["ContextKeyNames"]
    assert names == ["aws:RequestTag/managed", "aws:username"]


def test_many_simulated_actions_come_in_pages(box: SandboxBox) -> None:
    user(box, "bob", {"Action": "ec2:Describe*"})
    actions = [f"ec2:Describe{each}" for each in ("Vpcs", "Images", "Tags")] + ["ec2:RunInstances"]
    pages = box.client("iam").get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=BOB, ActionNames=actions, PaginationConfig={"PageSize": 3}
    )  # fmt: skip
    told = [each for page in pages for each in page["EvaluationResults"]]
    assert [each["EvalActionName"] for each in told] == actions
    assert [each["EvalDecision"] for each in told] == ["allowed"] * 3 + ["implicitDeny"]
