"""What this computer knows of the trees that it brought to machines, so that the next one is told by what differs.

``$XDG_CACHE_HOME/runctl/synced/<hash of the project>/<tree digest>``; the oldest go.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from runctl.project import sealed
from runctl.project.places import cache_dir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_KIND: Final = "synced 1"
_KEPT: Final = 8  # trees of one project: as many machines may be at different ones
_MACHINES: Final = 64  # of which it is known what they had last

Told = tuple[list[dict[str, Any]], dict[str, list[str]]]  # entries, and the pieces of large files


class SyncedTrees:
    """The trees of the project at ``root``. Reading creates nothing."""

    def __init__(self, root: str, *, env: Mapping[str, str]) -> None:
        name = sha256(root.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._folder = cache_dir(env) / "synced" / name
        self._machines = self._folder.with_name(f"{name}.machines")

    def read(self, digest: str) -> Told | None:
        """The entries of a tree and the pieces of its large files; None when it is not known."""
        found: Told | None = sealed.read(self._folder / digest, _KIND) if digest else None
        return found

    def keep(
        self, digest: str, entries: Sequence[Mapping[str, Any]], recipes: Mapping[str, Sequence[str]]
    ) -> None:
        """Remember a tree. What cannot be written is not remembered: that costs time, not a sync."""
        with contextlib.suppress(OSError):
            values = ([dict(entry) for entry in entries], {name: list(recipes[name]) for name in recipes})
            sealed.write(self._folder / digest, _KIND, values)
            _keep_newest(self._folder, _KEPT)

    def last(self, machine: str) -> str:
        """The tree that ``machine`` had when we last heard of it; empty when that is not known."""
        try:
            return self._noted(machine).read_text("ascii")
        except (OSError, ValueError):
            return ""

    def note(self, machine: str, digest: str) -> None:
        """Remember that ``machine`` has a tree, as ``keep`` does."""
        if self.last(machine) == digest:
            return
        with contextlib.suppress(OSError):
            self._machines.mkdir(parents=True, exist_ok=True)
            part = self._noted(machine).with_suffix(f".{os.getpid()}")
            part.write_text(digest, "ascii")
            part.replace(self._noted(machine))
            _keep_newest(self._machines, _MACHINES)

    def _noted(self, machine: str) -> Path:
        return self._machines / sha256(machine.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def forget(self, digest: str) -> None:
        """Know nothing of a tree: the machine turned out to lack something of it."""
        with contextlib.suppress(OSError):
            (self._folder / digest).unlink(missing_ok=True)


def _keep_newest(folder: Path, most: int) -> None:
    """Delete the oldest files but ``most``. Raises ``OSError``."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    for file in files[:-most]:
        os.unlink(file)
