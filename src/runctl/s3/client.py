"""Requests to S3: one bucket, one prefix, signed, patient with a bad link. Reading is here; the rest is in ``objects``."""

from __future__ import annotations

import copy
import os
import time
from urllib.parse import urlsplit

from runctl.s3 import signing
from runctl.s3.checksum import Crc32
from runctl.s3.exchange import Address, Answer, Pool
from runctl.s3.failure import KnownFailure
from runctl.s3.moments import epoch
from runctl.s3.patience import Passing, Patience
from runctl.s3.refusals import ELSEWHERE, EXPIRED, SKEWED, Refusal, failure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Protocol

    from typing_extensions import Self

    class Keyring(Protocol):
        """Gives the keys that requests are signed with. Safe to use from several threads."""

        def keys(self) -> signing.Keys:
            """Keys that work now."""

        def refused(self, keys: signing.Keys) -> None:
            """The service does not take these any more."""

        def close(self) -> None:
            """Close what is open and idle."""

    Query = Sequence[tuple[str, str]]
    BodyMaker = Callable[[], Iterable[bytes]]

CHUNK = 1 << 18  # bytes read from the wire at once
ADAPTATIONS = 3  # times one request is put differently: other region, other keys, corrected clock


class S3:
    """Objects of ``bucket`` whose keys begin with ``prefix``; every key given or returned is relative to that.

    Where requests go: ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``, path style; else Amazon's host of the bucket
    (path style when its name has dots, which no certificate covers). Safe to use from several threads; everything
    may be repeated.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        region: str,
        *,
        keyring: Keyring,
        patience: Patience | None = None,
        env: Mapping[str, str] = os.environ,
        refused: Callable[..., KnownFailure] = failure,
    ) -> None:
        """``refused`` makes of S3's refusal what is raised; see ``refusals.failure``."""
        self.url = "s3://" + "/".join(part for part in (bucket, prefix.strip("/")) if part)
        self.patience = patience or Patience()
        self._bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._refused = refused
        self._learnt = _Learnt(
            region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        )
        self._endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
        self._credentials = keyring
        self._pool = Pool(env=env)

    @property
    def region(self) -> str:
        """The region that is asked; it follows the bucket when S3 says that it is elsewhere."""
        return self._learnt.region

    def view(self, patience: Patience) -> Self:
        """The same objects and connections with another patience. What is going on there can be interrupted by itself."""
        found = copy.copy(self)
        found.patience = patience
        return found

    def interrupt(self) -> None:
        """Break the requests that are going on: they fail at once, with ``Passing``."""
        self._pool.interrupt(self)

    def close(self) -> None:
        """Close what is open and idle. Safe to repeat."""
        self._pool.close()
        self._credentials.close()

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """The object's bytes, or those from ``start`` on, at most ``length``; fewer when it ends before.

        Raises:
            KnownFailure: ``store-missing``, ``store-denied``, ``store-unreachable`` when patience is at its end.
        """
        parts: list[bytes] = []
        self.pour(key, parts.append, start=start, length=length)
        return b"".join(parts)

    def pour(
        self,
        key: str,
        take: Callable[[bytes], Any],
        *,
        start: int = 0,
        length: int | None = None,
        etag: str = "",
    ) -> None:
        """Hand the bytes of an object to ``take`` in order; a cut is mended by asking for the rest of the same object.

        Raises:
            KnownFailure: as ``get``; ``store-changed`` when the object was replaced meanwhile.
        """
        if length == 0:
            return
        stream = _Stream(self, key, take, start=start, length=length, etag=etag)
        self.patience.persist(stream.go_on, lambda: stream.done)

    def send(
        self,
        method: str,
        key: str | None,
        query: Query = (),
        *,
        headers: Mapping[str, str] = {},
        body: BodyMaker | None = None,
        size: int = 0,
        digest: str = signing.EMPTY,
    ) -> Answer:
        """One request and its good answer, put differently at once where S3 says how; ``key`` None: the bucket itself.

        Raises:
            Passing: trying again may help.
            KnownFailure: it will not.
            Refusal: a condition in ``headers`` does not hold (412), or there is nothing in that range (416).
        """
        for tried in range(ADAPTATIONS + 1):
            keys = self._credentials.keys()
            address, path = self._target(key)
            target = path + ("?" + signing.query_of(query) if query else "")
            sent = {**headers, "host": address.header}
            if body is not None or method in ("PUT", "POST"):
                sent["content-length"] = str(size)
            sent = signing.signed(
                method,
                path,
                signing.query_of(query),
                sent,
                payload=digest,
                keys=keys,
                region=self._learnt.region,
                service="s3",
                now=time.time() + self._learnt.ahead,
            )
            answer = self._pool.send(
                address, method, target, sent, None if body is None else body(), owner=self
            )
            if answer.status < 300:
                return answer
            with answer:
                refusal = Refusal(answer.status, answer.headers, answer.whole())
            if refusal.status in (412, 416):
                raise refusal
            if tried == ADAPTATIONS or not self._adapt(refusal, keys):
                raise self._refused(refusal, host=address.header, url=self.url, key=key or "", action=method)
        raise AssertionError("unreachable")

    def _target(self, key: str | None) -> tuple[Address, str]:
        path = "" if key is None else signing.path_of(self.prefix + checked(key))
        if self._endpoint:
            url = urlsplit(self._endpoint)
            address = Address(url.hostname or "", secure=url.scheme == "https", port=url.port)
            return address, "%s/%s/%s" % (url.path.rstrip("/"), signing.path_of(self._bucket), path)
        host = "s3.%s.amazonaws.com%s" % (
            self._learnt.region,
            ".cn" if self._learnt.region.startswith("cn-") else "",
        )
        if "." in self._bucket:
            return Address(host), "/%s/%s" % (self._bucket, path)
        return Address("%s.%s" % (self._bucket, host)), "/" + path

    def _adapt(self, refusal: Refusal, keys: signing.Keys) -> bool:
        """Whether the request can be put differently so that it has a chance."""
        if refusal.code in EXPIRED:
            self._credentials.refused(keys)
            return True
        if refusal.code in SKEWED and refusal.server_time:
            self._learnt.ahead = epoch(refusal.server_time) - time.time()
            return True
        if (refusal.code in ELSEWHERE or refusal.status in (301, 307)) and refusal.region not in (
            "",
            self._learnt.region,
        ):
            self._learnt.region = refusal.region
            return True
        return False


