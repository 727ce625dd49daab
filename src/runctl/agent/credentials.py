"""Whose signature requests carry: keys in the environment, or those of the instance's role, renewed in time."""

from __future__ import annotations

import calendar
import json
import os
import threading
import time

from runctl.agent.failure import AgentFailure
from runctl.agent.metadata import Metadata
from runctl.s3.signing import Keys

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = "meta-data/iam/security-credentials/"
EARLY = 300.0  # seconds before their end; the service has new ones at least that long before
AGAIN = 10.0  # seconds between two tries to renew keys that still work


class Credentials:
    """Gives keys that work now. Safe to use from several threads."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._metadata = Metadata(env)
        self._no_role = env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        self._lock = threading.Lock()
        self._held: Keys | None = None
        self._ask_at = 0.0

    def keys(self) -> Keys:
        """Keys to sign with now.

        Raises:
            AgentFailure: ``store-no-credentials``: no keys in the environment and no role on the instance.
        """
        fixed = self._env.get("AWS_ACCESS_KEY_ID")
        if fixed:
            secret, token = self._env.get("AWS_SECRET_ACCESS_KEY", ""), self._env.get("AWS_SESSION_TOKEN", "")
            return Keys(fixed, secret, token)
        with self._lock:
            held = self._held
            now = time.time()
            if held is None or (held.expires - now < EARLY and now >= self._ask_at):
                self._ask_at = now + AGAIN
                self._held = held = self._renewed(held, now)
            return held

    def refused(self, keys: Keys) -> None:
        """The service does not take ``keys`` any more: ask for others next time."""
        with self._lock:
            if self._held is not None and self._held.access == keys.access:
                self._held = None

    def close(self) -> None:
        """Close what is open and idle. Safe to repeat."""
        self._metadata.close()

    def _renewed(self, held: Keys | None, now: float) -> Keys:
        try:
            return self._of_role()
        except AgentFailure:
            if held is not None and held.expires > now:
                return held
            raise

    def _of_role(self) -> Keys:
        if self._no_role:
            raise AgentFailure(
                "store-no-credentials", detail="AWS_EC2_METADATA_DISABLED forbids to ask for a role"
            )
        try:
            role = (self._metadata.get(ROLES) or "").split("\n")[0].strip()
            text = self._metadata.get(ROLES + role) if role else None
        except AgentFailure as error:
            raise AgentFailure("store-no-credentials", detail=error.facts["detail"]) from error
        if not text:
            raise AgentFailure("store-no-credentials", detail="the instance has no role")
        try:
            told = json.loads(text)
            ends = float(calendar.timegm(time.strptime(told["Expiration"], "%Y-%m-%dT%H:%M:%SZ")))
            return Keys(told["AccessKeyId"], told["SecretAccessKey"], told["Token"], ends)
        except (KeyError, TypeError, ValueError) as error:
            detail = "the role %s: %s" % (role, text[:200].replace("\n", " "))
            raise AgentFailure("store-no-credentials", detail=detail) from error
