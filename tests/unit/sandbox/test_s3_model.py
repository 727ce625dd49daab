"""Random histories of one bucket, asked of the sandbox's S3 and of moto's: they answer the same, or moto is known wrong."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.s3box import S3Box, s3_in
from tests.unit.sandbox.twin import Difference, Named, Outcome, Twin

B = {"Bucket": "bucket"}
KEYS = st.sampled_from(["a", "a/b", "a/c", "b ü"])
SIZES = st.sampled_from([0, 1, 200_000])
RANGES = st.sampled_from(["", "bytes=0-0", "bytes=1-", "bytes=-1", "bytes=5-9", "bytes=3-1"])
PART = 5 * 1024 * 1024  # the least a part may have that is not the last

# Each was looked up in the documentation of the service, and the sandbox is right to differ.
DIFFERENCES = [
    Difference(
        "moto answers a suffix range of an empty object with all of it; there is no byte to give",
        lambda call, asked, ours, _: (
            call == "get_object" and asked.get("Range") == "bytes=-1" and ours == (416, "InvalidRange")
        ),
    ),
    Difference(
        "moto refuses a range that ends before it begins for an empty object alone; it is none, and ignored",
        lambda call, asked, ours, theirs: (
            asked.get("Range") == "bytes=3-1" and ours.status == 200 and theirs == (416, "InvalidRange")
        ),
    ),
    Difference(
        "moto falls over what is not there; S3 says that it is not",
        lambda _call, _asked, ours, theirs: theirs.status == 0 and ours.status >= 400,
    ),
    Difference(
        "moto looks at the parts before their order",
        lambda call, _asked, ours, theirs: (
            ours == (400, "InvalidPartOrder") and theirs.answer in ("EntityTooSmall", "InvalidPart")
        ),
    ),
    Difference(
        "moto lists what a quiet DeleteObjects has deleted; quiet means that only errors are told",
        lambda call, asked, ours, _: (
            call == "delete_objects"
            and asked["Delete"].get("Quiet", False)
            and not ours.answer.get("Deleted")
        ),
    ),
    Difference(
        "moto lists uploads as they came; S3 by key",
        lambda call, _asked, ours, theirs: (
            call == "list_multipart_uploads" and _by_key(ours) == _by_key(theirs)
        ),
    ),
    Difference(
        "moto does not say which version it deleted, when it was gone already, or whose tags",
        lambda call, _asked, ours, theirs: (
            call in ("delete_object", "delete_object_tagging", "put_object_tagging")
            and ours.status == theirs.status
            and ours.status < 300
            and set(ours.answer) - set(theirs.answer) <= {"VersionId", "DeleteMarker"}
        ),
    ),
    Difference(
        "moto does not find a delete marker that is asked for by its version; S3 says that it is one, 405",
        lambda call, _asked, ours, theirs: ours.status == 405 and theirs == (404, "NoSuchVersion"),
    ),
]


def _by_key(outcome: Outcome) -> list[tuple[str, str]]:
    return sorted((each["Key"], each["StorageClass"]) for each in outcome.answer.get("Uploads", []))


# what one of them leaves out or words in its own way, each in the model of the API
UNLIKE = {
    "AccessPointAlias", "ContinuationToken", "BucketArn", "ChecksumAlgorithm", "ChecksumCRC32", "ChecksumType", "EncodingType", "ID",
    "Initiator", "Location", "Marker", "NextMarker", "Owner", "Prefix", "ServerSideEncryption", "TotalPartsCount",
}  # fmt: skip
NAMES = {
    "UploadId",
    "VersionId",
    "DeleteMarkerVersionId",
    "CopySourceVersionId",
    "ContinuationToken",
    "NextContinuationToken",
}


@cache
def moto_session() -> Any:
    """Made after moto was imported, which hooks itself into sessions to come."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.session.Session(region_name="us-east-1", **keys)


