"""AWS Signature Version 4, the server's side: signed headers, presigned URLs, and the seed of signed chunks."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from runctl.sandbox.http import Request

__all__ = [
    "EMPTY_SHA256",
    "UNSIGNED",
    "Identity",
    "SignatureRefused",
    "Unsigned",
    "scope_of",
    "unknown_key",
    "unsupported",
    "verify",
]

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
SKEW_SECONDS = 15 * 60  # as AWS documents for every service
LONGEST_PRESIGNED = 7 * 24 * 3600  # as AWS documents for X-Amz-Expires
_UNRESERVED = "-_.~"
_PLAIN = re.compile(r"[A-Za-z0-9/_.~-]*")  # a path that is the same encoded
_PAYLOAD = re.compile(r"[0-9a-f]{64}")

Lookup = Callable[[str, str], "str | None"]


class SignatureRefused(Exception):
    """A request whose signature is not accepted.

    `code` is S3's error code, `status` its HTTP status, `facts` the further elements of S3's error document.
    A `Lookup` raises it too, for example with ExpiredToken.
    """

    def __init__(self, code: str, message: str, *, status: int = 403, **facts: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.facts = facts


class Unsigned(SignatureRefused):
    """The request carries no signature at all."""

    def __init__(self) -> None:
        super().__init__("AccessDenied", "Access Denied")


@dataclass(slots=True)
class Identity:
    """Who signed a request, and what later chunks of its body are checked with."""

    access_key: str
    token: str
    region: str
    service: str
    stamp: str  # the signing time as YYYYMMDDTHHMMSSZ
    scope: str
    payload: str  # x-amz-content-sha256 as signed: a digest, UNSIGNED-PAYLOAD or STREAMING-…
    presigned: bool
    signature: str = field(repr=False)
    key: bytes = field(repr=False)

    def sign(self, text: str) -> str:
        """The hexadecimal signature of a string with the request's key (chunks and trailers)."""
        return hmac.digest(self.key, text.encode(), "sha256").hex()


class _Claim(NamedTuple):
    """What a request says about its own signature."""

    access_key: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str
    stamp: str
    token: str
    presigned: bool
    expires: int = 0

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def scope_of(request: Request) -> tuple[str, str, str] | None:
    """(access key, region, service) a request claims, unchecked; None when it carries no signature.

    Works on header-signed and presigned requests. Never raises.
    """
    authorization = request.headers.get("authorization")
    parts: Sequence[str] = ()
    if authorization.startswith(ALGORITHM):
        parts = _authorization(authorization)[0]
    elif "X-Amz-Credential=" in request.query:
        parts = dict(_query_pairs(request.query)).get("X-Amz-Credential", "").rsplit("/", 4)
    return (parts[0], parts[2], parts[3]) if len(parts) == 5 else None


def verify(request: Request, lookup: Lookup, now: float, *, body: bytes | None = None) -> Identity:
    """Checks a request's signature and says whose it is; `now` is in seconds since the epoch.

    `lookup(access_key, session_token)` gives the secret key, or None when the key is unknown. For S3 the body is
    what `x-amz-content-sha256` says (the caller compares it while reading); for other services pass `body`.
    Raises Unsigned without any signature, else SignatureRefused. Changes nothing: safe to repeat.
    """
    claim = _claim(request)
    _check_time(claim, now)
    secret = lookup(claim.access_key, claim.token)
    if secret is None:
        raise unknown_key(claim.access_key)
    payload = _payload(request, claim, body)
    canonical = _canonical_request(request, claim, payload)
    to_sign = f"{ALGORITHM}\n{claim.stamp}\n{claim.scope}\n{hashlib.sha256(canonical).hexdigest()}"
    key = _signing_key(secret, claim.date, claim.region, claim.service)
    identity = Identity(
        claim.access_key, claim.token, claim.region, claim.service, claim.stamp, claim.scope,
        payload, claim.presigned, claim.signature, key,
    )  # fmt: skip
    if not hmac.compare_digest(identity.sign(to_sign), claim.signature):
        raise SignatureRefused(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
            AWSAccessKeyId=claim.access_key,
            StringToSign=to_sign,
            SignatureProvided=claim.signature,
            CanonicalRequest=canonical.decode("utf-8", "replace"),
        )
    return identity


def unknown_key(access_key: str) -> SignatureRefused:
    """The refusal of a key that nobody has."""
    return SignatureRefused(
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        AWSAccessKeyId=access_key,
    )


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _query_pairs(query: str) -> list[tuple[str, str]]:
    pairs = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((unquote(name.replace("+", " ")), unquote(value.replace("+", " "))))
    return pairs


def _claim(request: Request) -> _Claim:
    authorization = request.headers.get("authorization")
    if authorization.startswith(ALGORITHM):
        return _header_claim(request, authorization)
    if authorization or "AWSAccessKeyId=" in request.query:
        raise unsupported()
    if "X-Amz-" in request.query and (
        "X-Amz-Algorithm=" in request.query or "X-Amz-Signature=" in request.query
    ):
        return _query_claim(request)
    raise Unsigned


def unsupported() -> SignatureRefused:
    """The refusal of a request that is signed in a way that is not taken here."""
    return SignatureRefused(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        status=400,
    )


