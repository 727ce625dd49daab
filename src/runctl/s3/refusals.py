"""What S3's refusals mean. The codes are those of its API reference; an answer to HEAD has none, only a status."""

from __future__ import annotations

import re

from runctl.s3.failure import KnownFailure
from runctl.s3.patience import Passing

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

# Codes that may go away by themselves although their status is not 5xx.
PASSING = frozenset(
    (
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InvalidAccessKeyId",  # the keys of a role made a moment ago
        "OperationAborted",
        "RequestTimeout",
        "XAmzContentSHA256Mismatch",
    )
)
EXPIRED = frozenset(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"))
SKEWED = frozenset(("RequestTimeTooSkewed", "RequestExpired"))
ELSEWHERE = frozenset(("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect"))


class Refusal(Exception):
    """An answer that is no success, as S3 said it."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        text = body.decode("utf-8", "replace")
        self.status = status
        self.headers = headers
        self.code = _element(text, "Code") or {
            404: "NoSuchKey",
            403: "AccessDenied",
            412: "PreconditionFailed",
        }.get(status, "")
        self.message = _element(text, "Message") or text[:200].replace("\n", " ")
        self.server_time = _element(text, "ServerTime")
        self.region = headers.get("x-amz-bucket-region") or _element(text, "Region")
        super().__init__(self.code)

    @property
    def words(self) -> str:
        """What S3 said, on one line."""
        return "%s: %s" % (self.code or "status %d" % self.status, self.message)


def _element(text: str, name: str) -> str:
    found = re.search("<%s>([^<]*)</%s>" % (name, name), text)
    return found.group(1) if found else ""


def failure(refusal: Refusal, *, host: str, url: str, key: str, action: str) -> KnownFailure:
    """The refusal as a failure of the agent; ``Passing`` when trying again may help. Pure."""
    detail = refusal.words
    if refusal.code == "NoSuchBucket":
        return KnownFailure("store-no-bucket", url=url, detail=detail)
    if refusal.status == 404:
        return KnownFailure("store-missing", url=url, key=key, detail=detail)
    if refusal.status >= 500 or refusal.status in (408, 429) or refusal.code in PASSING | EXPIRED | SKEWED:
        return Passing("store-unreachable", host=host, detail=detail)
    if refusal.status in (401, 403):
        return KnownFailure("store-denied", url=url, key=key, action=action, detail=detail)
    return KnownFailure("store-refused", url=url, key=key, action=action, detail=detail)
