"""The least rights that work, as data: of whoever runs ``runctl``, of the machines it buys, of the bucket. Pure.

Every statement says in its Sid what it is for. The actions are those of the service authorization reference; which
call needs which is held together by ``aws.permissions`` and its tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.aws.names import MANAGED_TAG, OWNER_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runctl.aws.names import Names

VERSION = "2012-10-17"  # of the policy language
TLS_SID = "RunctlTlsOnly"
SPOT_SERVICE = "spot.amazonaws.com"

# Documents of Systems Manager that sessions and commands are opened with.
SESSION_DOCUMENTS = (
    "AWS-StartInteractiveCommand",
    "AWS-StartNonInteractiveCommand",
    "AWS-StartPortForwardingSession",
    "AWS-StartPortForwardingSessionToRemoteHost",
    "AWS-StartSSHSession",
)
SHELL_DOCUMENT = "SSM-SessionManagerRunShell"  # of the account itself
COMMAND_DOCUMENT = "AWS-RunShellScript"

# What the agent of Systems Manager on a machine calls, and nothing of what AmazonSSMManagedInstanceCore adds to it.
_AGENT_ACTIONS = (
    "ssm:UpdateInstanceInformation",
    "ssm:ListAssociations",
    "ssm:ListInstanceAssociations",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
)
_READ_ACTIONS = (
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeImages",
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeSnapshots",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "pricing:GetProducts",
    "servicequotas:GetServiceQuota",
    "ssm:DescribeInstanceInformation",
    "ssm:GetCommandInvocation",
    "ssm:ListCommandInvocations",
    "sts:DecodeAuthorizationMessage",
)
_MAKE_ACTIONS = ("ec2:RunInstances", "ec2:CreateImage", "ec2:CreateVolume", "ec2:CreateSnapshot")
_OWN_ACTIONS = (
    "ec2:StartInstances",
    "ec2:StopInstances",
    "ec2:TerminateInstances",
    "ec2:AttachVolume",
    "ec2:DetachVolume",
    "ec2:DeleteVolume",
    "ec2:CreateImage",
    "ec2:CreateSnapshot",
    "ec2:CreateVolume",
    "ec2:DeregisterImage",
    "ec2:DeleteSnapshot",
    "ec2:ModifyImageAttribute",
    "ec2:ModifySnapshotAttribute",
)
_BUCKET_READS = (
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketTagging",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
)


_OBJECT_ACTIONS = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)


_PUSH_ACTIONS = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:CreateRepository",
    "ecr:DescribeRepositories",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)


def client_policy(names: Names) -> dict[str, Any]:
    """What whoever runs ``runctl`` needs: buys and ends machines with runctl's tag only, passes one role only."""
    return _policy(
        _allow("Look", _READ_ACTIONS, ["*"]),
        _allow("PublicImages", ["ssm:GetParameters"], [_ssm(names, "parameter/aws/service/*", account="")]),
        *_buying(names),
        *_commanding(names),
        *_own_sessions(names),
        _allow("Bucket", _BUCKET_READS, [names.bucket_arn], _own_bucket(names)),
        _allow("Objects", _OBJECT_ACTIONS, [names.objects("*")], _own_bucket(names)),
        _allow(
            "LookAtRole",
            ["iam:GetRole", "iam:GetRolePolicy", "iam:GetInstanceProfile"],
            [names.role_arn, names.profile_arn],
        ),
        _allow(
            "AskWhatIsAllowed",
            ["iam:SimulatePrincipalPolicy"],
            [f"arn:{names.partition}:iam::{names.account}:{kind}/*" for kind in ("user", "role")],
        ),
    )


def push_policy(names: Names) -> dict[str, Any]:
    """What ``runctl docker push`` to ECR takes besides, for those who do: repositories of this account, nothing removed."""
    return _policy(
        _allow("RegistryLogin", ["ecr:GetAuthorizationToken"], ["*"]),
        _allow("PushImages", _PUSH_ACTIONS, [names.repositories]),
    )


def _mine() -> dict[str, Any]:
    return _when("StringEquals", {f"aws:ResourceTag/{MANAGED_TAG}": "true"})


def _own_bucket(names: Names) -> dict[str, Any]:
    """A bucket's ARN has no account in it: one that somebody else made under this name gets nothing."""
    return _when("StringEquals", {OWNER_KEY: names.account})


def _buying(names: Names) -> list[dict[str, Any]]:
    """Machines, from their purchase to their end."""
    public = [f"arn:{names.partition}:ec2:*::{what}/*" for what in ("image", "snapshot")]
    there = [names.ec2(f"{what}/*") for what in ("image", "snapshot", "subnet", "security-group")]
    made = ("instance", "volume", "network-interface", "spot-instances-request")
    instances = [names.ec2("instance/*")]
    tagged = _when("StringEquals", {f"aws:RequestTag/{MANAGED_TAG}": "true"})
    no_token = _when("StringNotEquals", {"ec2:MetadataHttpTokens": "required"})
    own_images = [
        f"arn:{names.partition}:ec2:*::{what}/*" for what in ("image", "snapshot")
    ]  # no account in them
    at_purchase = _when(
        "StringEquals",
        {"ec2:CreateAction": ["RunInstances", "CreateImage", "CreateVolume", "CreateSnapshot"]},
    )
    to_ec2 = _when("StringEquals", {"iam:PassedToService": _ec2_service(names)})
    spot_role = f"arn:{names.partition}:iam::{names.account}:role/aws-service-role/{SPOT_SERVICE}/*"
    for_spot = _when("StringEquals", {"iam:AWSServiceName": SPOT_SERVICE})
    return [
        _allow("BuyFrom", ["ec2:RunInstances"], [*public, *there]),
        _allow(
            "MakeTagged", _MAKE_ACTIONS, [*(names.ec2(f"{what}/*") for what in made), *own_images], tagged
        ),
        _deny("ImdsV2Only", ["ec2:RunInstances"], instances, no_token),
        _allow("TagWhatIsBought", ["ec2:CreateTags"], [names.ec2("*/*"), *own_images], at_purchase),
        _allow("ManageOwn", _OWN_ACTIONS, [*instances, names.ec2("volume/*"), *own_images], _mine()),
        _allow("PassOneRole", ["iam:PassRole"], [names.role_arn], to_ec2),
        _allow("FirstSpotMachine", ["iam:CreateServiceLinkedRole"], [spot_role], for_spot),
    ]


