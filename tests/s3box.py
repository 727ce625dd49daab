"""S3 for a test: a server in a thread over a temporary folder, boto3 clients, and a signer of our own."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config

from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY, Standalone, serving

SESSION = (
    boto3.session.Session()
)  # one for all clients: the first one reads S3's model, which takes a tenth of a second


@dataclass
class Clock:
    """The server's clock: the real one, moved."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class S3Box:
    server: Standalone
    clock: Clock
    bucket: str = "bucket"
    made: list[Any] = field(default_factory=list)

    def content(self) -> list[Path]:
        """The files that hold what is in the bucket."""
        return list((self.server.service.store.root / "buckets" / self.bucket / "content").iterdir())

    def client(self, *, secret: str = SECRET_KEY, region: str = "us-east-1", **config: Any) -> Any:
        """A boto3 client that does not retry, so that a test sees what the server said."""
        config = {"s3": {"addressing_style": "path"}, "signature_version": "s3v4", **config}
        client = SESSION.client(
            "s3",
            endpoint_url=self.server.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=secret,
            region_name=region,
            config=Config(retries={"max_attempts": 0, "mode": "standard"}, max_pool_connections=40, **config),
        )
        self.made.append(client)
        return client

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """One request as it stands, on a connection of its own."""
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=20)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def signed(
        self,
        method: str,
        path: str,
        *,
        payload: str,
        query: str = "",
        region: str = "us-east-1",
        **extra: str,
    ) -> tuple[dict[str, str], Signer]:
        """Headers of a signed request, made here from the published rules and not by the server's code."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.clock()))
        headers = {
            "host": urlsplit(self.server.url).netloc,
            "x-amz-date": stamp,
            "x-amz-content-sha256": payload,
            **{name.replace("_", "-"): value for name, value in extra.items()},
        }
        names = sorted(headers)
        lines = "".join(f"{name}:{headers[name]}\n" for name in names)
        canonical = f"{method}\n{quote(path)}\n{query}\n{lines}\n{';'.join(names)}\n{payload}"
        scope = f"{stamp[:8]}/{region}/s3/aws4_request"
        key = f"AWS4{SECRET_KEY}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={signature}"
        )
        return headers, Signer(key, stamp, scope, signature)


@dataclass
class Signer:
    """Signs the chunks of an aws-chunked body, each with the signature before it."""

    key: bytes
    stamp: str
    scope: str
    previous: str

    def sign(self, kind: str, hashed: str) -> str:
        text = f"{kind}\n{self.stamp}\n{self.scope}\n{self.previous}\n{hashed}"
        self.previous = hmac.digest(self.key, text.encode(), "sha256").hex()
        return self.previous

    def chunk(self, data: bytes) -> bytes:
        empty = hashlib.sha256(b"").hexdigest()
        signature = self.sign("AWS4-HMAC-SHA256-PAYLOAD", f"{empty}\n{hashlib.sha256(data).hexdigest()}")
        return f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + (b"\r\n" if data else b"")

    def trailer(self, name: str, value: str) -> bytes:
        signature = self.sign(
            "AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()
        )
        return f"{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()


@contextmanager
def s3_in(folder: Path) -> Iterator[S3Box]:
    """A box over a folder, with a bucket in it."""
    clock = Clock()
    with serving(folder, now=clock) as server:
        box = S3Box(server, clock)
        try:
            yield box
        finally:
            for client in box.made:
                client.close()


def code(caught: Any) -> tuple[str, int]:
    """(code, HTTP status) of a ClientError."""
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
