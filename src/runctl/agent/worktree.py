"""The tree of a project on this machine, kept up to date: built aside and swapped in with one rename.

``projects/<key>/``: ``current`` is a link to one of two trees beside it; the other one is what was current before. A new
version is made out of that one, so that it costs what has changed and not what there is, unless somebody works in it.
Files that nobody sent (outputs, caches) are moved along; none is ever deleted.

Beside each tree lies its manifest: what was put into it, and the state of every file then. What was changed here since
is found by that, and put right by the next version. While a tree is worked on its manifest is called ``working``.
"""

from __future__ import annotations

import os
import threading

from runctl.agent import tree
from runctl.agent.building import Building
from runctl.agent.failure import AgentFailure
from runctl.agent.home import make_folder, remove_tree
from runctl.agent.spare import MANY, Spare
from runctl.agent.worktree_manifest import Manifest

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home

    Entry = dict[str, Any]

NAMES = ("one", "two")
LEFT = "left"  # what somebody made here and a sent file took the place of


class Worktree:
    """One project's tree. Whoever updates it holds the lock at ``lock``."""

    def __init__(self, key: str, *, home: Home) -> None:
        self._home = home
        self.path = os.path.join(home.projects, key)
        self.current = os.path.join(self.path, "current")
        self.lock = os.path.join(self.path, "lock")
        self._spare = Spare(self.path, home=home)
        self._read: dict[str, tuple[tuple[int, int], Manifest]] = {}  # by file, with its state then
        self._looking: threading.Thread | None = None
        self._changed: dict[Manifest, set[str]] = {}

    def has(self) -> str:
        """The digest of the tree that is there and intact; empty when there is none, or somebody changed it."""
        name = self._name()
        manifest = self._manifest(name) if name else None
        if manifest is None or manifest.changed(self._place(name)):
            return ""
        return manifest.tree

    def look_ahead(self) -> None:
        """Look at what the next version will be made out of, in a thread of its own, while nobody waits for it."""
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def _look(self) -> None:
        other = _other(self._name())
        for place, file in ((self._place(other), self._file(other)), (self._spare.place, self._spare.file)):
            manifest = self._manifest_in(file)
            if manifest is not None:
                self._changed[manifest] = manifest.changed(place)
                manifest.folders()
                return

    def entries(self) -> list[Entry]:
        """What the current tree was made of."""
        name = self._name()
        manifest = self._manifest(name) if name else None
        return [] if manifest is None else manifest.entries()

    def update(self, entries: list[Entry], digest: str) -> int:
        """Make ``entries`` current; the number of files that were written. Their contents are blobs here.

        Killed at any moment it leaves the old tree or the new one; repeating it is safe.

        Raises:
            AgentFailure: ``tree-unsafe``, ``tree-digest``, ``blob-missing``, ``blob-corrupt``. The old tree stays.
        """
        return self.finish(self.begin(entries, digest), digest)

    def begin(self, entries: list[Entry], digest: str) -> Building:
        """Begin a version; contents that arrive may be given to it. Raises as ``update``."""
        tree.check(entries)
        found = tree.digest_of(entries)
        if found != digest:
            raise AgentFailure("tree-digest", expected=digest, found=found)
        if self._looking is not None:
            self._looking.join()
        old = self._name()
        new = _other(old)
        place, kept = self._place(new), self._reusable(new, old)
        changed: set[str] = set()
        if kept is not None:
            changed = self._changed[kept] if kept in self._changed else kept.changed(place)
        building = Building(place, kept, changed, home=self._home, aside=self._aside)
        if old:
            building.others(self._place(old), self._manifest(old))
        building.begin(entries)
        return building

    def finish(self, building: Building, digest: str) -> int:
        """Finish a version and make it current; the number of files that were written. Raises as ``update``."""
        old = self._name()
        new = _other(old)
        building.finish()
        Manifest(digest, building.rows).write(self._file(new))
        self._remove(self._working(new))
        self._swap(new)
        if old:
            self._bring_along(old, self._place(new))
        if len(building.rows) >= MANY and not self._is_there(_other(new)):
            self._spare.begin(self._place(new), Manifest(digest, building.rows))
        return building.written

    def _name(self) -> str:
        """Which of the two trees is current; empty when none is."""
        try:
            name = os.readlink(self.current)
        except OSError:
            return ""
        return name if name in NAMES else ""

    def _place(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name + ".manifest")

    def _working(self, name: str) -> str:
        return os.path.join(self.path, name + ".working")

    def _manifest(self, name: str) -> Manifest | None:
        return self._manifest_in(self._file(name))

    def _manifest_in(self, file: str) -> Manifest | None:
        """The manifest in a file, read once as long as it is the same file."""
        try:
            status = os.stat(file)
        except OSError:
            return None
        state = (status.st_ino, status.st_mtime_ns)
        before = self._read.get(file)
        if before is not None and before[0] == state:
            return before[1]
        manifest = Manifest.read(file)
        if manifest is not None:
            self._read[file] = (state, manifest)
        return manifest

    def _is_there(self, name: str) -> bool:
        """Whether the next version can be made out of that tree."""
        place = self._place(name)
        return os.path.lexists(place) and not in_use(place)

    def _reusable(self, name: str, old: str) -> Manifest | None:
        """Make the tree ``name`` ours to work on; what it holds, or None when it is begun anew."""
        place, manifest = self._place(name), self._manifest(name)
        self._clear_out(old)
        if os.path.exists(self._working(name)) and not os.path.exists(self._file(name)):
            remove_tree(place)  # somebody was killed while he worked on it
        elif manifest is not None and manifest.is_plain(place) and not in_use(place):
            self._bring_along(name, self._place(old) if old else "")
            os.rename(self._file(name), self._working(name))
            self._spare.drop()
            return manifest
        elif os.path.lexists(place):
            self._set_aside(name)
        with open(self._working(name), "wb"):
            self._remove(self._file(name))
        spare = self._spare.take(place, self._working(name), self._manifest_in) if old else None
        if spare is None:
            make_folder(place)
            os.chmod(place, 0o755)  # noqa: S103 - as any folder of code; the home above it is closed
        return spare

    def _set_aside(self, name: str) -> None:
        """Leave a tree to whoever works in it."""
        number = 0
        while os.path.lexists("%s.%d" % (self._place(name), number)):
            number += 1
        os.rename(self._place(name), "%s.%d" % (self._place(name), number))
        if os.path.exists(self._file(name)):
            os.rename(self._file(name), self._file("%s.%d" % (name, number)))

    def _clear_out(self, current: str) -> None:
        """Delete the trees that were set aside once nobody works in them any more; what is his stays."""
        for name in os.listdir(self.path):
            base, _, number = name.partition(".")
            if base not in NAMES or not number.isdigit() or in_use(self._place(name)):
                continue
            if self._manifest(name) is None:
                os.rename(self._place(name), self._left(os.fsencode(name)))
                continue
            self._bring_along(name, self._place(current) if current else "")
            remove_tree(self._place(name))
            self._remove(self._file(name))

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def _swap(self, name: str) -> None:
        part = self.current + ".tmp"
        self._remove(part)
        os.symlink(name, part)
        os.replace(part, self.current)

    def _bring_along(self, name: str, to: str) -> None:
        """Move what nobody sent from one tree to another; what is in the way of something is kept in ``left``."""
        manifest = self._manifest(name)
        assert manifest is not None
        source, target = os.fsencode(self._place(name)), os.fsencode(to)
        for path in manifest.strangers(self._place(name)):
            place = os.path.join(target, path)
            if not to or os.path.lexists(place) or not _made(os.path.dirname(place)):
                place = self._left(path)
            os.rename(os.path.join(source, path), place)

    def _aside(self, place: bytes) -> None:
        """Move away a folder that somebody made where a file has to be."""
        os.rename(place, self._left(os.path.basename(place)))

    def _left(self, path: bytes) -> bytes:
        number = 0
        while True:
            place = os.path.join(os.fsencode(self.path), b"%s/%d" % (LEFT.encode(), number), path)
            if not os.path.lexists(place):
                os.makedirs(os.path.dirname(place), exist_ok=True)
                return place
            number += 1


def _other(name: str) -> str:
    """The tree that is not current."""
    return NAMES[name == NAMES[0]]


def _made(folder: bytes) -> bool:
    """Whether the folder is there, made if need be."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False  # a file is in its way
    return True


def in_use(place: str) -> bool:
    """Whether a process has its working directory there, as far as we may know."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return True  # nobody can tell
    inside = os.path.realpath(place)
    for name in names:
        if name.isdigit():
            try:
                folder = os.readlink("/proc/%s/cwd" % name)
            except OSError:
                continue
            if folder == inside or folder.startswith(inside + "/"):
                return True
    return False
