"""Random histories of one bucket against a dict, and the shapes of answers against moto's S3."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.s3box import s3_in

B = {"Bucket": "bucket"}
KEYS = st.sampled_from(["a", "a/b", "a/c", "b ü", "b/"])
BODIES = st.sampled_from([b"", b"x", b"y" * 200_000])


class BucketModel(RuleBasedStateMachine):
    """What a bucket holds is what was put and not deleted, whoever restarts it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stack = ExitStack()
        self.model: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.uploads: list[tuple[str, str, bytes, dict[str, Any]]] = []

    @initialize()
    def start(self) -> None:
        self.box = self.stack.enter_context(s3_in(self.folder))
        self.s3 = self.box.client()
        if "bucket" not in self.box.server.service.store.buckets:
            self.s3.create_bucket(**B)

    @rule()
    def restart(self) -> None:
        self.stack.close()
        self.start()

    @rule(key=KEYS, body=BODIES, only_new=st.booleans(), tag=st.sampled_from(["", "1"]))
    def put(self, key: str, body: bytes, only_new: bool, tag: str) -> None:
        condition = {"IfNoneMatch": "*"} if only_new else {}
        refused = only_new and key in self.model
        try:
            self.s3.put_object(**B, Key=key, Body=body, Metadata={"tag": tag}, **condition)
            told = ""
            self.model[key] = (body, {"tag": tag})
        except ClientError as error:
            told = error.response["Error"]["Code"]
        assert told == ("PreconditionFailed" if refused else "")

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.s3.delete_object(**B, Key=key)
        self.model.pop(key, None)

    @rule(source=KEYS, to=KEYS)
    def copy(self, source: str, to: str) -> None:
        if source not in self.model or source == to:
            return
        self.s3.copy_object(**B, Key=to, CopySource={**B, "Key": source})
        self.model[to] = self.model[source]

    @rule(key=KEYS, body=BODIES)
    def begin_upload(self, key: str, body: bytes) -> None:
        upload = self.s3.create_multipart_upload(**B, Key=key)["UploadId"]
        part = self.s3.upload_part(**B, Key=key, UploadId=upload, PartNumber=7, Body=body)
        row = {"PartNumber": 7, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}
        self.uploads.append((key, upload, body, row))

    @rule(keep=st.booleans())
    def end_upload(self, keep: bool) -> None:
        if not self.uploads:
            return
        key, upload, body, row = self.uploads.pop(0)
        if keep:
            self.s3.complete_multipart_upload(**B, Key=key, UploadId=upload, MultipartUpload={"Parts": [row]})
            self.model[key] = (body, {})
        else:
            self.s3.abort_multipart_upload(**B, Key=key, UploadId=upload)

    @rule(key=KEYS, first=st.integers(0, 3), length=st.integers(1, 100_000))
    def get_range(self, key: str, first: int, length: int) -> None:
        body = self.model[key][0] if key in self.model else None
        wanted = "NoSuchKey" if body is None else "InvalidRange" if len(body) <= first else ""
        told, found = "", None
        try:
            found = self.s3.get_object(**B, Key=key, Range=f"bytes={first}-{first + length - 1}")[
                "Body"
            ].read()
        except ClientError as error:
            told = error.response["Error"]["Code"]
        assert told == wanted
        assert found == (None if wanted or body is None else body[first : first + length])

    @invariant()
    def listed_and_read_alike(self) -> None:
        if not hasattr(self, "s3"):
            return
        listed = {o["Key"]: o["Size"] for o in self.s3.list_objects_v2(**B).get("Contents", [])}
        assert listed == {key: len(body) for key, (body, _) in self.model.items()}
        assert len(self.s3.list_multipart_uploads(**B).get("Uploads", [])) == len(self.uploads)
        for key, (body, meta) in self.model.items():
            answer = self.s3.get_object(**B, Key=key)
            assert (answer["Body"].read(), answer["Metadata"]) == (body, meta)

    def teardown(self) -> None:
        self.stack.close()


class TestBucketModel(BucketModel.TestCase):  # type: ignore[valid-type,misc]
    settings = settings(
        max_examples=6, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )


def history(s3: Any) -> list[Any]:
    """A run through many calls, and the shape of each answer: names of fields, and types of their values."""
    shapes: list[Any] = []

    def note(answer: Any) -> Any:
        shapes.append(shape({k: v for k, v in answer.items() if k != "ResponseMetadata"}))
        return answer

    note(s3.create_bucket(Bucket="shapes"))
    where = {"Bucket": "shapes"}
    for key in ("a", "d/b", "d/c"):
        s3.put_object(**where, Key=key, Body=b"body", Metadata={"m": "1"}, Tagging="t=u")
    note(s3.list_objects_v2(**where, Delimiter="/", MaxKeys=1))
    note(s3.list_objects(**where, Prefix="d/"))
    note(s3.get_object_tagging(**where, Key="a"))
    note(s3.copy_object(**where, Key="e", CopySource="shapes/a"))
    note(s3.delete_objects(**where, Delete={"Objects": [{"Key": "e"}]}))
    upload = note(s3.create_multipart_upload(**where, Key="m", ChecksumAlgorithm="SHA256"))["UploadId"]
    part = s3.upload_part(
        **where, Key="m", UploadId=upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA256"
    )
    listed = s3.list_parts(**where, Key="m", UploadId=upload)
    shapes.append(
        {name: shape(listed["Parts"][0][name]) for name in ("PartNumber", "Size", "ETag", "LastModified")}
    )
    row = {"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}
    done = s3.complete_multipart_upload(**where, Key="m", UploadId=upload, MultipartUpload={"Parts": [row]})
    shapes.append((done["Bucket"], done["Key"], done["ETag"]))  # moto answers no checksum here
    s3.put_bucket_versioning(**where, VersioningConfiguration={"Status": "Enabled"})
    s3.delete_object(**where, Key="a")
    note(s3.list_object_versions(**where, Prefix="a"))
    return shapes


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


# what moto leaves out or adds, each looked up in the model of the API: ours is right to differ
DIFFER = frozenset({
    "BucketArn", "ChecksumAlgorithm", "ChecksumType", "ChecksumCRC32", "ChecksumCRC32C", "DisplayName", "Marker",
    "ServerSideEncryption", "EncodingType", "VersionId", "KeyMarker", "VersionIdMarker", "NextMarker", "Prefix",
    "Delimiter", "StartAfter", "AbortDate", "AbortRuleId", "CopySourceVersionId",
})  # fmt: skip


def common(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: common(item) for key, item in value.items() if key not in DIFFER}
    return [common(item) for item in value] if isinstance(value, (list, tuple)) else value


def test_the_shapes_are_those_of_moto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto import mock_aws

    with s3_in(tmp_path) as box:
        ours = history(box.client())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        theirs = history(boto3.session.Session().client("s3", region_name="us-east-1"))
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert common(mine) == common(other)
