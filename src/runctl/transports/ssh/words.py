"""What OpenSSH says when it fails, as errors of the catalogue: a table, most telling words first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from runctl.core.errors import RunctlError

_TABLE = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|differs from the key for the IP|REVOKED HOST KEY",
        "ssh-host-key-changed",
    ),
    (r"Host key verification failed|No \S+ host key is known for", "ssh-host-key-unknown"),
    (
        r"Permission denied \(|Too many authentication failures|No supported authentication|Access denied",
        "ssh-denied",
    ),
    (r"Could not resolve hostname|Name or service not known|nodename nor servname", "ssh-name-unknown"),
    (r"Connection refused", "ssh-refused"),
    (r"timed out|No route to host|unreachable|Host is down", "ssh-timeout"),
    (
        r"kex_exchange_identification|banner exchange|Connection (?:reset|closed) by|closed by remote host",
        "ssh-closed",
    ),
)
_NOISE = re.compile(r"^(?:@+.*|\s*|mux_client_\S+:.*|ControlSocket .*|Warning: Permanently added.*)$")
_KNOWN_AS = re.compile(r"ssh-keygen -f \S+ -R [\"']?([^\"'\s]+)|Host key for (\S+) has changed")


def translated(said: str, host: str, login: str, *, connected: bool) -> RunctlError:
    """The error for what ``ssh`` said before it gave up. Pure.

    ``login`` is what a person types behind ``ssh``; ``connected``: a command had begun already.
    """
    detail = _shown(said)
    if connected:
        return known("ssh-cut", host=host, login=login, detail=detail or "it ended without a word")
    for pattern, code in _TABLE:
        found = re.search(pattern, said)
        if found:
            names = _KNOWN_AS.search(said)
            known_as = next(filter(None, names.groups())) if names else host
            return known(code, host=host, login=login, detail=detail, known_as=known_as)
    return known("ssh-failed", host=host, login=login, detail=detail or "it ended without a word")


def _shown(said: str) -> str:
    """The lines that tell something, the last ones, on one."""
    lines = [each.strip() for each in said.splitlines() if not _NOISE.match(each)]
    return " ".join(lines[-3:])[-500:]