def _header_claim(request: Request, authorization: str) -> _Claim:
    scope, signed, signature = _authorization(authorization)
    if len(scope) != 5 or scope[4] != "aws4_request" or not signed:
        raise _malformed(
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    stamp = request.headers.get("x-amz-date")
    if not _is_stamp(stamp):
        raise SignatureRefused(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    if not stamp.startswith(scope[1]):
        raise _malformed(f'Invalid credential date "{scope[1]}". This date is not the same as X-Amz-Date.')
    _check_signed(request, signed, presigned=False)
    return _Claim(
        scope[0], scope[1], scope[2], scope[3], signed, signature, stamp,
        request.headers.get("x-amz-security-token"), presigned=False,
    )  # fmt: skip


def _authorization(header: str) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """(the credential's parts, the signed headers, the signature) of an Authorization header."""
    before, _, rest = header.partition("Signature=")
    signature, _, after = rest.partition(",")
    return *_credential(before + after), signature.strip()


@lru_cache(maxsize=256)
def _credential(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an Authorization header says beside the signature: the same from one request of a client to the next."""
    fields = {}
    for part in text[len(ALGORITHM) :].split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    signed = fields.get("SignedHeaders", "")
    return tuple(fields.get("Credential", "").rsplit("/", 4)), tuple(signed.split(";") if signed else ())


def _query_claim(request: Request) -> _Claim:
    fields = dict(_query_pairs(request.query))
    needed = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    if any(not fields.get(f"X-Amz-{name}") for name in needed):
        raise _bad_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
            "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    if fields["X-Amz-Algorithm"] != ALGORITHM:
        raise _bad_query('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"')
    scope = fields["X-Amz-Credential"].rsplit("/", 4)
    stamp = fields["X-Amz-Date"]
    if (
        len(scope) != 5
        or scope[4] != "aws4_request"
        or not _is_stamp(stamp)
        or not stamp.startswith(scope[1])
    ):
        raise _bad_query(
            'Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    expires = fields["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit()):
        raise _bad_query("X-Amz-Expires should be a number")
    if int(expires) > LONGEST_PRESIGNED:
        raise _bad_query(
            "X-Amz-Expires must be less than a week (in seconds) that is, the given X-Amz-Expires must be less than 604800 seconds"
        )
    signed = tuple(fields["X-Amz-SignedHeaders"].split(";"))
    _check_signed(request, signed, presigned=True)
    return _Claim(
        scope[0], scope[1], scope[2], scope[3], signed, fields["X-Amz-Signature"], stamp,
        fields.get("X-Amz-Security-Token", ""), presigned=True, expires=int(expires),
    )  # fmt: skip


def _check_signed(request: Request, signed: tuple[str, ...], *, presigned: bool) -> None:
    """The Host and every x-amz-* header must be covered by the signature."""
    loose = [name for name in request.headers if name.startswith("x-amz-") and name not in signed]
    if (
        presigned and "x-amz-content-sha256" in loose
    ):  # a client may add it; the URL's payload is unsigned anyway
        loose.remove("x-amz-content-sha256")
    if "host" not in signed:
        loose.append("host")
    if loose:
        raise SignatureRefused(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(loose),
        )


def _is_stamp(stamp: str) -> bool:
    return _seconds(stamp) is not None


@lru_cache(maxsize=64)
def _seconds(stamp: str) -> int | None:
    if not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        return None
    try:
        return calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _check_time(claim: _Claim, now: float) -> None:
    made = _seconds(claim.stamp) or 0
    if claim.presigned:
        if now > made + claim.expires:
            raise SignatureRefused(
                "AccessDenied", "Request has expired", Expires=_iso(made + claim.expires),
                ServerTime=_iso(now),
            )  # fmt: skip
        if made > now + SKEW_SECONDS:
            raise SignatureRefused("AccessDenied", "Request is not valid yet", ServerTime=_iso(now))
    elif abs(now - made) > SKEW_SECONDS:
        raise SignatureRefused(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            RequestTime=claim.stamp, ServerTime=_iso(now), MaxAllowedSkewMilliseconds=str(SKEW_SECONDS * 1000),
        )  # fmt: skip


def _payload(request: Request, claim: _Claim, body: bytes | None) -> str:
    if body is not None:
        return hashlib.sha256(body).hexdigest()
    said = request.headers.get("x-amz-content-sha256")
    if claim.presigned:
        return said if "x-amz-content-sha256" in claim.signed and said else UNSIGNED
    if not said:
        raise SignatureRefused(
            "InvalidRequest", "Missing required header for this request: x-amz-content-sha256", status=400
        )
    if said != UNSIGNED and not said.startswith("STREAMING-") and not _PAYLOAD.fullmatch(said):
        raise SignatureRefused(
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or a valid sha256 value.",
            status=400, ArgumentName="x-amz-content-sha256", ArgumentValue=said,
        )  # fmt: skip
    return said


def _canonical_request(request: Request, claim: _Claim, payload: str) -> bytes:
    path = request.path
    if not _PLAIN.fullmatch(path):
        path = unquote(path, errors="surrogateescape")
        path = quote(path, safe="/" + _UNRESERVED, errors="surrogateescape")
    if claim.service != "s3":  # only S3 signs the path encoded once
        path = quote(path, safe="/" + _UNRESERVED)
    pairs = sorted(
        (quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED))
        for name, value in _query_pairs(request.query)
        if not (claim.presigned and name == "X-Amz-Signature")
    )
    query = "&".join(f"{name}={value}" for name, value in pairs)
    lines = []
    for name in claim.signed:
        values = [" ".join(value.split()) for value in request.headers.all(name)]
        lines.append(f"{name}:{','.join(values)}\n")
    signed = ";".join(claim.signed)
    text = f"{request.method}\n{path or '/'}\n{query}\n"
    return text.encode() + "".join(lines).encode("latin-1") + f"\n{signed}\n{payload}".encode()


def _malformed(why: str, **facts: str) -> SignatureRefused:
    return SignatureRefused(
        "AuthorizationHeaderMalformed", f"The authorization header is malformed; {why}", status=400, **facts
    )


def _bad_query(message: str) -> SignatureRefused:
    return SignatureRefused("AuthorizationQueryParametersError", message, status=400)