class Bucket(RuleBasedStateMachine):
    """One bucket, its versions and its uploads; the sandbox may restart at any time."""

    twin: Twin

    def __init__(self) -> None:
        super().__init__()
        from moto import mock_aws

        self.folder = tempfile.TemporaryDirectory()
        self.whole = ExitStack()
        self.running = ExitStack()
        self.whole.enter_context(mock_aws())
        self.moto = moto_session().client(
            "s3", config=Config(retries={"max_attempts": 0, "mode": "standard"})
        )
        self.versioned = False
        self.restarted = 0  # after so many calls
        self.uploads: list[tuple[str, Named]] = []
        self.parts: dict[str, dict[int, str]] = {}
        self.versions: list[tuple[str, Named]] = []

    @initialize()
    def start(self) -> None:
        box = self.running.enter_context(s3_in(Path(self.folder.name)))
        if hasattr(self, "twin"):
            self.twin.ours = box.client()
            return
        self.twin = Twin(
            box.client(),
            self.moto,
            names=NAMES,
            unlike=UNLIKE,
            differences=DIFFERENCES,
            absent=[("VersionId", "null"), ("CopySourceVersionId", "null")],
        )
        self.twin.ask("create_bucket", **B)
        for size, key in enumerate(("a", "a/b", "b ü")):
            self.twin.ask("put_object", **B, Key=key, Body=b"x" * size)

    @precondition(lambda self: len(self.twin.history) > self.restarted + 40)
    @rule()
    def restart(self) -> None:
        self.running.close()
        self.start()
        self.restarted = len(self.twin.history)

    @rule(
        key=KEYS,
        size=SIZES,
        word=st.sampled_from(["", "1"]),
        when=st.sampled_from(["absent", "", "same", "other"]),
    )
    def put(self, key: str, size: int, word: str, when: str) -> None:
        more: dict[str, Any] = {"Metadata": {"word": word}} if word else {}
        if when == "absent":
            more["IfNoneMatch"] = "*"
        elif when:
            now = self.twin.ask("head_object", **B, Key=key)
            here = now.answer["ETag"] if now.status == 200 and when == "same" else '"0"'
            more["IfMatch"] = here
        self._note(key, self.twin.ask("put_object", **B, Key=key, Body=b"y" * size, **more))

    def _may_delete(self, key: str) -> bool:
        """moto makes no delete marker for a key that has no version (see below), and goes another way from there."""
        found = self.twin.ours.list_object_versions(**B, Prefix=key)
        rows = found.get("Versions", []) + found.get("DeleteMarkers", [])
        return not self.versioned or any(each["Key"] == key for each in rows)

    def _note(self, key: str, done: Outcome) -> None:
        version = done.answer.get("VersionId") if isinstance(done.answer, dict) else None
        if isinstance(version, Named):
            self.versions.append((key, version))

    @rule()
    def read_all(self) -> None:
        for each in self.twin.ask("list_objects_v2", **B).answer.get("Contents", []):
            self.twin.ask("get_object", **B, Key=each["Key"])

    @rule(key=KEYS, part=RANGES)
    def get(self, key: str, part: str) -> None:
        self.twin.ask("get_object", **B, Key=key, **({"Range": part} if part else {}))

    @rule(key=KEYS, source=KEYS, replace=st.booleans())
    def copy(self, key: str, source: str, replace: bool) -> None:
        more = {"MetadataDirective": "REPLACE", "Metadata": {"new": "1"}} if replace else {}
        self._note(key, self.twin.ask("copy_object", **B, Key=key, CopySource={**B, "Key": source}, **more))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if self._may_delete(key):
            self._note(key, self.twin.ask("delete_object", **B, Key=key))

    @rule(keys=st.lists(KEYS, min_size=1, max_size=3, unique=True), quiet=st.booleans())
    def delete_several(self, keys: list[str], quiet: bool) -> None:
        what = {"Objects": [{"Key": key} for key in keys if self._may_delete(key)], "Quiet": quiet}
        if what["Objects"]:
            self.twin.ask("delete_objects", **B, Delete=what)

    @rule(key=KEYS, word=st.sampled_from(["", "t"]))
    def tag(self, key: str, word: str) -> None:
        if word:
            self.twin.ask(
                "put_object_tagging", **B, Key=key, Tagging={"TagSet": [{"Key": "k", "Value": word}]}
            )
        else:
            self.twin.ask("delete_object_tagging", **B, Key=key)
        self.twin.ask("get_object_tagging", **B, Key=key)

    @rule(
        prefix=st.sampled_from(["", "a", "a/", "b"]),
        cut=st.sampled_from(["", "/"]),
        most=st.integers(1, 3),
        after=KEYS,
    )
    def page(self, prefix: str, cut: str, most: int, after: str) -> None:
        cut = "" if self.versioned else cut  # moto shows folders in which all was deleted
        asked = {"Prefix": prefix, "Delimiter": cut, "MaxKeys": most}
        self.twin.pages("list_objects_v2", ("ContinuationToken", "NextContinuationToken"), **B, **asked)
        self.twin.ask("list_objects_v2", **B, Prefix=prefix, StartAfter=after)

    @precondition(lambda self: not self.versioned)
    @rule()
    def keep_versions(self) -> None:
        self.twin.ask("put_bucket_versioning", **B, VersioningConfiguration={"Status": "Enabled"})
        self.versioned = True

    @precondition(lambda self: self.versions)
    @rule(pick=st.integers(0, 20), remove=st.booleans())
    def version(self, pick: int, remove: bool) -> None:
        key, version = self.versions[pick % len(self.versions)]
        self.twin.ask("get_object", **B, Key=key, VersionId=version)
        if remove:
            self.twin.ask("delete_object", **B, Key=key, VersionId=version)

    @rule(key=KEYS)
    def begin_upload(self, key: str) -> None:
        upload = self.twin.ask("create_multipart_upload", **B, Key=key, Metadata={"by": "parts"}).answer[
            "UploadId"
        ]
        self.uploads.append((key, upload))

    @precondition(lambda self: self.uploads)
    @rule(pick=st.integers(0, 5), number=st.integers(1, 3), size=st.sampled_from([1, 200_000, PART]))
    def part(self, pick: int, number: int, size: int) -> None:
        key, upload = self.uploads[pick % len(self.uploads)]
        done = self.twin.ask(
            "upload_part", **B, Key=key, UploadId=upload, PartNumber=number, Body=b"z" * size
        )
        if done.status == 200:
            self.parts.setdefault(upload.ours, {})[number] = done.answer["ETag"]
            self.twin.ask("list_parts", **B, Key=key, UploadId=upload)

    @precondition(lambda self: self.uploads)
    @rule(
        pick=st.integers(0, 5),
        numbers=st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True),
        give_up=st.booleans(),
    )
    def end_upload(self, pick: int, numbers: list[int], give_up: bool) -> None:
        key, upload = self.uploads[pick % len(self.uploads)]
        if give_up:
            self.twin.ask("abort_multipart_upload", **B, Key=key, UploadId=upload)
            return
        there = self.parts.get(upload.ours, {})
        rows = [{"PartNumber": number, "ETag": there.get(number, '"0"')} for number in numbers]
        done = self.twin.ask(
            "complete_multipart_upload", **B, Key=key, UploadId=upload, MultipartUpload={"Parts": rows}
        )
        self._note(key, done)

    @invariant()
    def both_hold_the_same(self) -> None:
        if not hasattr(self, "twin"):
            return
        self.twin.ask("list_objects_v2", **B)
        self.twin.ask("list_multipart_uploads", **B)
        if self.versioned:
            self.twin.ask("list_object_versions", **B)

    def teardown(self) -> None:
        self.running.close()
        self.whole.close()
        self.moto.close()
        self.folder.cleanup()


