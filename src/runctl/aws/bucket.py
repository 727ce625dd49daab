"""The bucket: what it is, what it should be, and the calls between the two.

It is private, encrypted, owned by the account alone and reached through TLS only; uploads that nobody finished and
temporary objects go by themselves. What a bucket has beyond that stays as it is. It keeps no versions: the agent
replaces small status objects every second, and each would be kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.aws.changes import ApiCall, Change
from runctl.aws.errors import code_of
from runctl.aws.names import MANAGED, MANAGED_TAG
from runctl.aws.policies import bucket_policy, same
from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runctl.aws.calls import AwsCalls
    from runctl.aws.names import Names
    from runctl.core.cancel import CancelToken

HOME_REGION = "us-east-1"  # the one region that CreateBucket takes no constraint for
TEMPORARY = "tmp/"  # below the prefix; objects there go after a day
BLOCKED = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
_OWNED = "BucketOwnerEnforced"
_ENCRYPTED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
_RULES = ("runctl-unfinished-uploads", "runctl-temporary")  # ids of our lifecycle rules
_MISSING = ("404", "NoSuchBucket")
_CLOSED = ("403", "AccessDenied", "AllAccessDisabled")
_EARLY = ("NoSuchBucket", "404")  # what S3 may say of a bucket that was made a moment ago
# operation → (the part of the answer that counts, what S3 says when nothing is configured)
_READS = {
    "get_bucket_tagging": ("TagSet", "NoSuchTagSet"),
    "get_bucket_encryption": (
        "ServerSideEncryptionConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
    ),
    "get_public_access_block": ("PublicAccessBlockConfiguration", "NoSuchPublicAccessBlockConfiguration"),
    "get_bucket_ownership_controls": ("OwnershipControls", "OwnershipControlsNotFoundError"),
    "get_bucket_policy": ("Policy", "NoSuchBucketPolicy"),
    "get_bucket_lifecycle_configuration": ("Rules", "NoSuchLifecycleConfiguration"),
}


@dataclass(frozen=True)
class BucketFacts:
    """How a bucket is configured, in S3's own shapes; None where nothing is."""

    tags: Mapping[str, str]
    encryption: Mapping[str, Any] | None = None
    public_access_block: Mapping[str, bool] | None = None
    ownership: str | None = None
    policy: Mapping[str, Any] | None = None
    lifecycle: tuple[Mapping[str, Any], ...] = ()

    @property
    def ours(self) -> bool:
        """Whether runctl made it."""
        return self.tags.get(MANAGED_TAG) == MANAGED[MANAGED_TAG]


def find_bucket(calls: AwsCalls, names: Names, cancel: CancelToken) -> bool:
    """Whether the bucket is there, ours to use, in our region. Read-only.

    Raises:
        AccessError: ``aws-bucket-closed``: it is somebody else's, or nobody lets us look.
        UsageError: ``aws-bucket-elsewhere``.
    """
    try:
        answer = calls.call(
            "s3", "head_bucket", Bucket=names.bucket, ExpectedBucketOwner=names.account, cancel=cancel
        )
    except RunctlError as error:
        code = code_of(error)
        if code in _MISSING:
            return False
        if code in _CLOSED:
            raise known("aws-bucket-closed", bucket=names.bucket, account=names.account) from error
        raise
    place = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", names.region)
    if place != names.region:
        raise known(
            "aws-bucket-elsewhere",
            why=f"{names.bucket} is in {place}, and the machines are bought in {names.region}",
            fix=(
                f"  runctl config set aws.region {place}",
                "or leave the name to runctl, and it takes one for each region:",
                "  runctl config unset aws.bucket",
            ),
            bucket=names.bucket,
            expected=place,
            region=names.region,
        )
    return True


def read_bucket(calls: AwsCalls, names: Names, cancel: CancelToken) -> BucketFacts:
    """How the bucket is configured. Read-only. Raises ``aws-denied`` when one of the six reads is not allowed."""

    def read(operation: str, missing: str) -> dict[str, Any]:
        try:
            return calls.call(
                "s3", operation, Bucket=names.bucket, ExpectedBucketOwner=names.account, cancel=cancel
            )
        except RunctlError as error:
            if code_of(error) == missing:
                return {}
            raise

    with together(cancel) as scope:
        asked = {
            operation: scope.start(operation, lambda each=operation, missing=missing: read(each, missing))  # type: ignore[misc]
            for operation, (_, missing) in _READS.items()
        }
    found = {operation: asked[operation].result().get(part) for operation, (part, _) in _READS.items()}
    owned = found["get_bucket_ownership_controls"]
    policy = found["get_bucket_policy"]
    return BucketFacts(
        tags={each["Key"]: each["Value"] for each in found["get_bucket_tagging"] or ()},
        encryption=found["get_bucket_encryption"],
        public_access_block=found["get_public_access_block"],
        ownership=owned["Rules"][0]["ObjectOwnership"] if owned else None,
        policy=json.loads(policy) if policy else None,
        lifecycle=tuple(found["get_bucket_lifecycle_configuration"] or ()),
    )


