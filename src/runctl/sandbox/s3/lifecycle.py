"""Lifecycle rules: checked when they are put, applied by a sweep that is told the time."""

from __future__ import annotations

import calendar
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl.sandbox.s3.entry import Entry
from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.s3.xml import parse, text_of

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from runctl.sandbox.s3.store import Bucket, Store

DAY = 86400
MOST_RULES = 1000
CONFIG = "BucketLifecycleConfiguration"


@dataclass(frozen=True)
class Rule:
    """One enabled rule, what the sweep needs of it; None where it says nothing."""

    prefix: str
    tags: tuple[tuple[str, str], ...]
    larger: int | None
    smaller: int | None
    days: int | None
    date: float | None
    lone_markers: bool
    old_versions_days: int | None
    keep_versions: int
    uploads_days: int | None

    def covers(self, entry: Entry) -> bool:
        """Whether the filter lets this version in."""
        return (
            entry.key.startswith(self.prefix)
            and all(entry.tags.get(key) == value for key, value in self.tags)
            and (self.larger is None or entry.size > self.larger)
            and (self.smaller is None or entry.size < self.smaller)
        )


def check_rules(root: ET.Element) -> None:
    """Raises MalformedXML or InvalidArgument for a configuration AWS would refuse."""
    rules = root.findall("Rule")
    if not 1 <= len(rules) <= MOST_RULES:
        raise S3Error("MalformedXML")
    actions = (
        "Expiration", "Transition", "NoncurrentVersionExpiration", "NoncurrentVersionTransition",
        "AbortIncompleteMultipartUpload",
    )  # fmt: skip
    for rule in rules:
        if text_of(rule, "Status") not in ("Enabled", "Disabled"):
            raise S3Error("MalformedXML")
        if not any(rule.find(name) is not None for name in actions):
            raise S3Error("InvalidRequest", "At least one action needs to be specified in a rule")
        for path in ("Expiration/Days", "NoncurrentVersionExpiration/NoncurrentDays", "AbortIncompleteMultipartUpload/DaysAfterInitiation"):  # fmt: skip
            text = text_of(rule, path, "1")
            if not text.isdigit() or int(text) < 1:
                raise S3Error(
                    "InvalidArgument",
                    f"'{path.rpartition('/')[2]}' for {path.partition('/')[0]} action must be a positive integer",
                )
        _date(text_of(rule, "Expiration/Date"))
    names = [text_of(rule, "ID") for rule in rules if text_of(rule, "ID")]
    if len(names) != len(set(names)):
        raise S3Error("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule")


def _date(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(calendar.timegm(time.strptime(text[:10], "%Y-%m-%d")))
    except ValueError as error:
        raise S3Error("MalformedXML") from error


def _number(rule: ET.Element, path: str) -> int | None:
    text = text_of(rule, path)
    return int(text) if text else None


def rules_of(text: str) -> list[Rule]:
    """The enabled rules of a stored configuration."""
    rules = []
    for rule in parse(text.encode()).findall("Rule"):
        if text_of(rule, "Status") != "Enabled":
            continue
        box = rule.find("Filter/And")
        if box is None:
            box = rule.find("Filter")
        if box is None:
            box = rule
        rules.append(
            Rule(
                prefix=text_of(box, "Prefix"),
                tags=tuple((text_of(tag, "Key"), text_of(tag, "Value")) for tag in box.findall("Tag")),
                larger=_number(box, "ObjectSizeGreaterThan"),
                smaller=_number(box, "ObjectSizeLessThan"),
                days=_number(rule, "Expiration/Days"),
                date=_date(text_of(rule, "Expiration/Date")),
                lone_markers=text_of(rule, "Expiration/ExpiredObjectDeleteMarker") == "true",
                old_versions_days=_number(rule, "NoncurrentVersionExpiration/NoncurrentDays"),
                keep_versions=_number(rule, "NoncurrentVersionExpiration/NewerNoncurrentVersions") or 0,
                uploads_days=_number(rule, "AbortIncompleteMultipartUpload/DaysAfterInitiation"),
            )
        )
    return rules


def due(since: float, days: int) -> float:
    """When something is due: so many days later, rounded up to the next midnight UTC, as AWS does."""
    at = since + days * DAY
    return at if at % DAY == 0 else (at // DAY + 1) * DAY


async def sweep(store: Store, now: float) -> int:
    """Applies every bucket's rules as of `now` (seconds since the epoch); gives how many things went.

    Safe to repeat; nothing is done that a rule does not say.
    """
    gone = 0
    for name in sorted(store.buckets):
        bucket = await store.bucket(name)
        if bucket is None:
            continue
        for rule in rules_of(bucket.configs[CONFIG]) if CONFIG in bucket.configs else ():
            gone += _sweep_uploads(bucket, rule, now) + _sweep_objects(bucket, rule, now)
    return gone


def _sweep_uploads(bucket: Bucket, rule: Rule, now: float) -> int:
    if rule.uploads_days is None:
        return 0
    late = [
        upload
        for upload in bucket.uploads.values()
        if upload.entry.key.startswith(rule.prefix) and due(upload.started, rule.uploads_days) <= now
    ]
    for upload in late:
        bucket.end_upload(upload)
    return len(late)


def _sweep_objects(bucket: Bucket, rule: Rule, now: float) -> int:
    gone = 0
    for key in list(bucket.keys):
        if not key.startswith(rule.prefix):
            continue
        gone += _sweep_old_versions(bucket, rule, key, now)
        versions = bucket.versions.get(key)
        if not versions:
            continue
        current = versions[0]
        if current.marker:
            if rule.lone_markers and len(versions) == 1:
                bucket.remove(current)
                gone += 1
        elif rule.covers(current) and _expired(rule, current, now):
            if bucket.versioning:
                bucket.publish(Entry(key, modified=now, marker=True))
            else:
                bucket.remove(current)
            gone += 1
    return gone


def _expired(rule: Rule, entry: Entry, now: float) -> bool:
    by_days = rule.days is not None and due(entry.modified, rule.days) <= now
    return by_days or (rule.date is not None and rule.date <= now)


def _sweep_old_versions(bucket: Bucket, rule: Rule, key: str, now: float) -> int:
    if rule.old_versions_days is None:
        return 0
    versions = bucket.versions[key]
    late = [
        old
        for place, (newer, old) in enumerate(itertools.pairwise(versions))
        if place >= rule.keep_versions
        and rule.covers(old)
        and due(newer.modified, rule.old_versions_days) <= now
    ]  # a version is old from the moment its successor was written
    for entry in late:
        bucket.remove(entry)
    return len(late)
