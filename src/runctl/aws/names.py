"""What runctl's things are called in one account: bucket, prefix, role, instance profile, tags. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MANAGED_TAG = "runctl:managed"  # on everything runctl makes; what has it may be changed and removed by runctl
OWNER_KEY = "aws:ResourceAccount"  # the condition key for the account that a resource belongs to
MANAGED = {MANAGED_TAG: "true"}
POLICY = "runctl"  # of the inline policy in the role


def default_bucket(account: str, region: str) -> str:
    """What the bucket of an account and region is called when nobody has named one."""
    return f"runctl-{account}-{region}"


@dataclass(frozen=True)
class Names:
    """The names in one account and region, as the settings have them.

    ``profile`` is the instance profile of the machines, ``role`` the role in it: called the same unless somebody made
    them otherwise. ``partition`` is the first part of every ARN: ``aws``, ``aws-cn``, ``aws-us-gov``.
    """

    account: str
    region: str
    bucket: str
    prefix: str
    profile: str
    role: str
    partition: str = "aws"
    domain: str = "amazonaws.com"  # what the names of services end with
    data: tuple[str, ...] = ()  # addresses that machines are to read besides what they read already

    @property
    def default_bucket(self) -> str:
        """What the bucket is called when nobody has named one."""
        return default_bucket(self.account, self.region)

    @property
    def bucket_arn(self) -> str:
        """The bucket's ARN."""
        return f"arn:{self.partition}:s3:::{self.bucket}"

    @property
    def role_arn(self) -> str:
        """The role's ARN."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.role}"

    @property
    def profile_arn(self) -> str:
        """The instance profile's ARN."""
        return f"arn:{self.partition}:iam::{self.account}:instance-profile/{self.profile}"

    def objects(self, below: str) -> str:
        """The ARN of the objects whose keys, below the prefix, match ``below``."""
        return f"{self.bucket_arn}/{self.key(below)}"

    def key(self, below: str) -> str:
        """The whole key of ``below``."""
        return f"{self.prefix}/{below}" if self.prefix else below

    def ec2(self, what: str) -> str:
        """The ARN of things of EC2 in this account, in any region."""
        return f"arn:{self.partition}:ec2:*:{self.account}:{what}"

    @property
    def repositories(self) -> str:
        """The ARN of every repository for images in this account, in any region."""
        return f"arn:{self.partition}:ecr:*:{self.account}:repository/*"


def names(
    setting: Callable[[str], Any],
    *,
    account: str,
    region: str,
    partition: str = "aws",
    bucket: str = "",
    role: str = "",
    data: tuple[str, ...] = (),
) -> Names:
    """The names that the settings (``aws.bucket``, ``aws.prefix``, ``aws.instance_profile``) give.

    ``bucket`` and ``role``, where given, come before the settings.
    """
    profile = role or str(setting("aws.instance_profile"))
    return Names(
        account=account,
        region=region,
        bucket=bucket or str(setting("aws.bucket") or "") or default_bucket(account, region),
        prefix=str(setting("aws.prefix") or "").strip("/"),
        profile=profile,
        role=profile,
        partition=partition,
        domain="amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com",
        data=data,
    )