class _Learnt:
    """What S3 has taught us: where the bucket is, and how many seconds its clock is ahead of ours."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.ahead = 0.0


class _Stream:
    """One read that survives cuts."""

    def __init__(
        self, s3: S3, key: str, take: Callable[[bytes], Any], *, start: int, length: int | None, etag: str
    ) -> None:
        self._s3, self._key, self._take = s3, key, take
        self._start, self._length, self._etag = start, length, etag
        self._crc32 = ""  # what S3 says of the whole object; it does not say it of a stretch
        self._found = Crc32()
        self.done = 0

    def go_on(self) -> None:
        """Read from where it stands to the end."""
        first = self._start + self.done
        headers = {"if-match": '"%s"' % self._etag} if self._etag else {}
        if first or self._length is not None:
            last = "" if self._length is None else str(self._start + self._length - 1)
            headers["range"] = "bytes=%d-%s" % (first, last)
        else:
            headers["x-amz-checksum-mode"] = "ENABLED"
        try:
            with self._s3.send("GET", self._key, headers=headers) as answer:
                self._etag = self._etag or answer.headers.get("etag", "").strip('"')
                if answer.headers.get("x-amz-checksum-type") != "COMPOSITE":
                    self._crc32 = answer.headers.get("x-amz-checksum-crc32", self._crc32)
                self._read(answer, int(answer.headers["content-length"]))
            self._check()
        except Refusal as refusal:
            if refusal.status == 412:
                raise KnownFailure("store-changed", url=self._s3.url, key=self._key) from refusal
            # 416: nothing begins there; the object ends before ``start``, or an empty one was asked for by range

    def _read(self, answer: Answer, left: int) -> None:
        while left:
            self._s3.patience.check()
            data = answer.read(min(left, CHUNK))
            if not data:
                detail = "the answer ended %d bytes early" % left
                raise Passing("store-unreachable", host=self._s3.url, detail=detail)
            self._take(data)
            self._found.update(data)
            self.done += len(data)
            left -= len(data)

    def _check(self) -> None:
        found = self._found.coded()
        if self._crc32 and found != self._crc32:
            detail = "the CRC-32 of what arrived is %s, not %s" % (found, self._crc32)
            raise KnownFailure("store-corrupt", url=self._s3.url, key=self._key, detail=detail)


def checked(key: str) -> str:
    """``key``, if it names something below the prefix and nothing else; raises ``agent-request``."""
    if not key or key.startswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
        raise KnownFailure("agent-request", detail="not a key of the store: %r" % (key,))
    return key
