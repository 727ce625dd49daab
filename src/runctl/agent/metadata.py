"""What an EC2 instance is told about itself: the instance metadata service, version 2 (a session token first)."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

from runctl.agent.failure import AgentFailure
from runctl.s3.exchange import Address, Pool
from runctl.s3.patience import Passing, Patience

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS = "http://169.254.169.254"  # link-local, the same on every instance
TOKEN_SECONDS = 21600  # the longest the service allows
WAIT = 2.0  # seconds; it answers from the same host, in a millisecond
ATTEMPTS = 3


class Metadata:
    """Asks the metadata service. Safe to use from several threads."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        """``AWS_EC2_METADATA_SERVICE_ENDPOINT`` in ``env`` names another place, as for every AWS client."""
        url = urlsplit(env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ADDRESS)
        self._address = Address(url.hostname or "", secure=url.scheme == "https", port=url.port)
        self._pool = Pool(connect_seconds=WAIT, silence_seconds=WAIT, env={})  # never through a proxy
        self._token = ""
        self._renew_at = 0.0

    def get(self, path: str) -> str | None:
        """The text at ``path`` below ``/latest/``; None when there is no such thing now.

        Raises:
            AgentFailure: ``store-unreachable``: this is no EC2 instance, or the service is off.
        """
        return Patience(ATTEMPTS).persist(lambda: self._get(path))

    def close(self) -> None:
        """Close what is open and idle. Safe to repeat."""
        self._pool.close()

    def _get(self, path: str) -> str | None:
        headers = {"x-aws-ec2-metadata-token": self._session()}
        with self._pool.send(self._address, "GET", "/latest/" + path, headers) as answer:
            text = answer.whole().decode("utf-8", "replace")
        if answer.status == 404:
            return None
        if answer.status == 401:
            self._token = ""
        if answer.status != 200:
            raise Passing("store-unreachable", host=self._address.header, detail="status %d" % answer.status)
        return text

    def _session(self) -> str:
        if not self._token or time.monotonic() >= self._renew_at:
            headers = {"x-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS), "content-length": "0"}
            with self._pool.send(self._address, "PUT", "/latest/api/token", headers) as answer:
                text = answer.whole().decode("ascii", "replace")
            if answer.status != 200:
                detail = "no session token: status %d" % answer.status
                raise AgentFailure("store-unreachable", host=self._address.header, detail=detail)
            self._token, self._renew_at = text, time.monotonic() + TOKEN_SECONDS / 2.0
        return self._token
