"""Objects as boto3 sees them: put, get, ranges, conditions, metadata, copies, tags, deletes."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.s3box import S3Box, code

B = {"Bucket": "bucket"}


def put(s3: Any, key: str, body: bytes = b"0123456789", **more: Any) -> Any:
    return s3.put_object(**B, Key=key, Body=body, **more)


def read(s3: Any, key: str, **more: Any) -> Any:
    return s3.get_object(**B, Key=key, **more)["Body"].read()


@pytest.mark.parametrize("size", [0, 1, 65536, 131072, 131073, 3_000_001])
def test_content_comes_back(s3: Any, size: int) -> None:
    data = os.urandom(size)
    put(s3, "k", data)
    answer = s3.get_object(**B, Key="k")
    assert answer["Body"].read() == data
    assert answer["ContentLength"] == size == s3.head_object(**B, Key="k")["ContentLength"]


@pytest.mark.parametrize(
    "key", ["a/b c", "ü+%20&=?#'\"", "//double//", "../x", ".", "日本", "a\tb", "x" * 1024]
)
def test_any_key_is_kept_as_it_is(s3: Any, key: str) -> None:
    put(s3, key, key.encode())
    assert read(s3, key) == key.encode()
    assert [o["Key"] for o in s3.list_objects_v2(**B)["Contents"]] == [key]


def test_a_key_too_long_is_refused(s3: Any) -> None:
    with pytest.raises(ClientError) as caught:
        put(s3, "x" * 1025)
    assert code(caught) == ("KeyTooLongError", 400)


def test_headers_and_metadata_come_back(s3: Any) -> None:
    put(
        s3, "k", Metadata={"run-id": "brave", "Empty": ""}, ContentType="text/x", CacheControl="no-cache",
        ContentEncoding="gzip", ContentDisposition="attachment", ContentLanguage="de", StorageClass="STANDARD_IA",
    )  # fmt: skip
    head = s3.head_object(**B, Key="k")
    assert head["Metadata"] == {"run-id": "brave", "empty": ""}
    assert (head["ContentType"], head["CacheControl"], head["ContentEncoding"]) == (
        "text/x",
        "no-cache",
        "gzip",
    )
    assert (head["ContentDisposition"], head["ContentLanguage"]) == ("attachment", "de")
    assert head["StorageClass"] == "STANDARD_IA"
    changed = s3.get_object(**B, Key="k", ResponseContentType="text/y")
    assert (changed["ContentType"], changed["Body"].read()) == ("text/y", b"0123456789")
    with pytest.raises(ClientError) as caught:
        put(s3, "k", Metadata={"a": "x" * 2048})
    assert code(caught) == ("MetadataTooLarge", 400)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("0-0", b"0"),
        ("2-4", b"234"),
        ("5-", b"56789"),
        ("-3", b"789"),
        ("-99", b"0123456789"),
        ("8-99", b"89"),
    ],
)
def test_ranges(s3: Any, asked: str, wanted: bytes) -> None:
    put(s3, "k")
    answer = s3.get_object(**B, Key="k", Range=f"bytes={asked}")
    assert answer["Body"].read() == wanted
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    first = b"0123456789".index(wanted[0])
    assert answer["ContentRange"] == f"bytes {first}-{first + len(wanted) - 1}/10"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-0", "bytes=99-100"])
def test_a_range_outside_is_416(s3: Any, asked: str) -> None:
    put(s3, "k")
    with pytest.raises(ClientError) as caught:
        read(s3, "k", Range=asked)
    assert code(caught) == ("InvalidRange", 416)
    assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["content-range"] == "bytes */10"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=-"])
def test_what_is_no_single_range_is_ignored(s3: Any, asked: str) -> None:
    put(s3, "k")
    assert read(s3, "k", Range=asked) == b"0123456789"


def test_if_range(s3box: S3Box, s3: Any) -> None:
    tag = put(s3, "k")["ETag"]
    for value, status in ((tag, 206), ('"other"', 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 200)):
        headers, _ = s3box.signed("GET", "/bucket/k", payload="UNSIGNED-PAYLOAD")
        answer = s3box.send("GET", "/bucket/k", headers={**headers, "Range": "bytes=0-1", "If-Range": value})
        assert answer.status == status


def test_conditions_of_reading(s3: Any) -> None:
    tag = put(s3, "k")["ETag"]
    modified = s3.head_object(**B, Key="k")["LastModified"]
    assert read(s3, "k", IfMatch=tag) == b"0123456789"
    for condition, status in (
        ({"IfMatch": '"x"'}, 412),
        ({"IfNoneMatch": tag}, 304),
        ({"IfModifiedSince": modified}, 304),
        ({"IfUnmodifiedSince": "Thu, 01 Jan 1970 00:00:00 GMT"}, 412),
    ):
        with pytest.raises(ClientError) as caught:
            s3.get_object(**B, Key="k", **condition)
        assert code(caught)[1] == status
    assert read(s3, "k", IfMatch=tag, IfUnmodifiedSince="Thu, 01 Jan 1970 00:00:00 GMT")  # If-Match wins


def test_conditions_of_writing(s3: Any) -> None:
    with pytest.raises(ClientError) as caught:
        put(s3, "k", IfMatch='"x"')
    assert code(caught) == ("NoSuchKey", 404)
    tag = put(s3, "k", b"1", IfNoneMatch="*")["ETag"]
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"x"'}):
        with pytest.raises(ClientError) as caught:
            put(s3, "k", b"2", **condition)
        assert code(caught) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as caught:
        put(s3, "k", b"2", IfNoneMatch=tag)
    assert code(caught) == ("NotImplemented", 501)
    put(s3, "k", b"3", IfMatch=tag)
    assert read(s3, "k") == b"3"
    with pytest.raises(ClientError) as caught:
        s3.delete_object(**B, Key="k", IfMatch=tag)
    assert code(caught) == ("PreconditionFailed", 412)


def race(s3: Any, *, writers: int, size: int, first: int, **condition: str) -> list[bytes]:
    """The contents of the writers that were told they had won."""
    start = threading.Barrier(writers)
    won: list[bytes] = []
    others: list[str] = []

    def write(number: int) -> None:
        data = bytes([first + number]) * size
        start.wait()
        try:
            put(s3, "lock", data, **condition)
            won.append(data)
        except ClientError as error:
            others.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert others == ["PreconditionFailed"] * (writers - len(won))
    return won


@pytest.mark.parametrize("size", [10, 400_000])
def test_one_of_32_writers_wins(s3: Any, size: int) -> None:
    assert race(s3, writers=32, size=size, first=0, IfNoneMatch="*") == [read(s3, "lock")]
    tag = s3.head_object(**B, Key="lock")["ETag"]
    assert race(s3, writers=32, size=size, first=100, IfMatch=tag) == [read(s3, "lock")]


def test_copy(s3: Any) -> None:
    tag = put(s3, "k", Metadata={"a": "1"}, Tagging="x=y", ContentType="text/x")["ETag"]
    s3.copy_object(**B, Key="same", CopySource="bucket/k")
    head = s3.head_object(**B, Key="same")
    assert (head["ETag"], head["Metadata"], head["ContentType"]) == (tag, {"a": "1"}, "text/x")
    assert s3.get_object_tagging(**B, Key="same")["TagSet"] == [{"Key": "x", "Value": "y"}]
    s3.copy_object(**B, Key="k", CopySource="bucket/k", MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(**B, Key="k")["Metadata"] == {"b": "2"}
    with pytest.raises(ClientError) as caught:
        s3.copy_object(**B, Key="k", CopySource="bucket/k")
    assert code(caught) == ("InvalidRequest", 400)
    with pytest.raises(ClientError) as caught:
        s3.copy_object(**B, Key="x", CopySource="bucket/k", CopySourceIfNoneMatch=tag)
    assert code(caught) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as caught:
        s3.copy_object(**B, Key="x", CopySource="bucket/absent")
    assert code(caught) == ("NoSuchKey", 404)


def test_tags(s3: Any) -> None:
    put(s3, "k", b"content")
    s3.put_object_tagging(**B, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "1 ü"}]})
    assert s3.get_object_tagging(**B, Key="k")["TagSet"] == [{"Key": "a", "Value": "1 ü"}]
    answer = s3.get_object(**B, Key="k")
    assert (answer["TagCount"], answer["Body"].read()) == (1, b"content")
    s3.delete_object_tagging(**B, Key="k")
    assert s3.get_object_tagging(**B, Key="k")["TagSet"] == []
    with pytest.raises(ClientError):
        s3.put_object_tagging(
            **B, Key="k", Tagging={"TagSet": [{"Key": str(n), "Value": ""} for n in range(11)]}
        )


def test_deletes(s3: Any) -> None:
    for n in range(3):
        put(s3, f"k{n}")
    s3.delete_object(**B, Key="k0")
    s3.delete_object(**B, Key="k0")
    with pytest.raises(ClientError) as caught:
        read(s3, "k0")
    assert code(caught) == ("NoSuchKey", 404)
    keys = [{"Key": "k1"}, {"Key": "absent"}, {"Key": "k2", "ETag": "other"}]
    answer = s3.delete_objects(**B, Delete={"Objects": keys})
    assert [row["Key"] for row in answer["Deleted"]] == ["k1", "absent"]
    assert [row["Code"] for row in answer["Errors"]] == ["PreconditionFailed"]
    assert [o["Key"] for o in s3.list_objects_v2(**B)["Contents"]] == ["k2"]


def test_versions(s3: Any) -> None:
    put(s3, "k", b"before")
    s3.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
    first, second = put(s3, "k", b"1")["VersionId"], put(s3, "k", b"2")["VersionId"]
    assert [read(s3, "k", VersionId=v) for v in (first, second, "null")] == [b"1", b"2", b"before"]
    marker = s3.delete_object(**B, Key="k")
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError) as caught:
        read(s3, "k")
    assert code(caught) == ("NoSuchKey", 404)
    assert "Contents" not in s3.list_objects_v2(**B)
    listed = s3.list_object_versions(**B)
    assert [v["VersionId"] for v in listed["Versions"]] == [second, first, "null"]
    assert [m["IsLatest"] for m in listed["DeleteMarkers"]] == [True]
    with pytest.raises(ClientError) as caught:
        read(s3, "k", VersionId=marker["VersionId"])
    assert code(caught) == ("MethodNotAllowed", 405)
    put(s3, "k", b"3", IfNoneMatch="*")  # a marker is nothing there
    s3.delete_object(**B, Key="k", VersionId=marker["VersionId"])
    pages = [s3.list_object_versions(**B, MaxKeys=1)]
    while pages[-1]["IsTruncated"]:
        more = {"KeyMarker": pages[-1]["NextKeyMarker"], "VersionIdMarker": pages[-1]["NextVersionIdMarker"]}
        pages.append(s3.list_object_versions(**B, MaxKeys=1, **more))
    assert [len(page["Versions"]) for page in pages] == [1, 1, 1, 1]


def test_checksums_are_verified_kept_and_given_back(s3: Any) -> None:
    for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        sent = put(s3, name, b"123456789" * 50_000, ChecksumAlgorithm=name)[f"Checksum{name}"]
        assert s3.head_object(**B, Key=name, ChecksumMode="ENABLED")[f"Checksum{name}"] == sent
        with pytest.raises(ClientError) as caught:
            put(s3, name, b"other", **{f"Checksum{name}": sent})
        assert code(caught) == ("BadDigest", 400)
        assert len(read(s3, name)) == 450_000
    with pytest.raises(ClientError) as caught:
        put(s3, "k", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    assert code(caught) == ("BadDigest", 400)
    with pytest.raises(ClientError) as caught:
        put(s3, "k", ContentMD5="short")
    assert code(caught) == ("InvalidDigest", 400)


def test_attributes(s3: Any) -> None:
    put(s3, "k", ChecksumAlgorithm="SHA256")
    found = s3.get_object_attributes(
        **B, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert (found["ObjectSize"], found["StorageClass"]) == (10, "STANDARD")
    assert (
        found["Checksum"]["ChecksumSHA256"]
        == base64.b64encode(hashlib.sha256(b"0123456789").digest()).decode()
    )
    assert '"' not in found["ETag"]
