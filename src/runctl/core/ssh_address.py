"""The address of an SSH host, ``ssh://[user@]host[:port][?python=PATH&home=PATH]``, as a value."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from runctl.core.catalogue import known

SCHEME = "ssh://"
# Nothing that ssh could take for an option, and nothing that a shell or its configuration would read as more than a name.
_USER = r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._+-]*)@)?"
_HOST = r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]*))"
_WHERE = re.compile(_USER + _HOST + r"(?::(?P<port>[0-9]{1,5}))?\Z")
_MORE = ("python", "home")


class SshAddress(NamedTuple):
    """Where an SSH host is. Empty and zero leave it to the user's own SSH configuration.

    ``python`` is the interpreter that runs the agent, ``home`` where runctl keeps its files there.
    """

    host: str
    user: str = ""
    port: int = 0
    python: str = ""
    home: str = ""

    @property
    def where(self) -> str:
        """``user@host:port``, as far as it is given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{self.user}@{host}" * bool(self.user)
            + host * (not self.user)
            + f":{self.port}" * bool(self.port)
        )

    @property
    def url(self) -> str:
        """The whole address."""
        more = {name: getattr(self, name) for name in _MORE if getattr(self, name)}
        return SCHEME + self.where + ("?" + urlencode(more, safe="/~") if more else "")


def parse(text: str) -> SshAddress:
    """``text`` as an address; ``ssh://`` may be missing. Pure.

    Raises:
        UsageError: ``ssh-address`` for anything that is none.
    """
    where, _, query = text.removeprefix(SCHEME).partition("?")
    found = _WHERE.match(where.removesuffix("/"))
    if found is None:
        raise known("ssh-address", address=text, detail=f"{where!r} is no [user@]host[:port]")
    port = int(found["port"] or 0)
    if found["port"] and not 0 < port < 1 << 16:
        raise known("ssh-address", address=text, detail=f"there is no port {port}")
    more = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(more) - set(_MORE))
    if unknown:
        raise known(
            "ssh-address", address=text, detail=f"it may say {' and '.join(_MORE)}, not {unknown[0]!r}"
        )
    return SshAddress(found["six"] or found["host"], found["user"] or "", port, **more)
