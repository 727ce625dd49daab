"""The agent's requests to S3 are those of AWS's own client, signature for signature; over TLS with a checked name."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as AwsCredentials
from hypothesis import given
from hypothesis import strategies as st

from runctl.agent.credentials import Credentials
from runctl.agent.failure import AgentFailure
from runctl.agent.store import access_of, open_store
from runctl.s3 import signing
from runctl.s3.client import S3
from runctl.s3.patience import Patience

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
}
NOW = 1_700_000_000.0
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "POST", "DELETE"]),
    key=TEXT.filter(
        lambda text: not text.startswith("/") and all(part not in ("", ".", "..") for part in text.split("/"))
    ),
    query=st.dictionaries(TEXT, TEXT | st.just(""), max_size=4),
    token=st.sampled_from(["", "Fwo+token/=="]),
    region=st.sampled_from(["us-east-1", "eu-west-3", "cn-north-1"]),
)
def test_the_signature_is_the_one_that_botocore_makes(
    method: str, key: str, query: dict[str, str], token: str, region: str
) -> None:
    path = "/" + signing.path_of(key)
    coded = signing.query_of(list(query.items()))
    host = f"bucket.s3.{region}.amazonaws.com"
    payload = signing.EMPTY
    ours = signing.signed(
        method,
        path,
        coded,
        {"host": host, "range": "bytes=0-9"},
        payload=payload,
        keys=signing.Keys(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], token),
        region=region,
        service="s3",
        now=NOW,
    )
    url = f"https://{host}{path}" + (f"?{coded}" if coded else "")
    theirs = AWSRequest(method=method, url=url, headers={"range": "bytes=0-9"})
    credentials = AwsCredentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], token or None)
    signer = S3SigV4Auth(credentials, "s3", region)
    with pytest.MonkeyPatch.context() as patch:
        now = dt.datetime.fromtimestamp(NOW, dt.UTC)
        patch.setattr("botocore.auth.get_current_datetime", lambda **_: now)
        signer.add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]


@pytest.mark.parametrize(
    ("bucket", "region", "env", "wanted"),
    [
        ("b-1", "eu-west-3", {}, ("https", "b-1.s3.eu-west-3.amazonaws.com", 443, "/team/k%20%C3%A9")),
        ("b-1", "cn-north-1", {}, ("https", "b-1.s3.cn-north-1.amazonaws.com.cn", 443, "/team/k%20%C3%A9")),
        ("b.1", "us-east-1", {}, ("https", "s3.us-east-1.amazonaws.com", 443, "/b.1/team/k%20%C3%A9")),
        (
            "b-1",
            "",
            {"AWS_REGION": "us-west-2"},
            ("https", "b-1.s3.us-west-2.amazonaws.com", 443, "/team/k%20%C3%A9"),
        ),
        ("b-1", "", {"AWS_ENDPOINT_URL": "http://h:8/x/"}, ("http", "h", 8, "/x/b-1/team/k%20%C3%A9")),
        (
            "b-1",
            "",
            {"AWS_ENDPOINT_URL": "http://h:8", "AWS_ENDPOINT_URL_S3": "https://s3.h"},
            ("https", "s3.h", 443, "/b-1/team/k%20%C3%A9"),
        ),
    ],
)
def test_requests_go_where_amazons_client_would_send_them(
    bucket: str, region: str, env: dict[str, str], wanted: tuple[str, str, int, str]
) -> None:
    given = {**KEYS, **env}
    address, path = S3(bucket, "/team/", region, keyring=Credentials(given), env=given)._target("k é")
    assert ("https" if address.secure else "http", address.host, address.port, path) == wanted


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"t"')
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a server with a certificate of its own for 127.0.0.1, and that certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = dt.datetime.now(dt.UTC)
    own = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(own.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    server = HTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", cert
    server.shutdown()
    server.server_close()


def test_a_certificate_is_checked(secure: tuple[str, Path]) -> None:
    url, cert = secure

    def asked(url: str, **env: str) -> bytes:
        given = {**KEYS, "AWS_ENDPOINT_URL": url, **env}
        store = open_store(access_of("s3://b"), env=given, patience=Patience(attempts=1))
        try:
            return store.get("k")
        finally:
            store.close()

    assert asked(url, AWS_CA_BUNDLE=str(cert)) == b"ok"
    with pytest.raises(AgentFailure) as stranger:
        asked(url)
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.value.facts["detail"]
    with pytest.raises(AgentFailure) as misnamed:
        asked(url.replace("127.0.0.1", "localhost"), AWS_CA_BUNDLE=str(cert))
    assert "CERTIFICATE_VERIFY_FAILED" in misnamed.value.facts["detail"]
