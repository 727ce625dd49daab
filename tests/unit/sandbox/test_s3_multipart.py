"""Multipart uploads: limits, lists, checksums of parts and of the whole, conditions, abort."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import threading
import zlib
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from tests.s3box import S3Box, code

B = {"Bucket": "bucket"}
K = {"Bucket": "bucket", "Key": "big"}
MIB = 1024 * 1024


def begin(s3: Any, **more: Any) -> dict[str, Any]:
    return {**K, "UploadId": s3.create_multipart_upload(**K, **more)["UploadId"]}


def part(s3: Any, upload: dict[str, Any], number: int, data: bytes, **more: Any) -> dict[str, Any]:
    answer = s3.upload_part(**upload, PartNumber=number, Body=data, **more)
    sums = {
        name: value
        for name, value in answer.items()
        if name.startswith("Checksum") and name != "ChecksumType"
    }
    return {"PartNumber": number, "ETag": answer["ETag"], **sums}


def finish(s3: Any, upload: dict[str, Any], parts: list[dict[str, Any]], **more: Any) -> Any:
    return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **more)


def test_a_large_file_by_parts(s3box: S3Box, s3: Any) -> None:
    data = os.urandom(12 * MIB + 17)
    config = TransferConfig(multipart_threshold=MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(data), "bucket", "big", Config=config)
    got = io.BytesIO()
    s3.download_fileobj("bucket", "big", got, Config=config)
    assert got.getvalue() == data
    head = s3.head_object(**K)
    digests = b"".join(hashlib.md5(data[at : at + 5 * MIB]).digest() for at in range(0, len(data), 5 * MIB))
    assert head["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    cut = s3.get_object(**K, Range=f"bytes={5 * MIB - 3}-{10 * MIB + 2}")
    assert cut["Body"].read() == data[5 * MIB - 3 : 10 * MIB + 3]
    second = s3.get_object(**K, PartNumber=2)
    assert (second["Body"].read(), second["PartsCount"]) == (data[5 * MIB : 10 * MIB], 3)
    with pytest.raises(ClientError) as caught:
        s3.head_object(**K, PartNumber=4)
    assert code(caught)[1] == 416
    s3.put_object_tagging(**K, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.copy_object(**B, Key="copy", CopySource="bucket/big")
    assert s3.head_object(**B, Key="copy")["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert s3.get_object(**K)["Body"].read() == data
    s3.delete_object(**K)
    s3.delete_object(**B, Key="copy")
    assert not s3box.content()


def test_all_parts_but_the_last_have_a_size(s3: Any) -> None:
    upload = begin(s3)
    small, last = part(s3, upload, 1, b"x" * (5 * MIB - 1)), part(s3, upload, 2, b"y")
    with pytest.raises(ClientError) as caught:
        finish(s3, upload, [small, last])
    assert code(caught) == ("EntityTooSmall", 400)
    assert finish(s3, upload, [last])["ETag"].endswith('-1"')


def test_parts_are_named_in_order_and_as_uploaded(s3: Any) -> None:
    upload = begin(s3)
    one, two = part(s3, upload, 1, b"x" * 5 * MIB), part(s3, upload, 2, b"y")
    wrong = {**two, "ETag": one["ETag"]}
    for parts, wanted in (
        ([two, one], "InvalidPartOrder"),
        ([one, wrong], "InvalidPart"),
        ([one, {**two, "PartNumber": 3}], "InvalidPart"),
        ([one, {**two, "ChecksumCRC32": one["ChecksumCRC32"]}], "InvalidPart"),
    ):
        with pytest.raises(ClientError) as caught:
            finish(s3, upload, parts)
        assert code(caught) == (wanted, 400)
    for number in (0, 10_001):
        with pytest.raises(ClientError) as caught:
            part(s3, upload, number, b"")
        assert code(caught) == ("InvalidArgument", 400)
    again = part(s3, upload, 2, b"z")
    finish(s3, upload, [one, again])
    assert s3.get_object(**K, Range="bytes=-1")["Body"].read() == b"z"
    assert finish(s3, upload, [one, again])["ETag"] == s3.head_object(**K)["ETag"]  # safe to repeat


def test_lists_in_pages_and_abort(s3box: S3Box, s3: Any) -> None:
    upload = begin(s3)
    for number in range(1, 6):
        part(s3, upload, number, bytes([number]))
    pages = s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2})
    assert [[p["PartNumber"] for p in page["Parts"]] for page in pages] == [[1, 2], [3, 4], [5]]
    others = [begin(s3) for _ in range(2)]
    deep = s3.create_multipart_upload(**B, Key="dir/x")
    pages = s3.get_paginator("list_multipart_uploads").paginate(**B, PaginationConfig={"PageSize": 1})
    found = [u["UploadId"] for page in pages for u in page.get("Uploads", [])]
    assert found == [upload["UploadId"], *(u["UploadId"] for u in others), deep["UploadId"]]
    listed = s3.list_multipart_uploads(**B, Delimiter="/")
    assert [p["Prefix"] for p in listed["CommonPrefixes"]] == ["dir/"]
    for one in (upload, *others, {**B, "Key": "dir/x", "UploadId": deep["UploadId"]}):
        s3.abort_multipart_upload(**one)
        with pytest.raises(ClientError) as caught:
            s3.list_parts(**one)
        assert code(caught) == ("NoSuchUpload", 404)
    assert "Uploads" not in s3.list_multipart_uploads(**B)
    assert not s3box.content()


def test_completing_can_be_conditional(s3: Any) -> None:
    uploads = [begin(s3) for _ in range(8)]
    parts = [part(s3, upload, 1, bytes([n])) for n, upload in enumerate(uploads)]
    start = threading.Barrier(len(uploads))
    won: list[bytes] = []
    lost: list[str] = []

    def complete(number: int) -> None:
        start.wait()
        try:
            finish(s3, uploads[number], [parts[number]], IfNoneMatch="*")
            won.append(bytes([number]))
        except ClientError as error:
            lost.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=complete, args=(n,)) for n in range(len(uploads))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [s3.get_object(**K)["Body"].read()]
    assert lost == ["PreconditionFailed"] * 7


def test_checksums_of_the_whole(s3: Any) -> None:
    one, two = os.urandom(5 * MIB), b"end"
    upload = begin(s3, ChecksumAlgorithm="SHA256")
    parts = [part(s3, upload, n, data, ChecksumAlgorithm="SHA256") for n, data in ((1, one), (2, two))]
    with pytest.raises(ClientError) as caught:
        part(s3, upload, 3, b"", ChecksumAlgorithm="CRC32")
    assert code(caught) == ("InvalidRequest", 400)
    with pytest.raises(ClientError) as caught:
        finish(s3, upload, [{k: v for k, v in p.items() if k != "ChecksumSHA256"} for p in parts])
    assert code(caught) == ("InvalidRequest", 400)
    digests = hashlib.sha256(one).digest() + hashlib.sha256(two).digest()
    wanted = base64.b64encode(hashlib.sha256(digests).digest()).decode() + "-2"
    assert finish(s3, upload, parts)["ChecksumSHA256"] == wanted
    found = s3.get_object_attributes(**K, ObjectAttributes=["Checksum", "ObjectParts"])
    assert found["Checksum"] == {"ChecksumSHA256": wanted.partition("-")[0], "ChecksumType": "COMPOSITE"} or (
        found["Checksum"]["ChecksumSHA256"] == wanted
    )
    assert [p["Size"] for p in found["ObjectParts"]["Parts"]] == [5 * MIB, 3]

    upload = begin(s3, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    parts = [part(s3, upload, n, data, ChecksumAlgorithm="CRC32") for n, data in ((1, one), (2, two))]
    whole = base64.b64encode(zlib.crc32(one + two).to_bytes(4, "big")).decode()
    with pytest.raises(ClientError) as caught:
        finish(s3, upload, parts, ChecksumType="FULL_OBJECT", ChecksumCRC32="AAAAAA==")
    assert code(caught) == ("BadDigest", 400)
    assert (
        finish(s3, upload, parts, ChecksumType="FULL_OBJECT", ChecksumCRC32=whole)["ChecksumCRC32"] == whole
    )
    with pytest.raises(ClientError):
        begin(s3, ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")


def test_parts_copied_from_objects(s3: Any) -> None:
    data = os.urandom(6 * MIB)
    s3.put_object(**B, Key="source", Body=data)
    upload = begin(s3)
    ranges = ("bytes=0-5242879", f"bytes=5242880-{6 * MIB - 1}")
    parts = []
    for number, span in enumerate(ranges, 1):
        answer = s3.upload_part_copy(
            **upload, PartNumber=number, CopySource="bucket/source", CopySourceRange=span
        )
        result = answer["CopyPartResult"]
        sums = {name: value for name, value in result.items() if name.startswith("Checksum")}
        parts.append({"PartNumber": number, "ETag": result["ETag"], **sums})
    finish(s3, upload, parts)
    assert s3.get_object(**K)["Body"].read() == data
    with pytest.raises(ClientError) as caught:
        s3.upload_part_copy(
            **begin(s3), PartNumber=1, CopySource="bucket/source", CopySourceRange="bytes=0-99999999"
        )
    assert code(caught) == ("InvalidArgument", 400)
