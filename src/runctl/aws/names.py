"""What runctl's things are called in one account: bucket, prefix, role, instance profile, tags. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MANAGED_TAG = "runctl:managed"  # on everything runctl makes; what has it may be changed and removed by runctl
MANAGED = {MANAGED_TAG: "true"}
POLICY = "runctl"  # of the inline policy in the role


@dataclass(frozen=True)
class Names:
    """The names in one account and region, as the settings have them.

    ``role`` is also the name of the instance profile that holds it. ``partition`` is the first part of every ARN:
    ``aws``, ``aws-cn``, ``aws-us-gov``.
    """

    account: str
    region: str
    bucket: str
    prefix: str
    role: str
    partition: str = "aws"

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
        return f"arn:{self.partition}:iam::{self.account}:instance-profile/{self.role}"

    def objects(self, below: str) -> str:
        """The ARN of the objects whose keys, below the prefix, match ``below``."""
        return f"{self.bucket_arn}/{self.key(below)}"

    def key(self, below: str) -> str:
        """The whole key of ``below``."""
        return f"{self.prefix}/{below}" if self.prefix else below

    def ec2(self, what: str) -> str:
        """The ARN of things of EC2 in this account, in any region."""
        return f"arn:{self.partition}:ec2:*:{self.account}:{what}"


def names(
    setting: Callable[[str], Any],
    *,
    account: str,
    region: str,
    partition: str = "aws",
    bucket: str = "",
    role: str = "",
) -> Names:
    """The names that the settings (``aws.bucket``, ``aws.prefix``, ``aws.instance_profile``) give.

    ``bucket`` and ``role``, where given, come before the settings.
    """
    return Names(
        account=account,
        region=region,
        bucket=bucket or str(setting("aws.bucket") or "") or f"runctl-{account}-{region}",
        prefix=str(setting("aws.prefix") or "").strip("/"),
        role=role or str(setting("aws.instance_profile")),
        partition=partition,
    )
