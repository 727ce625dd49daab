"""The tree that the next version of a project is made out of, made ahead when there is none.

Two trees take turns; after a first sync, or when somebody works in the other one, the next version would begin with an
empty folder and link every file that stayed: seconds for a hundred thousand. A process left behind does that while
nobody waits. What it made is ``spare`` with ``spare.manifest`` beside it, and counts only once the manifest is there;
``spare.lock`` is its own, so that a sync with nothing to do never waits for it.
"""

from __future__ import annotations

import os

from runctl.agent import daemon, lock
from runctl.agent.building import Building
from runctl.agent.failure import AgentFailure
from runctl.agent.home import make_folder, remove_tree
from runctl.agent.worktree_manifest import Manifest

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.agent.home import Home

MANY = 2000  # entries; linking fewer takes less than 50 ms, not worth a process
LOCK_SECONDS = 60.0  # as long as a sync waits for another one


class Spare:
    """The spare tree of the project at ``path``."""

    def __init__(self, path: str, *, home: Home) -> None:
        self._home = home
        self.place = os.path.join(path, "spare")
        self.file = self.place + ".manifest"
        self.lock = self.place + ".lock"

    def begin(self, place: str, manifest: Manifest) -> None:
        """Leave a process behind that makes it out of the tree at ``place``; whatever hinders that is no failure."""

        def work(ready: Callable[[], None]) -> None:
            self.make(place, manifest, ready)

        try:
            daemon.start(work, log=os.devnull)
        except (AgentFailure, OSError):
            pass  # the next version links for itself

    def make(self, place: str, manifest: Manifest, locked: Callable[[], None] = lambda: None) -> None:
        """Make it out of the tree at ``place``, by links; ``locked`` is called once nobody else can.

        Killed at any moment, what is there does not count.

        Raises:
            AgentFailure: ``machine-locked`` when somebody else is at it; as ``Building.finish``.
        """
        held = lock.take(self.lock, seconds=0)
        try:
            locked()
            self._clear()
            make_folder(self.place)
            os.chmod(self.place, 0o755)  # noqa: S103 - as any folder of code; the home above it is closed
            building = Building(self.place, None, home=self._home, aside=_nobody)
            building.others(place, manifest)
            building.begin(manifest.entries())
            building.finish()
            Manifest(manifest.tree, building.rows).write(self.file)
        finally:
            os.close(held)

    def take(
        self, place: str, working: str, read: Callable[[str], Manifest | None] = Manifest.read
    ) -> Manifest | None:
        """Move it to ``place``, where nothing is, its manifest to ``working``, which is there; None when there is none.

        ``read`` reads a manifest. Waits for whoever makes it. Killed in between, ``place`` is a tree without a manifest.
        """
        if not os.path.exists(self.lock):
            return None  # nobody ever began one
        held = lock.take(self.lock, seconds=LOCK_SECONDS)
        try:
            manifest = read(self.file)
            if manifest is None or not manifest.is_plain(self.place):
                self._clear()
                return None
            os.rename(self.place, place)
            os.rename(self.file, working)
            return manifest
        finally:
            os.close(held)

    def drop(self) -> None:
        """Delete it: there is a tree to go on with. Waits for whoever makes it."""
        if os.path.exists(self.lock):
            held = lock.take(self.lock, seconds=LOCK_SECONDS)
            try:
                self._clear()
            finally:
                os.close(held)

    def _clear(self) -> None:
        try:
            os.unlink(self.file)
        except FileNotFoundError:
            pass
        if os.path.lexists(self.place):
            remove_tree(self.place)


def _nobody(place: bytes) -> None:
    """Nobody else works in a spare tree."""
    raise FileExistsError(place)
