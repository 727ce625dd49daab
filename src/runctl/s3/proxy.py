"""A way through an HTTP proxy, as the environment says it."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping


class Proxy:
    """Where a proxy listens, and the headers it wants."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self.host = host
        self.port = port
        self.headers = headers


def proxy_at(url: str) -> Proxy:
    """The proxy of ``http://user:password@host:port``; the scheme may be missing. Pure."""
    parts = urlsplit(url if "://" in url else "http://" + url)
    headers = {}
    if parts.username is not None:
        pair = "%s:%s" % (unquote(parts.username), unquote(parts.password or ""))
        headers["proxy-authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname or "", parts.port or 80, headers)


def passes_by(host: str, env: Mapping[str, str]) -> bool:
    """Whether ``NO_PROXY`` exempts the host: by name, by a domain it is in, or all by ``*``. Pure."""
    for word in (env.get("no_proxy") or env.get("NO_PROXY") or "").split(","):
        name = word.strip().lstrip(".").lower()
        if name == "*" or (name and (host.lower() == name or host.lower().endswith("." + name))):
            return True
    return False