class TestBucket(Bucket.TestCase):  # type: ignore[valid-type,misc]
    settings = settings(
        max_examples=8,
        stateful_step_count=30,
        deadline=None,
        phases=[Phase.generate],  # a failure prints every call: shrinking it for minutes tells no more
        suppress_health_check=list(HealthCheck),
    )


def told(client: Any, call: str, **asked: Any) -> str:
    """The code of the refusal; empty when there is none."""
    try:
        getattr(client, call)(**asked)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def markers(client: Any) -> int:
    return len(client.list_object_versions(**B).get("DeleteMarkers", []))


def never_was(client: Any) -> Any:
    client.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
    client.delete_object(**B, Key="never")
    client.delete_objects(**B, Delete={"Objects": [{"Key": "nor this"}]})
    return markers(client)


def suspended(client: Any) -> Any:
    for status in ("Enabled", "Suspended"):
        client.put_bucket_versioning(**B, VersioningConfiguration={"Status": status})
        client.put_object(**B, Key="k", Body=b"x")
    client.delete_object(**B, Key="k")
    return markers(client)


def all_deleted(client: Any) -> Any:
    client.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(**B, Key="folder/k", Body=b"x")
    client.delete_object(**B, Key="folder/k")
    return len(client.list_objects_v2(**B, Delimiter="/").get("CommonPrefixes", []))


