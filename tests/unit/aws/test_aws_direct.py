"""S3 without boto3: whose credentials, where it asks, what failures mean; the same as boto3 would find."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import boto3
import pytest

from runctl.aws import direct
from runctl.aws.calls import AwsCalls
from runctl.core.cancel import CancelToken
from runctl.core.errors import AccessError, UnreachableError
from runctl.s3.failure import KnownFailure
from runctl.s3.joining import joined
from runctl.s3.patience import Passing
from runctl.s3.proxy import passes_by, proxy_at
from runctl.s3.refusals import Refusal
from runctl.stores.s3 import S3Store
from runctl.testing.clock import FakeClock
from runctl.testing.surroundings import surroundings

CONFIG = """
[default]
region = eu-west-1
output = json
[profile plain]
region = us-west-2
[profile role]
region = us-west-2
role_arn = arn:aws:iam::123456789012:role/x
source_profile = default
[profile sso]
sso_session = company
[profile local]
endpoint_url = http://127.0.0.1:1
"""
CREDENTIALS = """
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = s1
[plain]
aws_access_key_id = AKIAPLAIN
aws_secret_access_key = s2
aws_session_token = t2
[role]
aws_access_key_id = AKIAROLE
aws_secret_access_key = s3
[local]
aws_access_key_id = AKIALOCAL
aws_secret_access_key = s4
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS)
    for name in [name for name in __import__("os").environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return {"HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("profile", "env"),
    [
        ("", {}),
        ("plain", {}),
        ("", {"AWS_PROFILE": "plain"}),
        ("plain", {"AWS_PROFILE": "default"}),
        ("", {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}),
        ("", {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_PROFILE": "plain"}),
        ("", {"AWS_DEFAULT_REGION": "ap-south-1"}),
    ],
)
def test_what_is_found_plainly_is_what_boto3_finds(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch, profile: str, env: dict[str, str]
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = direct.plain(profile, {**home, **env})
    session = boto3.Session(profile_name=profile or None)
    theirs = session.get_credentials()
    assert found is not None
    assert theirs is not None
    assert found.region == session.region_name
    assert found.keys is not None
    ours = (found.keys.access, found.keys.secret, found.keys.token or None)
    assert ours == (theirs.access_key, theirs.secret_key, theirs.token)


@pytest.mark.parametrize(
    ("profile", "env"),
    [("role", {}), ("sso", {}), ("local", {}), ("", {"AWS_USE_FIPS_ENDPOINT": "true"})],
)
def test_what_is_not_plain_is_left_to_boto3(home: dict[str, str], profile: str, env: dict[str, str]) -> None:
    assert direct.plain(profile, {**home, **env}) is None


def test_a_file_that_cannot_be_read_is_left_to_boto3(home: dict[str, str]) -> None:
    Path(home["HOME"], ".aws", "config").write_text("not a configuration")
    assert direct.plain("", home) is None


def test_the_endpoint_of_a_profile_is_asked(home: dict[str, str]) -> None:
    store = S3Store(
        "s3://bucket", surroundings(clock=FakeClock(), aws__profile="local", aws__region="us-east-1")
    )
    with pytest.raises(UnreachableError) as caught:
        store.get("k", cancel=CancelToken())
    assert caught.value.code == "aws-unreachable"
    assert "127.0.0.1:1" in str(caught.value.context)


def test_nobody_who_answers_is_told_as_that(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    store = S3Store("s3://bucket", surroundings(clock=FakeClock(), aws__region="us-east-1"))
    with pytest.raises(UnreachableError) as caught:
        store.put("k", b"", cancel=CancelToken())
    assert caught.value.code == "aws-unreachable"
    assert caught.value.transient


def test_a_certificate_nobody_vouches_for_is_told_as_that(home: dict[str, str]) -> None:
    calls = AwsCalls.of(surroundings(aws__region="us-east-1"))
    broken = Passing("store-unreachable", host="h", detail="d")
    broken.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    assert direct.worded(broken, calls, "s3:GetObject").code == "aws-tls"
    name = Passing("store-unreachable", host="h", detail="d")
    name.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert direct.worded(name, calls, "s3:GetObject").code == "aws-unreachable"


@pytest.mark.parametrize(
    ("status", "code", "passing"),
    [
        (503, "SlowDown", True),
        (500, "InternalError", True),
        (400, "RequestTimeout", True),
        (400, "BadDigest", True),
        (403, "AccessDenied", False),
        (403, "InvalidAccessKeyId", False),
        (400, "ExpiredToken", False),
        (404, "NoSuchBucket", False),
        (404, "NoSuchKey", False),
    ],
)
def test_what_may_pass_is_tried_again(status: int, code: str, *, passing: bool) -> None:
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    failure = direct.refused(Refusal(status, {}, body), host="h", url="u", key="k", action="GET")
    assert isinstance(failure, Passing) is passing
    assert isinstance(failure, KnownFailure)


def test_no_credentials_at_all(home: dict[str, str]) -> None:
    Path(home["HOME"], ".aws", "credentials").unlink()
    store = S3Store("s3://bucket", surroundings(aws__region="us-east-1"))
    with pytest.raises(AccessError) as caught:
        store.get("k", cancel=CancelToken())
    assert caught.value.code == "aws-no-credentials"


def test_proxies() -> None:
    found = proxy_at("http://me:p%40ss@proxy.example:3128")
    assert (found.host, found.port) == ("proxy.example", 3128)
    assert found.headers == {"proxy-authorization": "Basic bWU6cEBzcw=="}
    assert proxy_at("proxy.example:80").headers == {}
    env = {"NO_PROXY": "localhost, .internal,example.org"}
    for host, passes in (
        ("localhost", True),
        ("a.internal", True),
        ("x.example.org", True),
        ("example.com", False),
    ):
        assert passes_by(host, env) is passes
    assert passes_by("anything", {"no_proxy": "*"})


def test_the_checksum_of_a_whole_is_made_of_its_stretches() -> None:
    import base64
    import itertools
    import random
    import zlib

    chance = random.Random(1)
    for _ in range(30):
        data = chance.randbytes(chance.randrange(1, 60_000))
        cut = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(5))})
        parts = [(zlib.crc32(data[a:b]), b - a) for a, b in itertools.pairwise(cut)]
        assert joined(parts) == base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def test_through_a_proxy(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole address is asked of it, with the name it wants; S3's host is never connected to."""
    import threading

    asked: list[Any] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\netag: "x"\r\n\r\nhi')

    thread = threading.Thread(target=answer)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid")
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pw@127.0.0.1:{listening.getsockname()[1]}")
    store = S3Store("s3://bucket", surroundings(aws__region="us-east-1"))
    assert store.get("k", cancel=CancelToken()) == b"hi"
    thread.join()
    listening.close()
    store.close()
    assert asked[0].startswith(b"GET http://nowhere.invalid/bucket/k HTTP/1.1\r\n")
    assert b"proxy-authorization: Basic" in asked[0].lower().replace(b"basic", b"Basic")
