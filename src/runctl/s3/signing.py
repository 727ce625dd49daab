"""AWS Signature Version 4 of one request, as AWS publishes its rules. Pure."""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from urllib.parse import quote

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EMPTY = sha256(b"").hexdigest()
ALGORITHM = "AWS4-HMAC-SHA256"


class Keys:
    """What a request is signed with; ``expires`` in seconds since the epoch, infinite for keys that do not."""

    __slots__ = ("access", "expires", "secret", "token")

    def __init__(self, access: str, secret: str, token: str = "", expires: float = float("inf")) -> None:
        self.access = access
        self.secret = secret
        self.token = token
        self.expires = expires


def path_of(text: str) -> str:
    """A path as it stands in the request line and in what is signed; S3 wants it encoded once."""
    return quote(text.encode("utf-8", "surrogateescape"), safe="/-_.~")


def query_of(pairs: Sequence[tuple[str, str]]) -> str:
    """A query as it stands in the request line and in what is signed: encoded, then sorted."""
    coded = [(_part(name), _part(value)) for name, value in pairs]
    return "&".join("%s=%s" % pair for pair in sorted(coded))


def _part(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="-_.~")


def signed(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    payload: str,
    keys: Keys,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """The headers to send, ``headers`` among them (``host`` must be there), all of them covered by the signature.

    Args:
        method: GET, PUT, …
        path: as ``path_of`` gives it.
        query: as ``query_of`` gives it.
        headers: names in lower case.
        payload: SHA-256 of the body in hex.
        keys: whose signature.
        region: the one that answers.
        service: ``s3``, …
        now: seconds since the epoch, by the clock of the one who answers.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = dict(headers)
    sent["x-amz-date"] = stamp
    sent["x-amz-content-sha256"] = payload
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    names = sorted(sent)
    lines = "".join("%s:%s\n" % (name, " ".join(sent[name].split())) for name in names)
    canonical = "\n".join([method, path, query, lines, ";".join(names), payload])
    scope = "%s/%s/%s/aws4_request" % (stamp[:8], region, service)
    text = "\n".join([ALGORITHM, stamp, scope, sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + keys.secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), sha256).digest()
    signature = hmac.new(key, text.encode(), sha256).hexdigest()
    sent["authorization"] = "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        ALGORITHM,
        keys.access,
        scope,
        ";".join(names),
        signature,
    )
    return sent