def bucket_changes(facts: BucketFacts | None, names: Names) -> tuple[Change, ...]:
    """What makes the bucket what it should be; None: there is none yet. Pure."""
    made = facts is None
    kind, of = ("create" if made else "change"), f"bucket {names.bucket}"
    changes = [Change(kind, of, (_create(names),))] if made else []
    present = facts or BucketFacts(tags={})
    for what, operation, params in _wanted(present, names, made=made):
        call = ApiCall(
            "s3",
            operation,
            {"Bucket": names.bucket, "ExpectedBucketOwner": names.account, **params},
            early=_EARLY if made else (),
        )
        changes.append(Change(kind, of, (call,), what))
    return tuple(changes)


def _create(names: Names) -> ApiCall:
    params: dict[str, Any] = {"Bucket": names.bucket, "ObjectOwnership": _OWNED}
    if names.region != HOME_REGION:
        params["CreateBucketConfiguration"] = {"LocationConstraint": names.region}
    return ApiCall("s3", "create_bucket", params, done_by=("BucketAlreadyOwnedByYou",))


def _wanted(facts: BucketFacts, names: Names, *, made: bool) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(what, operation, parameters) of everything that is not yet as it should be; the tag that says whose it is first."""
    if made or (names.bucket == names.default_bucket and not facts.ours):
        tags = [{"Key": key, "Value": value} for key, value in {**facts.tags, **MANAGED}.items()]
        yield "tag it", "put_bucket_tagging", {"Tagging": {"TagSet": tags}}
    if facts.public_access_block != BLOCKED:
        yield (
            "block public access",
            "put_public_access_block",
            {"PublicAccessBlockConfiguration": BLOCKED},
        )
    if not facts.encryption:
        yield (
            "encrypt objects (SSE-S3)",
            "put_bucket_encryption",
            {"ServerSideEncryptionConfiguration": _ENCRYPTED},
        )
    if facts.ownership != _OWNED:
        yield (
            "the account owns every object",
            "put_bucket_ownership_controls",
            {"OwnershipControls": {"Rules": [{"ObjectOwnership": _OWNED}]}},
        )
    policy = bucket_policy(names, facts.policy)
    if not same(facts.policy, policy):
        yield "allow TLS only", "put_bucket_policy", {"Policy": json.dumps(policy)}
    rules = lifecycle_rules(names)
    if not all(_has(facts.lifecycle, rule) for rule in rules):
        others = [rule for rule in facts.lifecycle if rule.get("ID") not in _RULES]
        yield (
            f"unfinished uploads and {TEMPORARY} go after a day",
            "put_bucket_lifecycle_configuration",
            {"LifecycleConfiguration": {"Rules": [*others, *rules]}},
        )


def lifecycle_rules(names: Names) -> tuple[dict[str, Any], ...]:
    """Unfinished uploads below the prefix, and temporary objects, go after a day. Pure."""
    unfinished, temporary = _RULES
    whole, below = names.key(""), names.key(TEMPORARY)
    return (
        {
            "ID": unfinished,
            "Status": "Enabled",
            "Filter": {"Prefix": whole},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
        {"ID": temporary, "Status": "Enabled", "Filter": {"Prefix": below}, "Expiration": {"Days": 1}},
    )


def _has(present: tuple[Mapping[str, Any], ...], rule: Mapping[str, Any]) -> bool:
    """Whether a rule is in force as we want it; S3 may add fields of its own."""
    return any(all(each.get(key) == value for key, value in rule.items()) for each in present)


def is_empty(calls: AwsCalls, names: Names, cancel: CancelToken) -> bool:
    """Whether no object is in the bucket, whatever its prefix. Read-only."""
    answer = calls.call(
        "s3",
        "list_objects_v2",
        Bucket=names.bucket,
        ExpectedBucketOwner=names.account,
        MaxKeys=1,
        cancel=cancel,
    )
    return not answer.get("KeyCount")


def bucket_removal(names: Names) -> Change:
    """What removes an empty bucket. Pure."""
    call = ApiCall(
        "s3",
        "delete_bucket",
        {"Bucket": names.bucket, "ExpectedBucketOwner": names.account},
        done_by=_MISSING,
    )
    return Change("remove", f"bucket {names.bucket}", (call,))
