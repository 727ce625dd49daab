"""Buckets: names, regions, listing in pages, stored configurations, lifecycle."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from tests.s3box import S3Box, code

from runctl.sandbox.s3.lifecycle import DAY, due
from runctl.sandbox.s3.listing import page

B = {"Bucket": "bucket"}


def test_create_head_list_delete(s3: Any) -> None:
    assert s3.create_bucket(**B)["Location"] == "/bucket"  # us-east-1 says yes again
    s3.create_bucket(Bucket="another.one")
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["another.one", "bucket"]
    pages = s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1})
    assert [b["Name"] for found in pages for b in found["Buckets"]] == ["another.one", "bucket"]
    assert s3.head_bucket(**B)["BucketRegion"] == "us-east-1"
    s3.put_object(**B, Key="k", Body=b"")
    with pytest.raises(ClientError) as caught:
        s3.delete_bucket(**B)
    assert code(caught) == ("BucketNotEmpty", 409)
    s3.delete_object(**B, Key="k")
    s3.delete_bucket(**B)
    for call in (s3.list_objects_v2, s3.delete_bucket):
        with pytest.raises(ClientError) as caught:
            call(**B)
        assert code(caught) == ("NoSuchBucket", 404)
    with pytest.raises(ClientError) as caught:
        s3.head_bucket(**B)
    assert code(caught)[1] == 404


def test_regions_and_names(s3box: S3Box, s3: Any) -> None:
    west = s3box.client(region="eu-west-1")
    with pytest.raises(ClientError) as caught:
        west.create_bucket(Bucket="west")
    assert code(caught) == ("IllegalLocationConstraintException", 400)
    there = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    west.create_bucket(Bucket="west", **there)
    with pytest.raises(ClientError) as caught:
        west.create_bucket(Bucket="west", **there)
    assert code(caught) == ("BucketAlreadyOwnedByYou", 409)
    for name in ("ab", "Upper", "a..b", "10.0.0.1", "xn--a", "-ab"):
        headers, _ = s3box.signed("PUT", f"/{name}", payload="UNSIGNED-PAYLOAD")
        answer = s3box.send("PUT", f"/{name}", headers=headers)
        assert (answer.status, b"<Code>InvalidBucketName</Code>" in answer.body) == (400, True)


def test_listing_with_prefix_delimiter_and_pages(s3: Any) -> None:
    keys = sorted(["a", "b/1", "b/2", "b/c/3", "d ü", "e/", "e/f"])
    for key in keys:
        s3.put_object(**B, Key=key, Body=b"")
    for size in (1, 2, 1000):
        pages = s3.get_paginator("list_objects_v2").paginate(**B, PaginationConfig={"PageSize": size})
        assert [o["Key"] for found in pages for o in found.get("Contents", [])] == keys
        for name in ("list_objects", "list_objects_v2"):
            pages = list(
                s3.get_paginator(name).paginate(**B, Delimiter="/", PaginationConfig={"PageSize": size})
            )
            assert [o["Key"] for found in pages for o in found.get("Contents", [])] == ["a", "d ü"]
            prefixes = [p["Prefix"] for found in pages for p in found.get("CommonPrefixes", [])]
            assert prefixes == ["b/", "e/"]
    found = s3.list_objects_v2(**B, Prefix="b/", Delimiter="/")
    assert ([o["Key"] for o in found["Contents"]], found["KeyCount"]) == (["b/1", "b/2"], 3)
    assert [o["Key"] for o in s3.list_objects_v2(**B, StartAfter="d")["Contents"]] == ["d ü", "e/", "e/f"]
    assert s3.list_objects_v2(**B, MaxKeys=0)["IsTruncated"] is False
    with pytest.raises(ClientError) as caught:
        s3.list_objects_v2(**B, ContinuationToken="?")
    assert code(caught) == ("InvalidArgument", 400)


KEYS = st.sets(st.text("ab/", min_size=1, max_size=5), max_size=12).map(sorted)


@given(KEYS, st.text("ab/", max_size=3), st.sampled_from(["", "/", "a/"]), st.integers(1, 4))
def test_pages_add_up_to_the_whole(keys: list[str], prefix: str, delimiter: str, limit: int) -> None:
    wanted: list[str] = []
    for key in keys:
        if key.startswith(prefix):
            rest = key[len(prefix) :]
            name = (
                prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else key
            )
            wanted += [] if name in wanted else [name]
    found: list[str] = []
    after, more = "", True
    while more:
        got = page(keys, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        found += [name for name, _ in got.items]
        more = got.more
        assert len(got.items) == limit or not more
        after = found[-1] if found else ""
    assert found == wanted


def test_what_is_configured_is_kept(s3: Any) -> None:
    absent = {
        "get_bucket_policy": "NoSuchBucketPolicy",
        "get_bucket_cors": "NoSuchCORSConfiguration",
        "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
        "get_bucket_tagging": "NoSuchTagSet",
    }
    for name, wanted in absent.items():
        with pytest.raises(ClientError) as caught:
            getattr(s3, name)(**B)
        assert code(caught) == (wanted, 404)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::bucket/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(**B, Policy=policy)
    assert s3.get_bucket_policy(**B)["Policy"] == policy
    with pytest.raises(ClientError) as caught:
        s3.put_bucket_policy(**B, Policy="{}")
    assert code(caught) == ("MalformedPolicy", 400)
    s3.delete_bucket_policy(**B)
    tags = [{"Key": "a", "Value": "b"}]
    s3.put_bucket_tagging(**B, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(**B)["TagSet"] == tags
    block = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": False,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": False,
    }
    assert all(s3.get_public_access_block(**B)["PublicAccessBlockConfiguration"].values())
    s3.put_public_access_block(**B, PublicAccessBlockConfiguration=block)
    assert s3.get_public_access_block(**B)["PublicAccessBlockConfiguration"] == block
    s3.delete_public_access_block(**B)
    with pytest.raises(ClientError) as caught:
        s3.get_public_access_block(**B)
    assert code(caught) == ("NoSuchPublicAccessBlockConfiguration", 404)
    rules = s3.get_bucket_encryption(**B)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert "Status" not in s3.get_bucket_versioning(**B)
    assert s3.get_bucket_acl(**B)["Grants"][0]["Permission"] == "FULL_CONTROL"
    with pytest.raises(ClientError) as caught:
        s3.get_bucket_website(**B)
    assert code(caught) == ("NotImplemented", 501)


def lifecycle(s3: Any, **rule: Any) -> None:
    whole = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, **rule}
    s3.put_bucket_lifecycle_configuration(**B, LifecycleConfiguration={"Rules": [whole]})


def test_a_sweep_applies_the_rules_when_they_are_due(s3box: S3Box, s3: Any) -> None:
    lifecycle(s3, Expiration={"Days": 2}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})
    assert s3.get_bucket_lifecycle_configuration(**B)["Rules"][0]["Expiration"] == {"Days": 2}
    for key in ("tmp/a", "kept"):
        s3.put_object(**B, Key=key, Body=b"")
    s3.create_multipart_upload(**B, Key="tmp/up")
    now = time.time()
    assert s3box.server.sweep(now) == 0
    assert s3box.server.sweep(due(now, 1)) == 1
    assert "Uploads" not in s3.list_multipart_uploads(**B)
    assert s3box.server.sweep(due(now, 2) - 1) == 0
    assert s3box.server.sweep(due(now, 2) + DAY) == 1
    assert [o["Key"] for o in s3.list_objects_v2(**B)["Contents"]] == ["kept"]


def test_rules_are_applied_as_time_goes_by(s3box: S3Box, s3: Any) -> None:
    lifecycle(s3, Expiration={"Days": 1})
    s3.put_object(**B, Key="tmp/a", Body=b"")
    s3box.clock.ahead = 3 * DAY
    limit = time.monotonic() + 10
    status = 200
    while status != 404 and time.monotonic() < limit:
        headers, _ = s3box.signed("HEAD", "/bucket/tmp/a", payload="UNSIGNED-PAYLOAD")
        status = s3box.send("HEAD", "/bucket/tmp/a", headers=headers).status
    assert status == 404


def test_a_sweep_of_versions(s3box: S3Box, s3: Any) -> None:
    s3.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
    lifecycle(
        s3,
        Expiration={"ExpiredObjectDeleteMarker": True},
        NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 1},
    )
    for _ in range(3):
        s3.put_object(**B, Key="tmp/a", Body=b"")
    s3.delete_object(**B, Key="tmp/b")
    assert s3box.server.sweep(time.time()) == 1  # the lone marker
    assert s3box.server.sweep(time.time() + 3 * DAY) == 1
    assert len(s3.list_object_versions(**B)["Versions"]) == 2


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"Expiration": {"Days": 0}}, "InvalidArgument"),
        ({}, "InvalidRequest"),
        ({"Status": "On", "Expiration": {"Days": 1}}, "MalformedXML"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(s3: Any, rule: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ClientError) as caught:
        lifecycle(s3, **rule)
    assert code(caught)[0] == wanted


def test_documents_are_checked(s3box: S3Box, s3: Any) -> None:
    for body in (b"<Tagging", b"<!DOCTYPE a [<!ENTITY b 'c'>]><Tagging/>", b"<Other/>"):
        headers, _ = s3box.signed("PUT", "/bucket", payload="UNSIGNED-PAYLOAD", query="tagging=")
        answer = s3box.send("PUT", "/bucket?tagging=", body, headers)
        assert (answer.status, b"<Code>MalformedXML</Code>" in answer.body) == (400, True)
    headers, _ = s3box.signed("POST", "/bucket", payload="UNSIGNED-PAYLOAD", query="delete=")
    answer = s3box.send("POST", "/bucket?delete=", b"<Delete><Object><Key>a</Key></Object></Delete>", headers)
    assert (answer.status, b"Content-MD5 OR x-amz-checksum" in answer.body) == (400, True)
