"""What one sandbox remembers: its folder, its credentials, its clock."""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.sandbox.sigv4 import SignatureRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ACCOUNT = "123456789012"  # moto's default account, so that its resources and ours are of one account
REGION = "us-east-1"
RECORD = "sandbox.json"
ROLE_SECONDS = 6 * 3600  # as IMDS hands them out
RENEW_SECONDS = 5 * 60  # new ones are served so long before the old ones expire, as documented for IMDS


class RoleCredentials(NamedTuple):
    """Temporary credentials; ``expires`` and ``issued`` in seconds since the epoch. ``role`` is empty for none."""

    access_key: str
    secret: str
    token: str
    expires: float
    role: str
    issued: float = 0.0


class State:
    """One sandbox's memory. Nothing outside ``folder`` is written.

    Args:
        folder: made when it is missing, mode 0700.
        port: of the front on 127.0.0.1; 0 until it listens.
    """

    def __init__(self, folder: Path, *, name: str = "default", region: str = REGION) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.name = name
        self.region = region
        self.account = ACCOUNT
        self.port = 0
        self.access_key = "AKIA" + _letters(16)
        self.secret = secrets.token_urlsafe(30)
        self.control_token = secrets.token_urlsafe(24)
        self.skew = 0.0  # seconds that the sandbox's clock is ahead (weather)
        self.expired: set[str] = set()  # access keys that are refused as expired (weather)
        self.more_keys: Callable[[str, str], str | None] | None = None  # keys made through IAM and STS
        self._roles: dict[str, RoleCredentials] = {}
        self._instance_of: dict[str, str] = {}
        self._temporary: dict[str, RoleCredentials] = {}

    def path(self, *parts: str) -> Path:
        """A folder of this sandbox, made when it is missing."""
        made = self.folder.joinpath(*parts)
        made.mkdir(parents=True, exist_ok=True)
        return made

    @property
    def socket(self) -> Path:
        """The unix socket on which the front listens too, for relays into instances.

        Use ``short(path)`` to bind or connect: a socket's name holds 107 bytes.
        """
        return self.folder / "front.sock"

    @property
    def endpoint(self) -> str:
        """Where clients on this machine find every service."""
        return f"http://127.0.0.1:{self.port}"

    def now(self) -> float:
        """Seconds since the epoch by the sandbox's clock."""
        return time.time() + self.skew

    def role_credentials(
        self, instance_id: str, role: str = "", *, seconds: float = ROLE_SECONDS
    ) -> RoleCredentials:
        """The credentials IMDS serves to an instance: the same until shortly before they expire, then new ones."""
        now = self.now()
        held = self._roles.get(instance_id)
        if held is None or held.expires - now < min(RENEW_SECONDS, seconds / 2) or held.role != role:
            held = self.lend(role, seconds=seconds)
            self._roles[instance_id] = held
            self._instance_of[held.access_key] = instance_id
        return held

    def lend(self, role: str, *, seconds: float) -> RoleCredentials:
        """New temporary credentials, which sign until they expire."""
        now = self.now()
        made = RoleCredentials(
            "ASIA" + _letters(16),
            secrets.token_urlsafe(30),
            secrets.token_urlsafe(120),
            now + seconds,
            role,
            now,
        )
        self._temporary[made.access_key] = made
        return made

    def lent(self, access_key: str) -> RoleCredentials | None:
        """The temporary credentials with a key, expired ones included; None for other keys."""
        return self._temporary.get(access_key)

    def instance_of(self, access_key: str) -> str:
        """The instance an access key was served to; empty for other keys."""
        return self._instance_of.get(access_key, "")

    def forget_instance(self, instance_id: str) -> None:
        """Its credentials are worth nothing from now on. Safe to repeat."""
        self._roles.pop(instance_id, None)
        for key in [key for key, owner in self._instance_of.items() if owner == instance_id]:
            del self._instance_of[key]
            self._temporary.pop(key, None)

    def lookup(self, access_key: str, token: str) -> str | None:
        """The secret of a key, for ``sigv4.verify``; None when it is not known.

        Raises:
            SignatureRefused: ``ExpiredToken``; ``InvalidToken`` when the session token is not the key's.
        """
        if access_key in self.expired:
            raise _refused("ExpiredToken", "The security token included in the request is expired")
        if access_key == self.access_key:
            return self.secret
        held = self._temporary.get(access_key)
        if held is None:
            return self.more_keys(access_key, token) if self.more_keys else None
        if held.token != token:
            raise _refused("InvalidToken", "The security token included in the request is invalid")
        if held.expires <= self.now():
            raise _refused("ExpiredToken", "The security token included in the request is expired")
        return held.secret

    def reset(self) -> None:
        """Forget what was made since the start; the folder, the port and the static credentials stay."""
        self._roles.clear()
        self._instance_of.clear()
        self._temporary.clear()
        self.expired.clear()
        self.skew = 0.0

    def record(self) -> dict[str, Any]:
        """What a client needs to find and use this sandbox."""
        return {
            "v": 1,
            "name": self.name,
            "pid": os.getpid(),
            "pid_start": start_of(os.getpid()),
            "port": self.port,
            "endpoint": self.endpoint,
            "region": self.region,
            "account": self.account,
            "access_key": self.access_key,
            "secret": self.secret,
            "control_token": self.control_token,
        }

    def write(self, **more: Any) -> None:
        """Replace the record on disk, readable by the user alone."""
        target = self.folder / RECORD
        partial = target.with_suffix(".new")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({**self.record(), **more}, file)
        os.replace(partial, target)


def short(path: Path) -> tuple[str, int]:
    """A name of at most 107 bytes for a unix socket, and a descriptor to close after use (-1: none).

    Linux only where the path is too long for itself; elsewhere such a path raises OSError when it is bound.
    """
    if len(os.fsencode(path)) <= 100 or not os.path.isdir("/proc/self/fd"):
        return str(path), -1
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{folder}/{path.name}", folder


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a sandbox, whether it still lives or not; None when there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("v") == 1 else None


def lives(record: Mapping[str, Any]) -> bool:
    """Whether the process of a record still runs: the same pid with the same start, not a zombie."""
    started = start_of(int(record["pid"]))
    return bool(started) and started == record["pid_start"]


def start_of(pid: int) -> str:
    """What tells a process from a later one with its pid; empty when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return "" if os.path.isdir("/proc/self") else _start_elsewhere(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _start_elsewhere(pid: int) -> str:
    import subprocess  # noqa: PLC0415 - only on systems without /proc

    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    )
    return done.stdout.strip()


def _letters(count: int) -> str:
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(count))


def _refused(code: str, message: str) -> SignatureRefused:
    return SignatureRefused(code, message, status=400)
