"""Tree objects that this machine has seen, so that the next one, which differs little, can be read against it."""

from __future__ import annotations

import os
from hashlib import sha256

from runctl.agent.home import DIGEST, make_folder

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from runctl.agent.home import Home

MOST = 16  # kept; the ones used longest ago go


class Trees:
    """``trees/<tree digest>`` below the home: the SHA-256 of an object's bytes, a newline, the bytes."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def read(self, digest: str) -> bytes | None:
        """An object that was kept; None when it was not, or is not what it was."""
        path = os.path.join(self._home.trees, digest)
        try:
            with open(path, "rb") as file:
                name, _, data = file.read().partition(b"\n")
            os.utime(path)
        except OSError:
            return None
        return data if sha256(data).hexdigest().encode() == name else None

    def keep(self, digest: str, data: bytes) -> None:
        """Keep a verified object."""
        make_folder(self._home.trees)
        path = os.path.join(self._home.trees, digest)
        with open("%s.%d.tmp" % (path, os.getpid()), "wb") as file:
            file.write(sha256(data).hexdigest().encode() + b"\n" + data)
        os.replace(file.name, path)
        self._forget_old()

    def _forget_old(self) -> None:
        paths = [
            os.path.join(self._home.trees, name)
            for name in os.listdir(self._home.trees)
            if DIGEST.match(name)
        ]
        if len(paths) <= MOST:
            return
        try:
            for path in sorted(paths, key=os.path.getmtime)[:-MOST]:
                os.unlink(path)
        except FileNotFoundError:
            pass  # another command does the same
