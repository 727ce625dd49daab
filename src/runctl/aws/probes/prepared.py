"""What ``runctl aws setup`` makes: the bucket, the instance profile, the role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.aws.bucket import TEMPORARY, bucket_changes, find_bucket, read_bucket
from runctl.aws.errors import code_of
from runctl.aws.probes.account import may_look
from runctl.aws.role import as_found, profile_changes, read_profile, read_role, role_changes
from runctl.core.catalogue import known
from runctl.core.checks import Check, ok, warn
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from runctl.aws.probes.account import Account
    from runctl.core.cancel import CancelToken

SETUP = ("  runctl aws setup",)


def bucket(account: Account, cancel: CancelToken) -> Check:
    """Whether the bucket is there, ours, in our region.

    Raises:
        UsageError: ``aws-bucket-missing``, ``aws-bucket-elsewhere``.
        AccessError: ``aws-bucket-closed``.
    """
    names = account.names(cancel)
    if not find_bucket(account.calls, names, cancel):
        raise known("aws-bucket-missing", detail=f"there is no bucket {names.bucket}", bucket=names.bucket)
    return ok(f"{names.bucket}, in {names.region}", bucket=names.bucket, prefix=names.prefix)


@may_look
def bucket_settings(account: Account, cancel: CancelToken) -> Check:
    """Whether the bucket is private, encrypted, and drops what nobody finished."""
    names = account.names(cancel)
    facts = read_bucket(account.calls, names, cancel)
    missing = [change.what for change in bucket_changes(facts, names)]
    if missing:
        return warn(f"not as it should be: {', '.join(missing)}", SETUP)
    return ok("private, encrypted, TLS only, old uploads go")


@may_look
def profile(account: Account, cancel: CancelToken) -> Check:
    """Whether the instance profile is there and holds a role.

    Raises:
        UsageError: ``aws-instance-profile``.
    """
    names = account.names(cancel)
    found = read_profile(account.calls, names, cancel)
    if found is None or not found.role:
        lacks = "there is no instance profile" if found is None else "no role is in the instance profile"
        raise known("aws-instance-profile", detail=f"{lacks} {names.profile}")
    assert not profile_changes(found, as_found(names, found))
    return ok(f"{names.profile}, with role {found.role}", role=found.role)


@may_look
def role(account: Account, cancel: CancelToken) -> Check:
    """Whether the machines' role lets EC2 in and has the policy that ``runctl aws setup`` gives it."""
    names = account.names(cancel)
    names = as_found(names, read_profile(account.calls, names, cancel))
    found = read_role(account.calls, names, cancel)
    if found is None:
        raise known("aws-instance-profile", detail=f"there is no role {names.role}")
    missing = [change.what for change in role_changes(found, names)]
    if missing:
        return warn(f"{names.role} is not as it should be: {', '.join(missing)}", SETUP)
    return ok(f"{names.role} may use the bucket and SSM")


def conditional_writes(account: Account, cancel: CancelToken) -> Check:
    """Whether a second conditional write of one key is refused, as S3 refuses it; some look-alikes accept it.

    Writes one temporary object and removes it.

    Raises:
        UsageError: ``aws-no-conditional-writes``: two clients could write one run.
    """
    names = account.names(cancel)
    key = names.key(f"{TEMPORARY}doctor-{account.calls.random.getrandbits(64):016x}")
    where: dict[str, Any] = {"Bucket": names.bucket, "Key": key, "ExpectedBucketOwner": names.account}

    def put() -> bool:
        try:
            account.calls.call("s3", "put_object", cancel=cancel, Body=b"", IfNoneMatch="*", **where)
        except RunctlError as error:
            if code_of(error) not in ("PreconditionFailed", "412"):
                raise
            return False
        return True

    put()
    try:
        if put():
            endpoint = account.calls.client("s3").meta.endpoint_url
            raise known("aws-no-conditional-writes", bucket=names.bucket, endpoint=endpoint)
    finally:
        account.calls.call("s3", "delete_object", cancel=cancel, **where)
    return ok("written, refused a second time, removed")
