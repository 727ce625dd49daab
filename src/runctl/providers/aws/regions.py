"""The regions in which this computer has bought machines: listings look there, also when no setting names them any more.

``--region`` names a region for one command; what was bought there goes on costing when the next command has another.
One small file a region, so that several processes never lose each other's.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

REMEMBER = timedelta(days=1)  # after the last purchase, and longer while there is a machine


class RegionsUsed:
    """Names of regions in a folder, each with the time of the last purchase there.

    Args:
        folder: made at the first purchase.
        now: the wall time.
        read_only: forget nothing (a dry run).
    """

    def __init__(self, folder: Path, *, now: Callable[[], datetime], read_only: bool) -> None:
        self._folder = folder
        self._now = now
        self._read_only = read_only

    def note(self, region: str) -> None:
        """Write that a machine is about to be bought in ``region``. Raises ``state-unwritable``."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._folder / region).write_text(self._now().isoformat())
        except OSError as error:
            path = str(self._folder / region)
            raise known("state-unwritable", path=path, detail=error.strerror or str(error)) from error

    def names(self) -> tuple[str, ...]:
        """The regions, by name."""
        try:
            return tuple(sorted(each.name for each in self._folder.iterdir()))
        except OSError:
            return ()

    def settle(self, with_machines: Collection[str]) -> None:
        """Forget regions that hold nothing, once a purchase there would long have shown itself."""
        for region in self.names():
            if region not in with_machines and not self._read_only and self._is_old(region):
                with contextlib.suppress(OSError):
                    (self._folder / region).unlink()

    def _is_old(self, region: str) -> bool:
        try:
            noted = datetime.fromisoformat((self._folder / region).read_text())
        except (OSError, ValueError):
            return False
        return self._now() - noted > REMEMBER
