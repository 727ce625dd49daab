"""The permissions that a plan takes: which actions, on what, with what in the call, and what for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from runctl.aws.names import MANAGED_TAG, OWNER_KEY

if TYPE_CHECKING:
    from runctl.aws.names import Names

_RUN_SCENARIO = (
    "EC2-VPC-EBS-Subnet"  # the set of resources that SimulatePrincipalPolicy expects of RunInstances
)
SESSION, COMMAND = "AWS-StartNonInteractiveCommand", "AWS-RunShellScript"


@dataclass(frozen=True)
class Use:
    """What a plan does with an account.

    ``regions`` are those in which machines may be bought, none for a plan that buys nothing; ``sessions``: it talks to
    machines through Systems Manager. ``user`` is the name of the IAM user who does it: theirs are the sessions that
    begin with it. Nobody can tell the sessions of a role beforehand.
    """

    regions: tuple[str, ...] = ()
    spot: bool = False
    sessions: bool = True
    user: str = ""


class Need(NamedTuple):
    """Actions that are needed together: on which resources, with what in the call, and what for.

    Needs with a ``way`` are alternatives: one way whose needs are all met is enough, and the first one is the best.
    """

    actions: tuple[str, ...]
    what_for: str
    resources: tuple[str, ...] = ("*",)
    carries: tuple[tuple[str, str], ...] = ()  # condition keys
    scenario: str = ""
    way: str = ""


def needs(names: Names, use: Use) -> tuple[Need, ...]:
    """Every permission that ``use`` takes, in the order it will be asked for. Pure."""
    owned = ((OWNER_KEY, names.account),)
    found = [
        Need(("s3:ListBucket",), "look into the bucket", (names.bucket_arn,), owned),
        Need(
            ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
            "send code, keep the run",
            tuple(names.objects(f"{below}/any") for below in ("blobs", "runs")),
            owned,
        ),
    ]
    if use.regions:
        found += _buying(names, use)
    if use.sessions:
        found += _talking(names, use)
    return tuple(found)


def _buying(names: Names, use: Use) -> list[Need]:
    finding = (
        "ec2:DescribeImages",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeInstances",
        "pricing:GetProducts",
        *(("ec2:DescribeSpotPriceHistory",) if use.spot else ()),
    )
    images = tuple(f"arn:{names.partition}:ssm:{place}::parameter/aws/service/any" for place in use.regions)
    passed = (("iam:PassedToService", f"ec2.{names.domain}"),)
    return [
        Need(finding, "find a machine and its price"),
        Need(("ssm:GetParameters",), "find the image", images),
        *(need for place in use.regions for need in _buying_in(names, place, spot=use.spot)),
        Need(("iam:PassRole",), "give the machine its role", (names.role_arn,), passed),
    ]


def _buying_in(names: Names, place: str, *, spot: bool) -> list[Need]:
    """What one region is asked for."""
    there = f"arn:{names.partition}:ec2:{place}:{names.account}:"
    made = tuple(f"{there}{kind}/any" for kind in ("instance", "volume", "network-interface"))
    taken = (
        f"{there}subnet/any",
        f"{there}security-group/any",
        f"arn:{names.partition}:ec2:{place}::image/any",
    )
    tagged = (f"aws:RequestTag/{MANAGED_TAG}", "true")
    imds = ("ec2:MetadataHttpTokens", "required")
    at_purchase = ("ec2:CreateAction", "RunInstances")
    mine = (f"aws:ResourceTag/{MANAGED_TAG}", "true")
    buy = ("ec2:RunInstances",)
    found = [
        Need(buy, "buy a machine", (*made, *taken), (tagged, imds), _RUN_SCENARIO),
        Need(("ec2:CreateTags",), "tag the machine as runctl's", made, (tagged, at_purchase)),
        Need(("ec2:TerminateInstances",), "end the machine", made[:1], (mine,)),
    ]
    if spot:
        request = (f"{there}spot-instances-request/any",)
        found.append(Need(buy, "buy one on the spot market", request, (tagged, imds)))
    return found


def _talking(names: Names, use: Use) -> list[Need]:
    """By sessions, else by commands: seconds slower, and all that some policies allow."""
    found = [Need(("ssm:DescribeInstanceInformation",), "see whether the machine can be reached")]
    for place in use.regions or (names.region,):
        found += _sessions(names, use, place)
        found += _commands(names, place)
    return found


def _sessions(names: Names, use: Use, place: str) -> list[Need]:
    instance = (f"arn:{names.partition}:ec2:{place}:{names.account}:instance/any",)
    document = (f"arn:{names.partition}:ssm:{place}::document/{SESSION}",)
    start, talk = ("ssm:StartSession",), "talk to the machine"
    found = [
        Need(start, talk, instance, _of_ours(), way="sessions"),
        Need(start, talk, document, way="sessions"),
    ]
    if use.user:
        session = (f"arn:{names.partition}:ssm:{place}:{names.account}:session/{use.user}-any",)
        ends = ("ssm:TerminateSession", "ssm:ResumeSession")
        found.append(Need(ends, "end a session", session, way="sessions"))
    return found


def _commands(names: Names, place: str) -> list[Need]:
    instance = (f"arn:{names.partition}:ec2:{place}:{names.account}:instance/any",)
    document = (f"arn:{names.partition}:ssm:{place}::document/{COMMAND}",)
    send, talk = ("ssm:SendCommand",), "send the machine a command"
    follow = ("ssm:ListCommandInvocations", "ssm:GetCommandInvocation", "ssm:CancelCommand")
    return [
        Need(send, talk, instance, _of_ours(), way="commands"),
        Need(send, talk, document, way="commands"),
        Need(follow, "follow a command", way="commands"),
    ]


def _of_ours() -> tuple[tuple[str, str], ...]:
    """What a machine of ours is known by, as EC2 and as Systems Manager call it."""
    return ((f"aws:ResourceTag/{MANAGED_TAG}", "true"), (f"ssm:resourceTag/{MANAGED_TAG}", "true"))
