"""What the agent needs of AWS: the metadata service, signatures, and plain HTTP; the standard library only."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

METADATA = "http://169.254.169.254"
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
RENEW_BEFORE = 120  # seconds before credentials expire
HTTP_SECONDS = 20.0


class HttpFailed(OSError):
    """A request was answered with an error status."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}: {body[:300].decode('utf-8', 'replace')}")
        self.status = status


async def http(
    method: str, url: str, *, headers: dict[str, str] | None = None, body: bytes | Path = b""
) -> bytes:
    """One request on a connection of its own; a body may be a file, which is streamed. The answer's body.

    Raises:
        HttpFailed: any status but 2xx.
        OSError: no connection, or none of what came was HTTP. TimeoutError is one of them.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    length = os.stat(body).st_size if isinstance(body, Path) else len(body)
    fields = {"Host": parts.netloc, "Connection": "close", "Content-Length": str(length), **(headers or {})}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    async with asyncio.timeout(HTTP_SECONDS + length / 1e6):
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if secure else 80), ssl=secure or None
        )
        try:
            writer.write("\r\n".join(head).encode("latin-1"))
            if isinstance(body, Path):
                with body.open("rb") as file:
                    while piece := file.read(256 * 1024):
                        writer.write(piece)
                        await writer.drain()
            else:
                writer.write(body)
            return await _answer(reader)
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int((await reader.readline()).split(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
        elif "content-length" in fields:
            body = await reader.readexactly(int(fields["content-length"]))
        else:
            body = await reader.read()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
        raise ConnectionError(f"no whole HTTP answer: {error}") from error
    if not 200 <= status < 300:
        raise HttpFailed(status, body)
    return body


@dataclass
class Identity:
    """Who this instance is, as its metadata service says; credentials are fetched again before they expire."""

    metadata: str = field(
        default_factory=lambda: os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")
    )
    instance: str = ""
    region: str = ""
    address: str = ""
    key: str = ""
    secret: str = ""
    token: str = ""
    expires: float = 0.0

    async def _get(self, path: str) -> str:
        asked = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        session = (await http("PUT", f"{self.metadata}/latest/api/token", headers=asked)).decode()
        return (
            await http("GET", f"{self.metadata}/latest/{path}", headers={"X-aws-ec2-metadata-token": session})
        ).decode()

    async def learn(self) -> None:
        """Ask who we are. Raises OSError."""
        self.instance = await self._get("meta-data/instance-id")
        self.region = await self._get("meta-data/placement/region")
        try:
            self.address = await self._get("meta-data/local-ipv4")
        except HttpFailed:
            self.address = ""
        await self.renew()

    async def renew(self) -> None:
        """Fetch credentials when those we have will not last. Raises OSError."""
        if self.expires - time.time() > RENEW_BEFORE:
            return
        role = (await self._get("meta-data/iam/security-credentials/")).splitlines()[0]
        given = json.loads(await self._get(f"meta-data/iam/security-credentials/{role}"))
        self.key, self.secret, self.token = given["AccessKeyId"], given["SecretAccessKey"], given["Token"]
        self.expires = _epoch(given["Expiration"])

    def sign(
        self,
        method: str,
        url: str,
        *,
        service: str,
        digest: str = EMPTY_DIGEST,
        headers: dict[str, str] | None = None,
    ) -> dict[str, str]:
        """The headers of a request signed with SigV4; `digest` is the SHA-256 of its body, in hex."""
        parts = urlsplit(url)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = {
            "host": parts.netloc,
            "x-amz-content-sha256": digest,
            "x-amz-date": stamp,
            "x-amz-security-token": self.token,
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        names = ";".join(sorted(signed))
        path = parts.path if service == "s3" else quote(parts.path, safe="/-_.~")
        query = "&".join(
            sorted(f"{k}={v}" for k, _, v in (p.partition("=") for p in parts.query.split("&")) if k)
        )
        canonical = [
            method,
            path or "/",
            query,
            *(f"{name}:{signed[name].strip()}" for name in sorted(signed)),
            "",
            names,
            digest,
        ]
        scope = f"{stamp[:8]}/{self.region}/{service}/aws4_request"
        hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        key = b"AWS4" + self.secret.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}".encode(), "sha256").hex()
        signed["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return {name: value for name, value in signed.items() if name != "host"}

    async def call(
        self, method: str, url: str, *, service: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> bytes:
        """One signed request. Raises OSError."""
        await self.renew()
        digest = hashlib.sha256(body).hexdigest()
        return await http(
            method,
            url,
            body=body,
            headers=self.sign(method, url, service=service, digest=digest, headers=headers),
        )

    async def upload(self, endpoint: str, bucket: str, key: str, file: Path) -> None:
        """Put a file into S3, path style. Raises OSError."""
        await self.renew()
        digest = hashlib.sha256()
        with file.open("rb") as opened:
            while piece := opened.read(1024 * 1024):
                digest.update(piece)
        url = f"{endpoint}/{bucket}/{quote(key, safe='/-_.~')}"
        await http(
            "PUT", url, body=file, headers=self.sign("PUT", url, service="s3", digest=digest.hexdigest())
        )


def _epoch(stamp: str) -> float:
    from calendar import timegm  # noqa: PLC0415 - datetime would cost the agent's start more

    return float(timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")))
