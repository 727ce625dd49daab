"""The boto3 session and its clients: the standard credential chain, made once, with timeouts short enough to be stopped.

Profiles, SSO, roles, regions and ``AWS_ENDPOINT_URL[_SERVICE]`` are boto3's own business and work as in any AWS tool;
the settings ``aws.profile`` and ``aws.region`` come before them.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_SECONDS = 5
READ_SECONDS = 20
CONNECTIONS = 64  # as many as calls run side by side: parts of transfers, regions, zones


@dataclass(frozen=True)
class Identity:
    """Who calls: the account's number, and the caller as ``arn``."""

    account: str
    arn: str

    @property
    def name(self) -> str:
        """The last part of the ARN: a user's name, or ``role/session``."""
        return self.arn.partition("/")[2] or self.arn.rpartition(":")[2]

    @property
    def user(self) -> str:
        """The name of the IAM user; empty for a role, the root user and what else there is."""
        kind, _, path = self.arn.rpartition(":")[2].partition("/")
        return path.rpartition("/")[2] if kind == "user" else ""

    @property
    def root(self) -> bool:
        """Whether this is the account's root user, who may do everything and cannot be limited."""
        return self.arn.endswith(":root")


class AwsSession:
    """Clients of one account, made at their first use. May be used from several threads.

    Args:
        setting: looks up a setting; ``aws.profile`` and ``aws.region`` are read, empty ones are left to the environment.
    """

    def __init__(self, setting: Callable[[str], Any]) -> None:
        self.profile = str(setting("aws.profile") or "")
        # AWS_REGION is the variable of every other AWS tool; boto3 alone reads AWS_DEFAULT_REGION only
        self._region = str(setting("aws.region") or os.environ.get("AWS_REGION", ""))
        self._lock = threading.RLock()
        self._clients: dict[tuple[str, str], Any] = {}
        self.identity: Identity | None = None  # once somebody has asked

    @cached_property
    def _boto(self) -> Any:
        """The boto3 session. Raises ``aws-extra``, ``aws-profile-unknown``."""
        try:
            import boto3  # noqa: PLC0415 - takes longer than everything else a command does
            from botocore.exceptions import ProfileNotFound  # noqa: PLC0415
        except ImportError as error:
            raise known("aws-extra", missing=error.name or "boto3") from error
        try:
            return boto3.Session(profile_name=self.profile or None, region_name=self._region or None)
        except ProfileNotFound as error:
            import botocore.session  # noqa: PLC0415

            there = ", ".join(botocore.session.Session().available_profiles) or "none"
            raise known("aws-profile-unknown", profile=error.kwargs["profile"], profiles=there) from error

    @property
    def region(self) -> str:
        """The region calls go to when none is named. Raises ``aws-no-region`` when nobody has said one."""
        with self._lock:
            region = self._region or self._boto.region_name
        if not region:
            raise known("aws-no-region")
        return str(region)

    @property
    def given_region(self) -> str:
        """The region that a setting or ``AWS_REGION`` names, without asking boto3; empty when none does."""
        return self._region

    def credentials(self) -> Any:
        """What boto3 signs with now: ``access_key``, ``secret_key``, ``token``; None when it finds none."""
        with self._lock:
            found = self._boto.get_credentials()
        return None if found is None else found.get_frozen_credentials()

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region that boto3 has heard of, in all partitions; AWS may have newer ones."""
        with self._lock:
            boto = self._boto
            return tuple(
                name
                for partition in boto.get_available_partitions()
                for name in boto.get_available_regions("ec2", partition_name=partition)
            )

    @property
    def source(self) -> str:
        """Where the credentials are from, in botocore's words (``env``, ``sso``); empty where there are none."""
        with self._lock:
            found = self._boto.get_credentials()
        return "" if found is None else str(found.method)

    def client(self, service: str, region: str | None = None) -> Any:
        """The client of ``service``, the same one every time. It does not retry: ``AwsCalls`` does.

        Raises:
            RunctlError: ``aws-extra``, ``aws-no-region``, ``aws-profile-unknown``.
            botocore.exceptions.BotoCoreError: an impossible region, a broken file; ``AwsCalls`` translates it.
        """
        with self._lock:
            place = region or self.region
            if (service, place) not in self._clients:
                from botocore.config import Config  # noqa: PLC0415 - heavy

                config = Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"total_max_attempts": 1},
                    max_pool_connections=CONNECTIONS,
                    user_agent_extra="runctl",
                    # else botocore signs addresses of objects as new buckets do not take them (signature version 2)
                    signature_version="s3v4" if service == "s3" else None,
                )
                self._clients[service, place] = self._boto.client(service, region_name=place, config=config)
            return self._clients[service, place]

    @property
    def whose(self) -> str:
        """What tells the answers of one account and endpoint from another's, without asking anybody. Holds no secret."""
        with self._lock:
            # not the credentials themselves: to know them may take a call, or a person with a token
            key = os.environ.get("AWS_ACCESS_KEY_ID", "")
            return f"{self._boto.profile_name}/{key}/{self.client('ec2').meta.endpoint_url}/{self.region}"
