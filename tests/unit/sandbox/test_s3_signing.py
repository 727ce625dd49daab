"""Signatures: who is let in, who is not, and what they are told."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.s3box import S3Box, code


def told(body: bytes) -> str:
    """The code of an error document."""
    return body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


def path_of(box: S3Box, url: str) -> str:
    return url.removeprefix(box.server.url)


def test_a_wrong_secret_is_refused(s3box: S3Box, s3: Any) -> None:
    with pytest.raises(ClientError) as caught:
        s3box.client(secret="wrong").put_object(Bucket="bucket", Key="k", Body=b"x")
    assert code(caught) == ("SignatureDoesNotMatch", 403)
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_an_unknown_key_and_a_strange_token_are_refused(s3box: S3Box, s3: Any) -> None:
    headers, _ = s3box.signed("GET", "/bucket/k", payload="UNSIGNED-PAYLOAD")
    headers["authorization"] = headers["authorization"].replace("AKIA", "AKIB")
    assert told(s3box.send("GET", "/bucket/k", headers=headers).body) == "InvalidAccessKeyId"
    headers, _ = s3box.signed("GET", "/bucket/k", payload="UNSIGNED-PAYLOAD", x_amz_security_token="token")
    assert s3box.send("GET", "/bucket/k", headers=headers).status == 403


def test_nobody_is_let_in_without_a_signature(s3box: S3Box, s3: Any) -> None:
    answer = s3box.send("GET", "/bucket/k")
    assert (answer.status, told(answer.body)) == (403, "AccessDenied")
    answer = s3box.send("GET", "/bucket/k", headers={"Authorization": "AWS a:b"})  # signature version 2
    assert (answer.status, told(answer.body)) == (400, "InvalidRequest")
    answer = s3box.send("GET", "/bucket/k", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=a"})
    assert (answer.status, told(answer.body)) == (400, "AuthorizationHeaderMalformed")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"method": "PUT"}, "SignatureDoesNotMatch"),
        ({"path": "/bucket/other"}, "SignatureDoesNotMatch"),
        ({"path": "/bucket/k?tagging"}, "SignatureDoesNotMatch"),
        ({"header": ("x-amz-meta-a", "2")}, "SignatureDoesNotMatch"),
        ({"header": ("x-amz-meta-b", "1")}, "AccessDenied"),
        ({"header": ("x-amz-content-sha256", "0" * 64)}, "SignatureDoesNotMatch"),
    ],
)
def test_what_was_signed_cannot_be_changed(
    s3box: S3Box, s3: Any, change: dict[str, Any], wanted: str
) -> None:
    headers, _ = s3box.signed("GET", "/bucket/k", payload="UNSIGNED-PAYLOAD", x_amz_meta_a="1")
    if "header" in change:
        headers[change["header"][0]] = change["header"][1]
    answer = s3box.send(change.get("method", "GET"), change.get("path", "/bucket/k"), headers=headers)
    assert (answer.status, told(answer.body)) == (403, wanted)


def test_a_body_that_is_not_the_signed_one_is_refused(s3box: S3Box, s3: Any) -> None:
    headers, _ = s3box.signed("PUT", "/bucket/k", payload="0" * 64)
    answer = s3box.send("PUT", "/bucket/k", b"body", headers)
    assert (answer.status, told(answer.body)) == (400, "XAmzContentSHA256Mismatch")
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_clocks_may_differ_by_a_quarter_of_an_hour(s3box: S3Box, s3: Any) -> None:
    for ahead, allowed in ((890, True), (-890, True), (910, False), (-910, False)):
        s3box.clock.ahead = ahead
        if allowed:
            assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
        else:
            with pytest.raises(ClientError) as caught:
                s3.list_objects_v2(Bucket="bucket")
            assert code(caught) == ("RequestTimeTooSkewed", 403)
    s3box.clock.ahead = 0


def test_presigned_get_put_and_their_end(s3box: S3Box, s3: Any) -> None:
    where = {"Bucket": "bucket", "Key": "a b+c/ü"}
    url = path_of(s3box, s3.generate_presigned_url("put_object", Params=where, ExpiresIn=60))
    assert (
        s3box.send("PUT", url, b"data", {"Content-Type": "application/x-www-form-urlencoded"}).status == 200
    )
    url = path_of(s3box, s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60))
    assert s3box.send("GET", url).body == b"data"
    for was, now in (
        ("X-Amz-Expires=60", "X-Amz-Expires=600"),
        ("a%20b", "a%20c"),
        ("X-Amz-Date=2", "X-Amz-Date=3"),
    ):
        assert was in url
        answer = s3box.send("GET", url.replace(was, now))
        assert answer.status in (400, 403)
        assert told(answer.body) in ("SignatureDoesNotMatch", "AuthorizationQueryParametersError")
    assert told(s3box.send("DELETE", url).body) == "SignatureDoesNotMatch"
    assert told(s3box.send("GET", url + "&tagging").body) == "SignatureDoesNotMatch"
    s3box.clock.ahead = 61
    answer = s3box.send("GET", url)
    assert (answer.status, told(answer.body)) == (403, "AccessDenied")
    assert b"Request has expired" in answer.body
    assert b"<ServerTime>" in answer.body


def test_presigned_urls_of_version_2_where_they_are_the_default(s3box: S3Box, s3: Any) -> None:
    old = s3box.client(signature_version="s3-query")
    where = {"Bucket": "bucket", "Key": "a b+c/ü"}
    s3.put_object(**where, Body=b"data", ContentType="text/plain")
    url = path_of(s3box, old.generate_presigned_url("get_object", Params=where, ExpiresIn=60))
    assert "AWSAccessKeyId=" in url
    assert s3box.send("GET", url).body == b"data"
    for answer in (
        s3box.send("GET", url.replace("a%20b", "a%20c")),
        s3box.send("GET", url.replace("Expires=", "Expires=1")),
        s3box.send("GET", url + "&versionId=x"),
        s3box.send("DELETE", url),
        s3box.send("GET", url, headers={"x-amz-meta-more": "1"}),
    ):
        assert (answer.status, told(answer.body)) == (403, "SignatureDoesNotMatch")
    assert told(s3box.send("GET", url.replace("AKIA", "AKIB")).body) == "InvalidAccessKeyId"
    asked = {**where, "ResponseContentType": "text/x-odd"}
    named = path_of(s3box, old.generate_presigned_url("get_object", Params=asked))
    assert s3box.send("GET", named).headers["content-type"] == "text/x-odd"
    put = path_of(s3box, old.generate_presigned_url("put_object", Params={**where, "Metadata": {"m": "1"}}))
    assert s3box.send("PUT", put, b"new").status == 200
    assert s3.get_object(**where)["Body"].read() == b"new"
    s3box.clock.ahead = 61
    answer = s3box.send("GET", url)
    assert (answer.status, told(answer.body), b"has expired" in answer.body) == (403, "AccessDenied", True)
    s3box.clock.ahead = 0
    far = {"LocationConstraint": "eu-central-1"}  # a region from after 2014: version 4 only
    s3box.client(region="eu-central-1").create_bucket(Bucket="far", CreateBucketConfiguration=far)
    url = path_of(s3box, old.generate_presigned_url("get_object", Params={"Bucket": "far", "Key": "k"}))
    assert told(s3box.send("GET", url).body) == "InvalidRequest"


def test_a_presigned_url_lives_a_week_at_most(s3box: S3Box, s3: Any) -> None:
    where = {"Bucket": "bucket", "Key": "k"}
    url = path_of(s3box, s3.generate_presigned_url("get_object", Params=where, ExpiresIn=604_801))
    answer = s3box.send("GET", url)
    assert (answer.status, told(answer.body)) == (400, "AuthorizationQueryParametersError")


def test_a_bucket_answers_in_its_region(s3box: S3Box, s3: Any) -> None:
    west = s3box.client(region="eu-west-1")
    west.create_bucket(Bucket="west", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert west.get_bucket_location(Bucket="west")["LocationConstraint"] == "eu-west-1"
    headers, _ = s3box.signed("GET", "/west/k", payload="UNSIGNED-PAYLOAD")
    answer = s3box.send("GET", "/west/k", headers=headers)
    assert (answer.status, told(answer.body)) == (400, "AuthorizationHeaderMalformed")
    assert b"<Region>eu-west-1</Region>" in answer.body
    assert answer.headers["x-amz-bucket-region"] == "eu-west-1"
    headers, _ = s3box.signed("GET", "/k", payload="UNSIGNED-PAYLOAD", host="west.s3.us-east-1.amazonaws.com")
    answer = s3box.send("GET", "/k", headers=headers)
    assert (answer.status, told(answer.body)) == (301, "PermanentRedirect")
    assert b"<Endpoint>west.s3.eu-west-1.amazonaws.com</Endpoint>" in answer.body
    # boto3 reads the region out of the refusal and asks again by itself
    assert s3.list_objects_v2(Bucket="west")["KeyCount"] == 0


def test_virtual_host_style(s3box: S3Box, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a/b", Body=b"x")
    for host in ("bucket.localhost:1", "bucket.s3.localhost", "bucket.s3.us-east-1.amazonaws.com"):
        headers, _ = s3box.signed("GET", "/a/b", payload="UNSIGNED-PAYLOAD", host=host)
        assert s3box.send("GET", "/a/b", headers=headers).body == b"x"


def test_dates_of_a_presigned_url_are_the_servers(s3box: S3Box, s3: Any) -> None:
    s3box.clock.ahead = -3600
    url = path_of(s3box, s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"}))
    answer = s3box.send("GET", url)
    assert (answer.status, b"not valid yet" in answer.body) == (403, True)
