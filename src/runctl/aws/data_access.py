"""Which data besides runctl's own the machines may read: addresses, the role's policy that says so, and back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

POLICY = "runctl-data"  # of the inline policy in the role; setting up anew leaves it as it is
VERSION = "2012-10-17"
S3 = "s3://"


class Place(NamedTuple):
    """A bucket, or what lies below a prefix in it."""

    bucket: str
    prefix: str  # without a slash at its end; empty: the whole bucket

    @property
    def address(self) -> str:
        """As it is typed."""
        return f"{S3}{self.bucket}/{self.prefix}".rstrip("/")


def place(address: str) -> Place:
    """What ``s3://bucket/prefix`` names. Raises ``store-url`` for anything else."""
    bucket, _, prefix = address.removeprefix(S3).partition("/")
    prefix = prefix.rstrip("/")
    if not address.startswith(S3) or not bucket or any(letter in f"{bucket}{prefix}" for letter in "*?$"):
        raise known(
            "store-url", url=address, detail="data of machines on AWS is at s3://BUCKET or s3://BUCKET/PREFIX"
        )
    return Place(bucket, prefix)


def policy(places: Iterable[Place], partition: str) -> dict[str, Any]:
    """What lets a role read and list all of them and nothing else."""
    every = sorted(set(places))
    objects = [arn for each in every for arn in object_arns(each, partition)]
    statements = [{"Sid": "ReadData", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": objects}]
    for number, bucket in enumerate(dict.fromkeys(each.bucket for each in every)):
        statements.append(
            _listing(number, bucket, [p.prefix for p in every if p.bucket == bucket], partition)
        )
    return {"Version": VERSION, "Statement": statements}


def object_arns(place: Place, partition: str) -> tuple[str, ...]:
    """The objects of a place: below a prefix, and the one object that is called so."""
    bucket = f"arn:{partition}:s3:::{place.bucket}"
    return (f"{bucket}/{place.prefix}", f"{bucket}/{place.prefix}/*") if place.prefix else (f"{bucket}/*",)


def _listing(number: int, bucket: str, prefixes: list[str], partition: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Sid": f"ListData{number or ''}",
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [f"arn:{partition}:s3:::{bucket}"],
    }
    if "" not in prefixes:
        below = [pattern for prefix in prefixes for pattern in (prefix, f"{prefix}/*")]
        found["Condition"] = {"StringLike": {"s3:prefix": below}}
    return found


def places_in(policy: Mapping[str, Any] | None) -> tuple[Place, ...]:
    """The places that a policy made here names; what else it may say is not known."""
    statements = (policy or {}).get("Statement", [])
    read = (
        [each for each in statements if each.get("Sid") == "ReadData"] if isinstance(statements, list) else []
    )
    arns = [arn for each in read for arn in _many(each.get("Resource", []))]
    found = {Place(*_parted(arn.removesuffix("*"))) for arn in arns if arn.endswith("/*")}
    return tuple(sorted(found))


def _parted(arn: str) -> tuple[str, str]:
    bucket, _, prefix = arn.partition(":::")[2].partition("/")
    return bucket, prefix.rstrip("/")


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
