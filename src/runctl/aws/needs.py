"""The permissions that a plan takes: which actions, on what, with what in the call, and what for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from runctl.aws.names import MANAGED_TAG

if TYPE_CHECKING:
    from runctl.aws.names import Names

_RUN_SCENARIO = (
    "EC2-VPC-EBS-Subnet"  # the set of resources that SimulatePrincipalPolicy expects of RunInstances
)
SESSIONS = "AWS-StartNonInteractiveCommand"


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
    """Actions that are needed together: on which resources, with what in the call, and what for."""

    actions: tuple[str, ...]
    what_for: str
    resources: tuple[str, ...] = ("*",)
    carries: tuple[tuple[str, str], ...] = ()  # condition keys
    scenario: str = ""


def needs(names: Names, use: Use) -> tuple[Need, ...]:
    """Every permission that ``use`` takes, in the order it will be asked for. Pure."""
    found = [
        Need(("s3:ListBucket",), "look into the bucket", (names.bucket_arn,)),
        Need(
            ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
            "send code, keep the run",
            tuple(names.objects(f"{below}/any") for below in ("blobs", "runs")),
        ),
    ]
    if use.regions:
        found += _buying(names, use)
    if use.sessions:
        found += _talking(names, use)
    return tuple(found)


def _buying(names: Names, use: Use) -> list[Need]:
    tagged = (f"aws:RequestTag/{MANAGED_TAG}", "true")
    mine = (f"aws:ResourceTag/{MANAGED_TAG}", "true")
    imds = ("ec2:MetadataHttpTokens", "required")
    found = [
        Need(
            (
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypeOfferings",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeInstances",
                "pricing:GetProducts",
                *(("ec2:DescribeSpotPriceHistory",) if use.spot else ()),
            ),
            "find a machine and its price",
        ),
        Need(
            ("ssm:GetParameters",),
            "find the image",
            tuple(f"arn:{names.partition}:ssm:{place}::parameter/aws/service/any" for place in use.regions),
        ),
    ]
    for place in use.regions:
        mine_there = f"arn:{names.partition}:ec2:{place}:{names.account}:"
        made = ("instance", "volume", "network-interface")
        found.append(
            Need(
                ("ec2:RunInstances",),
                "buy a machine",
                (
                    *(f"{mine_there}{kind}/any" for kind in (*made, "subnet", "security-group")),
                    f"arn:{names.partition}:ec2:{place}::image/any",
                ),
                (tagged, imds),
                _RUN_SCENARIO,
            )
        )
        if use.spot:
            request = f"{mine_there}spot-instances-request/any"
            found.append(
                Need(("ec2:RunInstances",), "buy one on the spot market", (request,), (tagged, imds))
            )
        found.append(
            Need(
                ("ec2:CreateTags",),
                "tag the machine as runctl's",
                tuple(f"{mine_there}{kind}/any" for kind in made),
                (tagged, ("ec2:CreateAction", "RunInstances")),
            )
        )
        found.append(
            Need(("ec2:TerminateInstances",), "end the machine", (f"{mine_there}instance/any",), (mine,))
        )
    passed = (("iam:PassedToService", f"ec2.{names.domain}"),)
    return [*found, Need(("iam:PassRole",), "give the machine its role", (names.role_arn,), passed)]


def _talking(names: Names, use: Use) -> list[Need]:
    mine = (f"aws:ResourceTag/{MANAGED_TAG}", "true")
    places = use.regions or (names.region,)
    found = [Need(("ssm:DescribeInstanceInformation",), "see whether the machine can be reached")]
    for place in places:
        found.append(
            Need(
                ("ssm:StartSession",),
                "talk to the machine",
                (f"arn:{names.partition}:ec2:{place}:{names.account}:instance/any",),
                (mine, (f"ssm:resourceTag/{MANAGED_TAG}", "true")),
            )
        )
        found.append(
            Need(
                ("ssm:StartSession",),
                "talk to the machine",
                (f"arn:{names.partition}:ssm:{place}::document/{SESSIONS}",),
            )
        )
        if use.user:
            session = f"arn:{names.partition}:ssm:{place}:{names.account}:session/{use.user}-any"
            found.append(Need(("ssm:TerminateSession", "ssm:ResumeSession"), "end a session", (session,)))
    return found
