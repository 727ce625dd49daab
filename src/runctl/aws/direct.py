"""S3 without boto3, for whoever has many requests or little time: credentials, region and endpoint as boto3 finds them.

To load boto3 and make a client takes longer than to send a project. Where all that it would find stands in the
environment or in two plain lines of the credentials file, it is not loaded. Roles, SSO, processes that print credentials
and endpoints of the configuration file are left to it; it then says what to sign with and where to send.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from runctl.aws import errors
from runctl.core.catalogue import known
from runctl.core.events import CommandRun, Notice
from runctl.core.retry import Failure
from runctl.s3.failure import KnownFailure
from runctl.s3.objects import Objects
from runctl.s3.patience import Passing, Patience
from runctl.s3.refusals import PASSING
from runctl.s3.signing import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runctl.aws.calls import AwsCalls
    from runctl.aws.session import AwsSession
    from runctl.core.cancel import CancelToken
    from runctl.core.errors import RunctlError
    from runctl.s3.refusals import Refusal

Result = TypeVar("Result")

# settings of a profile that change neither credentials nor where S3 is asked
_PLAIN: Final = {
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "cli_pager", "max_attempts", "output", "region",
    "retry_mode",
}  # fmt: skip
_ELSEWHERE: Final = (
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


class Found(NamedTuple):
    """What stands in plain words: keys (None: boto3 has to say), region (empty: none), endpoint (empty: Amazon's own)."""

    keys: Keys | None
    region: str
    endpoint: str


class Refused(KnownFailure):
    """S3's refusal, in the shape that ``errors`` understands."""

    def __init__(self, refusal: Refusal, **facts: Any) -> None:
        super().__init__("store-refused", **facts)
        self.response = response_of(refusal)


class RefusedForNow(Passing):
    """The same, when another attempt may help."""

    def __init__(self, refusal: Refusal, **facts: Any) -> None:
        super().__init__("store-unreachable", **facts)
        self.response = response_of(refusal)


def response_of(refusal: Refusal) -> dict[str, Any]:
    """A refusal as botocore would give it."""
    return {
        "Error": {"Code": refusal.code or str(refusal.status), "Message": refusal.message},
        "ResponseMetadata": {"HTTPStatusCode": refusal.status},
    }


def refused(refusal: Refusal, **facts: Any) -> KnownFailure:
    """The refusal as what is raised; ``store-missing`` where there is no such object."""
    if refusal.status == 404 and refusal.code in ("NoSuchKey", "NoSuchUpload"):
        return KnownFailure("store-missing", url=facts["url"], key=facts["key"])
    facts["detail"] = refusal.words
    failure = Refused(refusal, **facts)
    if errors.failure_of(failure) is not Failure.PERMANENT or refusal.code in PASSING - {
        "InvalidAccessKeyId"
    }:
        return RefusedForNow(refusal, **facts)
    return failure


def s3_at(calls: AwsCalls, bucket: str, prefix: str, *, env: Mapping[str, str] = os.environ) -> Objects:
    """S3 with the credentials of ``calls``; nothing is asked of it yet.

    Raises:
        RunctlError: ``aws-no-credentials``, ``aws-no-region``, ``aws-profile-unknown``, ``aws-extra``.
    """
    found = plain(calls.session.profile, env)
    region = calls.session.given_region or (found.region if found is not None else "")
    if found is None or found.keys is None or not region:
        return _by_boto(calls, bucket, prefix, env)
    where = {name: value for name, value in env.items() if not name.startswith("AWS_ENDPOINT_URL")}
    if found.endpoint:
        where["AWS_ENDPOINT_URL"] = found.endpoint
    return Objects(bucket, prefix, region, keyring=_Fixed(found.keys), env=where, refused=refused)


def plain(profile: str, env: Mapping[str, str]) -> Found | None:
    """What stands in the environment and in plain lines of the user's files; None when boto3 has to look. Reads only."""
    if any(env.get(name) for name in _ELSEWHERE):
        return None
    name = profile or env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE") or ""
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
    access, secret = env.get("AWS_ACCESS_KEY_ID", ""), env.get("AWS_SECRET_ACCESS_KEY", "")
    told = _profile(name or "default", env)
    if told is None or not set(told) <= _PLAIN:
        return None
    if (
        not profile and access and secret
    ):  # as botocore: AWS_PROFILE does not stand above keys in the environment
        keys: Keys | None = Keys(access, secret, env.get("AWS_SESSION_TOKEN", ""))
    elif told.get("aws_access_key_id") and told.get("aws_secret_access_key"):
        keys = Keys(
            told["aws_access_key_id"], told["aws_secret_access_key"], told.get("aws_session_token", "")
        )
    else:
        keys = None
    return Found(keys, region or told.get("region", ""), endpoint)


def _profile(name: str, env: Mapping[str, str]) -> dict[str, str] | None:
    """The settings of a profile in both files, the credentials file's first; None when one cannot be read plainly."""
    home = Path(env.get("HOME", "") or Path.home()) / ".aws"
    found: dict[str, str] = {}
    for file, section in (
        (env.get("AWS_CONFIG_FILE") or home / "config", name if name == "default" else f"profile {name}"),
        (env.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", name),
    ):
        parser = configparser.RawConfigParser()
        try:
            with Path(file).expanduser().open(encoding="utf-8") as stream:
                parser.read_file(stream)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, configparser.Error):
            return None
        if parser.has_section(section):
            found.update(parser.items(section))
    return found


def _by_boto(calls: AwsCalls, bucket: str, prefix: str, env: Mapping[str, str]) -> Objects:
    client = calls.client("s3")
    region = calls.session.region
    where = {name: value for name, value in env.items() if not name.startswith("AWS_ENDPOINT_URL")}
    if client.meta.endpoint_url not in (f"https://s3.{region}.amazonaws.com", "https://s3.amazonaws.com"):
        where["AWS_ENDPOINT_URL"] = client.meta.endpoint_url
    return Objects(bucket, prefix, region, keyring=_OfBoto(calls.session), env=where, refused=refused)


class Persistence(Patience):
    """Patience as ``AwsCalls`` has it: the same policy, every attempt told, every retry told; a set token ends it.

    Args:
        calls: whose policy, clock and listener.
        action: what is asked for, as ``s3:GetObject``.
        cancel: who may end it.
    """

    def __init__(self, calls: AwsCalls, action: str, cancel: CancelToken) -> None:
        super().__init__(stopped=lambda: cancel.cancelled)
        self._calls = calls
        self._action = action
        self._cancel = cancel

    def persist(self, action: Callable[[], Result], progress: Callable[[], int] = lambda: 0) -> Result:
        """See ``Patience``; what goes forward deserves fresh patience."""
        clock, reached = self._calls.clock, progress()
        begun, failures = clock.monotonic(), dict.fromkeys(Failure, 0)
        while True:
            self.check()
            started = clock.monotonic()
            try:
                result = action()
            except Passing as error:
                self._tell(clock.monotonic() - started, 1)
                if progress() != reached:
                    reached, begun, failures = progress(), clock.monotonic(), dict.fromkeys(Failure, 0)
                failure = errors.failure_of(error)
                if failure is Failure.PERMANENT:
                    failure = Failure.TRANSIENT  # no word of S3's: the connection broke
                failures[failure] += 1
                delay = self._calls.policy.delay(
                    failure,
                    failures=failures[failure],
                    elapsed=clock.monotonic() - begun,
                    draw=self._calls.random.random(),
                )
                if delay is None:
                    raise
                tried = sum(failures.values())
                cause = errors.code_of(error) or str(error.facts.get("detail", error))
                self._calls.emit(
                    Notice(
                        "detail",
                        f"{self._action}: {cause}; attempt {tried} failed, the next one in {delay:.1f} s",
                    )
                )
                clock.sleep(delay, self._cancel)
            except BaseException:
                self._tell(clock.monotonic() - started, 1)
                raise
            else:
                self._tell(clock.monotonic() - started, 0)
                return result

    def _tell(self, seconds: float, code: int) -> None:
        self._calls.emit(CommandRun(("aws", self._action), "here", seconds, code))


def worded(error: KnownFailure, calls: AwsCalls, action: str) -> RunctlError:
    """A failure of S3 as an error of ours."""
    where = {"action": action, "region": calls.session.given_region, "profile": calls.session.profile}
    if hasattr(error, "response"):
        told = errors.translate(error, **where)
    elif isinstance(error, Passing):
        told = errors.translate(error.__cause__, **where) if error.__cause__ else None
        if told is None or told.code == "aws-unreachable":
            told = known("aws-unreachable", **where, detail=f"{error.facts['host']}: {error.facts['detail']}")
    else:
        told = known(error.code, **error.facts)
    assert told is not None
    return told


class _Fixed:
    """Keys that are what they are."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def keys(self) -> Keys:
        """Always the same."""
        return self._keys

    def refused(self, keys: Keys) -> None:
        """There are no others."""

    def close(self) -> None:
        """Nothing is open."""


class _OfBoto:
    """Keys that boto3 finds, and renews where they end."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def keys(self) -> Keys:
        """Raises ``aws-no-credentials``."""
        found = self._session.credentials()
        if found is None:
            profile = self._session.profile or "default"
            raise known("aws-no-credentials", action="s3", profile=profile)
        return Keys(found.access_key, found.secret_key, found.token or "")

    def refused(self, keys: Keys) -> None:
        """boto3 renews by itself."""

    def close(self) -> None:
        """Nothing is open."""