def _commanding(names: Names) -> list[dict[str, Any]]:
    """Commands and sessions, with AWS's own documents, on machines with the tag."""
    instances = [names.ec2("instance/*")]
    documents = [_ssm(names, f"document/{name}", account="") for name in SESSION_DOCUMENTS]
    command = [_ssm(names, f"document/{COMMAND_DOCUMENT}", account="")]
    return [
        _allow("CommandWith", ["ssm:SendCommand"], command),
        _allow("CommandOwnMachines", ["ssm:SendCommand"], instances, _mine()),
        _allow("CancelCommands", ["ssm:CancelCommand"], ["*"]),
        _allow("SessionWith", ["ssm:StartSession"], [*documents, _ssm(names, f"document/{SHELL_DOCUMENT}")]),
        _allow("SessionOnOwnMachines", ["ssm:StartSession"], instances, _mine()),
    ]


def _own_sessions(names: Names) -> list[dict[str, Any]]:
    """One's own sessions: those of users carry the name, those of roles a tag that Systems Manager sets."""
    actions = ["ssm:ResumeSession", "ssm:TerminateSession"]
    return [
        _allow("OwnSessionsOfUser", actions, [_ssm(names, "session/${aws:username}-*")]),
        _allow(
            "OwnSessionsOfRole",
            actions,
            [_ssm(names, "session/*")],
            _when("StringLike", {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}),
        ),
    ]


def instance_policy(names: Names) -> dict[str, Any]:
    """What a machine needs: Systems Manager, code, images, writing below ``runs/`` and ``envs/``. No delete, no EC2.

    Environments are what one machine gives to others: who can write them decides what later machines run, as who can
    write code does. What the training script does with the machine's credentials is bounded by this too. ``s3:ListBucket`` has no
    condition on the prefix: without it, S3 answers 403 in place of 404 for what is not there yet.
    """
    readable = ("agent/*", "blobs/*", "packs/*", "trees/*", "envs/*", "runs/*")
    return _policy(
        _allow("SystemsManager", _AGENT_ACTIONS, ["*"]),
        _allow("Read", ["s3:GetObject"], [names.objects(below) for below in readable], _own_bucket(names)),
        _allow("List", ["s3:ListBucket"], [names.bucket_arn], _own_bucket(names)),
        _allow(
            "WriteRuns",
            ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            [names.objects("runs/*"), names.objects("envs/*")],
            _own_bucket(names),
        ),
        _allow("RegistryLogin", ["ecr:GetAuthorizationToken"], ["*"]),
        _allow("PullImages", ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], [names.repositories]),
    )


def trust_policy(names: Names) -> dict[str, Any]:
    """Who may use the machines' role: EC2."""
    return _policy(
        {
            "Sid": "Machines",
            "Effect": "Allow",
            "Principal": {"Service": _ec2_service(names)},
            "Action": "sts:AssumeRole",
        }
    )


def bucket_policy(names: Names, present: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The bucket's policy: nothing without TLS. Other statements of a ``present`` one stay as they are."""
    others = [each for each in _statements(present) if each.get("Sid") != TLS_SID]
    tls = _deny(
        TLS_SID,
        ["s3:*"],
        [names.bucket_arn, f"{names.bucket_arn}/*"],
        _when("Bool", {"aws:SecureTransport": "false"}),
    )
    return {**(present or {"Version": VERSION}), "Statement": [*others, {**tls, "Principal": "*"}]}


def _statements(policy: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    found = (policy or {}).get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Whether two policies say the same: the order of statements, and of lists in them, says nothing."""
    return one is not None and _normal(one) == _normal(other)


def _normal(policy: Mapping[str, Any]) -> list[str]:
    return sorted(repr(_sorted(each)) for each in _statements(policy))


def _sorted(value: Any) -> Any:
    """A value whose lists are sorted; a list of one is its only element, as IAM itself takes it."""
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in sorted(value.items())}
    if isinstance(value, list):
        items = sorted((_sorted(each) for each in value), key=repr)
        return items[0] if len(items) == 1 else items
    return value


def _ssm(names: Names, what: str, *, account: str | None = None) -> str:
    return f"arn:{names.partition}:ssm:*:{names.account if account is None else account}:{what}"


def _ec2_service(names: Names) -> str:
    return f"ec2.{names.domain}"


def _policy(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": VERSION, "Statement": [dict(each) for each in statements]}


def _allow(
    sid: str, actions: Iterable[str], resources: Iterable[str], when: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return _statement("Allow", sid, actions, resources, when)


def _deny(
    sid: str, actions: Iterable[str], resources: Iterable[str], when: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return _statement("Deny", sid, actions, resources, when)


def _statement(
    effect: str, sid: str, actions: Iterable[str], resources: Iterable[str], when: Mapping[str, Any] | None
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "Sid": sid,
        "Effect": effect,
        "Action": list(actions),
        "Resource": list(resources),
    }
    return made if when is None else {**made, "Condition": dict(when)}


def _when(operator: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {operator: dict(values)}