def a_part_alone(client: Any) -> Any:
    upload = client.create_multipart_upload(**B, Key="k")["UploadId"]
    of = {**B, "Key": "k", "UploadId": upload}
    rows = [
        {"PartNumber": number, "ETag": client.upload_part(**of, PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, b"z" * PART), (2, b"end"))
    ]
    client.complete_multipart_upload(**of, MultipartUpload={"Parts": rows})
    return len(client.get_object(**B, Key="k", PartNumber=2)["Body"].read())


def beyond_the_source(client: Any) -> Any:
    client.put_object(**B, Key="k", Body=b"short")
    upload = client.create_multipart_upload(**B, Key="new")["UploadId"]
    of = {**B, "Key": "new", "UploadId": upload, "CopySource": "bucket/k", "PartNumber": 1}
    return told(client, "upload_part_copy", **of, CopySourceRange="bytes=1-200")


def a_page_with_folders(client: Any) -> Any:
    for key in ("a", "b/1", "c", "d/1"):
        client.put_object(**B, Key=key, Body=b"")
    page = client.list_objects(**B, Delimiter="/", MaxKeys=2)
    return len(page.get("Contents", [])) + len(page.get("CommonPrefixes", []))


# What would lead the two histories apart, or cannot be had in one process: so it is kept out of them, and shown here.
# (what is done, what the sandbox answers, as S3 does, what moto answers)
APART: dict[str, tuple[Any, Any, Any]] = {
    "a wrong SHA-256": (
        lambda c: told(c, "put_object", **B, Key="k", Body=b"x", ChecksumSHA256="A" * 43 + "="), "BadDigest", "",
    ),
    "a wrong MD5": (
        lambda c: told(c, "put_object", **B, Key="k", Body=b"x", ContentMD5="A" * 22 + "=="), "BadDigest", "",
    ),
    "a key that is too long": (
        lambda c: told(c, "put_object", **B, Key="k" * 1025, Body=b"x"), "KeyTooLongError", "",
    ),
    "the delete marker of a key that never was": (never_was, 2, 0),
    "the delete marker while versioning is suspended": (suspended, 1, 0),
    "one part of an object": (a_part_alone, 3, PART + 3),
    "a range beyond the source of a part": (beyond_the_source, "InvalidArgument", ""),
    "a folder in which all was deleted": (all_deleted, 0, 1),
    "two rows of a listing with folders": (a_page_with_folders, 2, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_where_moto_is_no_model(s3: Any, name: str) -> None:
    from moto import mock_aws

    do, right, wrong = APART[name]
    assert do(s3) == right
    with mock_aws():
        theirs = moto_session().client("s3")
        theirs.create_bucket(**B)
        assert do(theirs) == wrong, "moto has learned it: it belongs into the histories now"
        theirs.close()


def test_moto_lets_everybody_in(s3box: S3Box, s3: Any) -> None:
    from moto import mock_aws

    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3box.client(secret="wrong").list_objects_v2(**B)
    with mock_aws():
        anybody = moto_session().client("s3", aws_access_key_id="any", aws_secret_access_key="body")
        anybody.create_bucket(**B)
        assert anybody.list_objects_v2(**B)["KeyCount"] == 0
        anybody.close()
