"""What is looked at in an account: everything for ``runctl doctor``, the part that matters for a plan that buys."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from runctl.aws.needs import Use, needs
from runctl.aws.permissions import permissions
from runctl.aws.probes import caller, machine, prepared, readable
from runctl.core.checks import Probe, ok

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runctl.aws.probes.account import Account
    from runctl.core.cancel import CancelToken
    from runctl.core.checks import Check
    from runctl.core.model import Offer

    Find = Callable[[CancelToken], Sequence[Offer]]

WHERE = "aws"
KEYS = "credentials"


def probes_for_account(account: Account, find: Find | None = None) -> tuple[Probe, ...]:
    """Everything there is to look at. Only the check of conditional writes writes: one object, removed at once.

    Args:
        account: whose.
        find: what a machine that is wanted would be bought from; its quota and its permissions are then looked at.
            None: nobody has said what they want, and the quotas of the usual families are told.
    """
    found: list[Offer] = []
    return (
        _probe("region", "region", partial(caller.region, account)),
        _probe("clock", "clock", partial(caller.clock, account), "region"),
        _probe(KEYS, "credentials", partial(caller.credentials, account), "region"),
        _probe("bucket", "bucket", partial(prepared.bucket, account), KEYS),
        _probe("bucket settings", "bucket settings", partial(prepared.bucket_settings, account), "bucket"),
        _probe("writes", "conditional writes", partial(prepared.conditional_writes, account), "bucket"),
        _probe("profile", "instance profile", partial(prepared.profile, account), KEYS),
        _probe("role", "role", partial(prepared.role, account), "profile"),
        *_machine(account, find, found),
        _probe("s3", "way to S3", _s3(account), KEYS),
        _probe("ssm", "way to SSM", _ssm(account), KEYS),
    )


def _machine(account: Account, find: Find | None, found: list[Offer]) -> tuple[Probe, ...]:
    """The machine that is wanted, whether the quota allows it, whether the caller may buy it."""
    if find is None:
        return (
            _probe("quotas", "quotas", partial(machine.quotas_of_families, account), KEYS),
            _probe("permissions", "permissions", lambda cancel: _permissions(account, found, cancel), KEYS),
        )
    wanted = find

    def offer(cancel: CancelToken) -> Check:
        found.extend(wanted(cancel))
        best = found[0]
        market = "spot" if best.spot else "on demand"
        return ok(
            f"{best.machine_type} in {best.zone or best.region}, {best.price_per_hour} {best.currency} an hour {market}",
            offers=len(found),
            price=best.price_per_hour,
            source=best.price_source,
        )

    return (
        _probe("machine", "machine to buy", offer, KEYS),
        _probe("quota", "quota", lambda cancel: machine.quota(account, found[0], cancel), "machine"),
        _probe("permissions", "permissions", lambda cancel: _permissions(account, found, cancel), "machine"),
    )


def probes_for_plan(account: Account, offers: Sequence[Offer], data: Sequence[str] = ()) -> tuple[Probe, ...]:
    """What has to hold before one of ``offers`` is bought for a run that reads ``data``. Read-only: a plan writes nothing.

    The quota of the first offer counts: those behind it are tried when it fails, quotas included.
    """
    there = tuple(offers)
    return (
        _probe("clock", "clock", partial(caller.clock, account)),
        _probe(KEYS, "credentials", partial(caller.credentials, account)),
        _probe("bucket", "bucket", partial(prepared.bucket, account), KEYS),
        _probe("profile", "instance profile", partial(prepared.profile, account), KEYS),
        *(
            _probe(f"data {each}", f"data {each}", partial(readable.data, account, address=each), "profile")
            for each in dict.fromkeys(data)
            if each.startswith("s3://")
        ),
        *(
            _probe("quota", "quota", lambda cancel, first=first: machine.quota(account, first, cancel), KEYS)  # type: ignore[misc]
            for first in there[:1]
        ),
        _probe("permissions", "permissions", lambda cancel: _permissions(account, there, cancel), KEYS),
    )


def _probe(name: str, title: str, look: Callable[[CancelToken], Check], *needs: str) -> Probe:
    return Probe(name, title, look, WHERE, needs)


def _permissions(account: Account, offers: Sequence[Offer], cancel: CancelToken) -> Check:
    regions = tuple(dict.fromkeys(offer.region for offer in offers if offer.region))
    use = Use(
        regions=regions or (account.calls.session.region,),
        spot=any(offer.spot for offer in offers),
        user=account.calls.identity(cancel).user,
    )
    names = account.names(cancel)
    wanted = needs(names, use)
    found = permissions(account.calls, names, wanted, cancel)
    asked = [(each.what_for, list(each.actions)) for each in wanted]
    return replace(found, facts={**found.facts, "actions": asked})


def _s3(account: Account) -> Callable[[CancelToken], Check]:
    return lambda cancel: caller.reach(
        account, cancel, service="s3", operation="head_bucket", Bucket=account.names(cancel).bucket
    )


def _ssm(account: Account) -> Callable[[CancelToken], Check]:
    return lambda cancel: caller.reach(
        account, cancel, service="ssm", operation="describe_instance_information", MaxResults=5
    )
