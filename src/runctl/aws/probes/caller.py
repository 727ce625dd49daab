"""Who calls, from where, with which clock, and how far away AWS is."""

from __future__ import annotations

import difflib
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from runctl.aws.errors import code_of
from runctl.core.catalogue import known
from runctl.core.checks import Check, ok, skipped, warn
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runctl.aws.probes.account import Account
    from runctl.core.cancel import CancelToken

SKEW_WARN = 30.0  # seconds; more than a clock that is kept by NTP is ever off
SKEW_FAIL = (
    240.0  # seconds; signatures are refused from five minutes on ("Signature Version 4", IAM user guide)
)


def credentials(account: Account, cancel: CancelToken) -> Check:
    """Who asks, and where the credentials are from. The root user works, and is warned of."""
    identity = account.calls.identity(cancel)
    source = account.calls.session.source
    facts = {"arn": identity.arn, "account": identity.account, "source": source}
    who = f"{identity.name} in account {identity.account}"
    if identity.root:
        return warn(
            f"the root user of account {identity.account}, who cannot be limited",
            ("make a user or a role for runctl, with this policy:", "  runctl aws setup --print policy"),
            **facts,
        )
    return ok(f"{who}, from {_SOURCES.get(source, source)}" if source else who, **facts)


# botocore's names for where credentials come from, where they are not words already
_SOURCES = {
    "env": "the environment",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "sso": "a login of IAM Identity Center",
    "iam-role": "this machine's role",
    "container-role": "this container's role",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a web identity",
    "custom-process": "a program",
}


def region(account: Account, cancel: CancelToken) -> Check:
    """Whether the region is one that botocore has heard of; a newer one may be right all the same."""
    del cancel  # nothing is asked of anybody
    chosen = account.calls.session.region
    there = account.calls.session.regions
    if chosen in there:
        return ok(chosen)
    near = difflib.get_close_matches(chosen, there, n=1)
    fix = [f"  runctl config set aws.region {near[0]}"] if near else ["  aws account list-regions"]
    return warn(f"{chosen} is no region that boto3 knows", fix)


def clock(account: Account, cancel: CancelToken) -> Check:
    """How far this computer's clock is from AWS's, by the time in an answer, to the second.

    Raises:
        AccessError: ``aws-clock-skew``: signatures are refused.
    """
    now = account.calls.clock.now
    before = now()
    try:
        answer = account.calls.call("sts", "get_caller_identity", cancel=cancel)
    except RunctlError as error:
        answer = getattr(error.__cause__, "response", None) or {}
        if not _date(answer):
            raise
    after = now()
    there = _date(answer)
    if there is None:
        return skipped("the answer carries no time")
    # the header has whole seconds, cut off; what is true lies within one second behind it
    middle = before + (after - before) / 2
    skew = (middle - there - timedelta(seconds=0.5)).total_seconds()
    off = abs(skew)
    words = f"{off:.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    if off >= SKEW_FAIL:
        raise known(
            "aws-clock-skew",
            why=f"it is {words}; AWS refuses signatures from five minutes on",
            skew=f"{skew:.0f}",
        )
    if off >= SKEW_WARN:
        return warn(f"it is {words}", ("  timedatectl set-ntp true",), skew=round(skew, 1))
    return ok("within a second of AWS's" if off < 1.5 else words, skew=round(skew, 1))


def _date(answer: Mapping[str, Any]) -> Any:
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(text) if text else None


def reach(account: Account, cancel: CancelToken, *, service: str, operation: str, **params: Any) -> Check:
    """How quickly a service answers; a refusal is an answer too. Raises ``aws-unreachable`` and the like."""

    def ask() -> None:
        try:
            account.calls.call(service, operation, cancel=cancel, **params)
        except RunctlError as error:
            if not code_of(error) or error.transient:
                raise

    ask()  # the first one also resolves the name and shakes hands
    took = min(_timed(account, ask) for _ in range(2))
    endpoint = account.calls.client(service).meta.endpoint_url
    return ok(f"{1000 * took:.0f} ms", endpoint=endpoint, milliseconds=round(1000 * took))


def _timed(account: Account, work: Callable[[], None]) -> float:
    begun = account.calls.clock.monotonic()
    work()
    return account.calls.clock.monotonic() - begun
