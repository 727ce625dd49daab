"""Whether the machines' role may read data: asked of IAM, for nobody has that role before there is a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.aws.data_access import Place, place
from runctl.aws.names import OWNER_KEY
from runctl.aws.needs import Need
from runctl.aws.permissions import Verdict, simulate
from runctl.aws.probes.account import may_look
from runctl.aws.role import as_found, read_profile
from runctl.core.catalogue import known
from runctl.core.checks import Check, ok, skipped, warn
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from runctl.aws.names import Names
    from runctl.aws.probes.account import Account
    from runctl.core.cancel import CancelToken


@may_look
def data(account: Account, cancel: CancelToken, *, address: str) -> Check:
    """Whether the role may read and list what ``address`` names.

    A bucket that has a policy of its own may let the role in whatever the role's policies say: that is a warning.

    Raises:
        AccessError: ``aws-data-denied``.
        UsageError: ``store-url``.
    """
    wanted = place(address)
    names = account.names(cancel)
    names = as_found(names, read_profile(account.calls, names, cancel))
    arn = str(account.calls.call("iam", "get_role", RoleName=names.role, cancel=cancel)["Role"]["Arn"])
    listing, *reading = (_asked(account, need, arn, cancel) for need in _needs(names, wanted))
    lacking = [] if listing.unsure or not listing.refused else ["s3:ListBucket"]
    if all(
        verdict.refused for verdict in reading
    ):  # nobody knows yet whether it is one object, or many below it
        lacking.insert(0, "s3:GetObject")
    if not lacking:
        sure = not listing.unsure and not any(verdict.unsure for verdict in reading)
        return ok(f"{names.role} may read {address}") if sure else skipped("IAM cannot tell beforehand")
    detail = f"role {names.role} lacks {', '.join(lacking)}"
    if _may_let_in(account, wanted.bucket, cancel):
        fix = (f"  runctl aws setup --data {wanted.address}",)
        return warn(f"{detail} for {address}, unless the bucket itself lets it in", fix)
    raise known("aws-data-denied", address=wanted.address, detail=detail)


def _needs(names: Names, wanted: Place) -> tuple[Need, ...]:
    """What listing takes, then what reading takes: below the prefix, or the object that is called so."""
    bucket = f"arn:{names.partition}:s3:::{wanted.bucket}"
    prefix = f"{wanted.prefix}/" if wanted.prefix else ""
    owned = ((OWNER_KEY, names.account),) if wanted.bucket == names.bucket else ()
    objects = dict.fromkeys((f"{bucket}/{prefix}any", f"{bucket}/{wanted.prefix or 'any'}"))
    return (
        Need(("s3:ListBucket",), "list the data", (bucket,), (*owned, ("s3:prefix", prefix))),
        *(Need(("s3:GetObject",), "read the data", (each,), owned) for each in objects),
    )


def _asked(account: Account, need: Need, arn: str, cancel: CancelToken) -> Verdict:
    return simulate(account.calls, (need,), arn, cancel)


def _may_let_in(account: Account, bucket: str, cancel: CancelToken) -> bool:
    """Whether a bucket's own policy allows anybody anything. One that may not be looked at is taken for none.

    In another account's bucket the role needs rights of its own whatever that says.
    """
    try:
        text = account.calls.call("s3", "get_bucket_policy", Bucket=bucket, cancel=cancel)["Policy"]
    except RunctlError as error:
        if error.transient:
            raise
        return False
    return '"Allow"' in text
