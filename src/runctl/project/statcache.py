"""What was read before: for each file its state (size, times, inode) and digest, so that an unchanged one is not read.

"Racily clean", as git calls it: a file changed within one tick of the file system's clock of the moment it was read
may have the same state and other content. So a file whose state was younger than ``_YOUNG`` when it was read is not
remembered; it is read again the next time. The change time (ctime) is part of the state because a program can set
the modification time, but not that one.

One file for each project, ``$XDG_CACHE_HOME/runctl/stat/<hash of the root>``: a header line with the SHA-256 of what
follows, then ``marshal`` (five times as fast to read as JSON). Anything unexpected, another Python included, makes it
an empty cache. It is only ever replaced as a whole.
"""

from __future__ import annotations

import contextlib
import os
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from runctl.project.places import cache_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_YOUNG: Final = 2_000_000_000  # ns; the coarsest clock of a file system in use (FAT) ticks every 2 s
_HEADER: Final = f"runctl-stat 1 {sys.implementation.cache_tag}"


# size in bytes, modification time and change time in nanoseconds, inode, digest: flat, so that loading is one call
Known = tuple[int, int, int, int, str]


class StatCache:
    """Digests by path and state. ``file`` is where ``save`` puts it; None: nowhere."""

    def __init__(self, file: Path | None, known: Mapping[str, Known] | None = None) -> None:
        self.file = file
        self.known: Mapping[str, Known] = {} if known is None else known
        self._before: Mapping[str, Known] = self.known
        self._read_at = 0

    @classmethod
    def load(cls, root: Path, *, env: Mapping[str, str]) -> StatCache:
        """The cache of the project at ``root``; empty when there is none or it cannot be understood. Writes nothing."""
        name = sha256(os.fsencode(root)).hexdigest()[:32]
        file = cache_dir(env) / "stat" / name
        try:
            data = file.read_bytes()
        except OSError:
            return cls(file)
        return cls(file, _decoded(data))

    def with_known(self, learnt: Mapping[str, Known], *, read_at: int) -> StatCache:
        """A cache that knows exactly ``learnt``; ``read_at`` (ns since the epoch) is when the reading began."""
        update = StatCache(self.file, learnt)
        update._before = self.known
        update._read_at = read_at
        return update

    def _kept(self) -> dict[str, Known]:
        """What is old enough to be trusted the next time."""
        limit, before = self._read_at - _YOUNG, self._before
        return {
            path: known for path, known in self.known.items() if known[2] < limit or known == before.get(path)
        }

    def save(self) -> str:
        """Write the cache if it changed, all or nothing. Safe to repeat and to run side by side.

        Returns why it could not be written, or an empty text: a cache that cannot be kept costs time, not a run.
        """
        kept = self._kept()
        if self.file is None or kept == self._before:
            return ""
        part = self.file.with_name(f"{self.file.name}.{os.getpid()}.tmp")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                part.write_bytes(_encoded(kept))
                part.replace(self.file)
            except OSError:
                with contextlib.suppress(OSError):
                    part.unlink()
                raise
        except OSError as error:
            return f"{self.file}: {error.strerror}"
        self._before = kept
        return ""


def _encoded(known: dict[str, Known]) -> bytes:
    import marshal  # noqa: PLC0415 - beside its use: see _decoded

    body = marshal.dumps(known)
    return f"{_HEADER} {sha256(body).hexdigest()}\n".encode() + body


def _decoded(data: bytes) -> dict[str, Known]:
    """The inverse of ``_encoded``; empty for anything else. marshal sees only bytes that this program wrote whole."""
    import marshal  # noqa: PLC0415 - only for a snapshot

    header, _, body = data.partition(b"\n")
    if header != f"{_HEADER} {sha256(body).hexdigest()}".encode():
        return {}
    try:
        known = marshal.loads(body)  # noqa: S302 - its digest has been verified
    except (ValueError, EOFError, TypeError):
        return {}
    return known if isinstance(known, dict) else {}
