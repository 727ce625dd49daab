"""Files and objects of the user's own: copy them, keep two sides equal, list and count them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.api.addresses import alone, is_address, one, there
from runctl.api.unfinished import uploads_folder
from runctl.core.catalogue import known
from runctl.engine import mirror_run, mirroring
from runctl.engine.mirror_items import Item, Side, Wanted, files_below, objects_below, without_unsafe
from runctl.engine.mirror_run import side_by_side
from runctl.engine.steps import step
from runctl.project.wildmatch import BadPatternError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runctl.api.addresses import There
    from runctl.api.runtime import Runtime
    from runctl.engine.mirror_run import Batch, Copied
    from runctl.engine.mirroring import Mirror, Same

UPLOAD, DOWNLOAD, SYNC = "upload", "download", "sync"
_WAYS = {
    UPLOAD: "a path here to an address",
    DOWNLOAD: "an address to a path here",
    SYNC: "folders and prefixes, one of them an address",
}


@dataclass(frozen=True)
class Copying:
    """A copy that is about to be made: what it would do, and how it does it."""

    source: str
    target: str
    mirror: Mirror
    _how: Batch
    _remove: Callable[[list[str]], object] = lambda _names: None

    def run(self, rt: Runtime) -> Copied:
        """Make it; a second call goes on with what is missing.

        Raises:
            AccessError: ``objects-disk``, or what the store says. What has arrived stays.
            Cancelled: no half file and no half object stays.
        """
        with step("copy", f"copy to {self.target}", emit=rt.emit, clock=rt.clock) as doing:
            copied = self._how(self.mirror, doing, rt.cancel)
        if self.mirror.delete:
            with step("delete", f"delete in {self.target}", emit=rt.emit, clock=rt.clock) as doing:
                names = [item.name for item in self.mirror.delete]
                self._remove(names)
                doing.summary = f"{len(names):,}"
        return replace(copied, left=[*self.mirror.left, *copied.left])


def plan_copy(
    rt: Runtime,
    verb: str,
    source: str,
    target: str,
    *,
    cwd: Path,
    rules: Sequence[tuple[bool, str]] = (),
    delete: bool = False,
    everything: bool = False,
    read_only: bool = False,
) -> Copying:
    """What ``upload``, ``download`` or ``sync`` would do. Reads both sides, changes nothing.

    Args:
        rt: what the verbs stand on.
        verb: one of the three.
        source: a path, from ``cwd``, or an address.
        target: likewise. The name of a single file is appended where it is a folder or ends with a slash.
        cwd: the folder paths begin in.
        rules: (whether to include, pattern) in the order given; the last that matches decides.
        delete: with ``sync``: what only the target has goes.
        everything: copy also what is the same.
        read_only: the plan will not be carried out.

    Raises:
        UsageError: ``objects-none``, ``objects-ends``, ``objects-pattern``.
    """
    wanted = wanted_by(rules)
    ends = [is_address(source), is_address(target)]
    if ends not in {UPLOAD: [[False, True]], DOWNLOAD: [[True, False]]}.get(verb, [[0, 1], [1, 0], [1, 1]]):
        raise known("objects-ends", verb=verb, way=_WAYS[verb], detail=f"{source} to {target} is another way")
    make = _Maker(Asked(rt, wanted, cwd, delete=delete, everything=everything, read_only=read_only))
    with step("compare", "compare both sides", emit=rt.emit, clock=rt.clock) as doing:
        if not ends[0]:
            made = make.upload(source, target, single=verb == UPLOAD)
        elif not ends[1]:
            made = make.download(source, target, single=verb == DOWNLOAD)
        else:
            made = make.carry(source, target)
        doing.summary = f"{len(made.mirror.send):,} to copy, {len(made.mirror.same):,} are the same"
    return made


def wanted_by(rules: Sequence[tuple[bool, str]]) -> Wanted:
    """What (whether to include, pattern) in this order ask for. Raises ``objects-pattern``."""
    try:
        return Wanted(rules)
    except BadPatternError as error:
        raise known("objects-pattern", pattern=str(error)) from error


@dataclass(frozen=True)
class Asked:
    """What was asked of a copy beside its two ends; see ``plan_copy``."""

    rt: Runtime
    wanted: Wanted
    cwd: Path
    delete: bool
    everything: bool
    read_only: bool

    def compared(self, mine: Side, theirs: Side, same: Same) -> Mirror:
        """What the copy has to do."""
        same = mirroring.never if self.everything else same
        return mirroring.compare(mine, theirs, same, delete=self.delete, cancel=self.rt.cancel)

    def stored(self, to: There) -> Side:
        """What of a prefix counts."""
        return objects_below(to.store, to.prefix, self.wanted, self.rt.cancel)

    def remover(self, to: There) -> Callable[[list[str]], object]:
        """What deletes below a prefix."""
        return lambda names: to.store.delete([to.key_of(name) for name in names], self.rt.cancel)

    def source(self, of: There) -> Side:
        """The objects below a prefix that are to be copied. Raises ``objects-none``."""
        side = self.stored(of)
        if not side.items and next(iter(of.store.list(of.prefix, cancel=self.rt.cancel)), None) is None:
            raise known(
                "objects-none", place=of.text, detail="no object is there, and none below it",
                look=f"runctl s3 list {of.text.rstrip('/').rpartition('/')[0]}/",
            )  # fmt: skip
        return side


class _Maker:
    """Makes the plan of one copy."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def upload(self, source: str, target: str, *, single: bool) -> Copying:
        path, to = self._path(source), there(self._asked.rt, target, read_only=self._asked.read_only)
        notes = uploads_folder(self._asked.rt)
        if single and path.is_file():
            key = to.key if to.key and not to.key.endswith("/") else f"{to.prefix}{path.name}"
            state = path.stat()
            side = Side({path.name: Item(path.name, state.st_size, state.st_mtime)})
            theirs = alone(one(self._asked.rt, to.store, key, name=path.name))
            same = mirroring.up_to_date(lambda _name: path, self._asked.rt.cancel)
            how = mirror_run.to_store(lambda _name: path, to.store, lambda _name: key, notes)
            return Copying(
                source, f"{to.store.url}/{key}", self._asked.compared(side, theirs, same), side_by_side(how)
            )
        if not path.is_dir():
            detail = "there is no such file or folder" if single else "a folder has to be there"
            raise known("objects-none", place=source, detail=detail, look=f"ls -l {source}")
        side = files_below(path, self._asked.wanted, self._asked.rt.cancel)
        mirroring.storable(side, to.prefix)
        same = mirroring.up_to_date(path.joinpath, self._asked.rt.cancel)
        how = mirror_run.to_store(path.joinpath, to.store, to.key_of, notes)
        return Copying(
            source,
            target,
            self._asked.compared(side, self._asked.stored(to), same),
            side_by_side(how),
            self._asked.remover(to),
        )

    def download(self, source: str, target: str, *, single: bool) -> Copying:
        of, path = there(self._asked.rt, source, read_only=True), self._path(target)
        name = of.key.rpartition("/")[2]
        found = one(self._asked.rt, of.store, of.key, name=name) if single and name else None
        if found:
            into = path / name if path.is_dir() or target.endswith("/") else path
            same = mirroring.fetched(lambda _name: into, self._asked.rt.cancel)
            how = mirror_run.to_folder(of.store, lambda _name: of.key, lambda _name: into)
            mirror = self._asked.compared(alone(found), alone(_local(into, name)), same)
            return Copying(source, str(into), mirror, side_by_side(how))
        side = self._asked.source(of)
        if path.is_file():
            detail = f"{target} is a file, and {len(side.items):,} objects need a folder"
            raise known("objects-ends", verb=DOWNLOAD, way=_WAYS[DOWNLOAD], detail=detail)
        without_unsafe(side)
        mirroring.placeable(side, path)
        mine_all = (
            files_below(path, self._asked.wanted, self._asked.rt.cancel, target=True)
            if path.is_dir()
            else Side()
        )
        mirror = self._asked.compared(side, mine_all, mirroring.fetched(path.joinpath, self._asked.rt.cancel))
        how = mirror_run.to_folder(of.store, of.key_of, path.joinpath)
        return Copying(
            source, target, mirror, side_by_side(how), lambda names: mirror_run.remove_files(path, names)
        )

    def carry(self, source: str, target: str) -> Copying:
        of = there(self._asked.rt, source, read_only=True)
        to = there(self._asked.rt, target, read_only=self._asked.read_only)
        side = self._asked.source(of)
        mirroring.storable(side, to.prefix)
        how = mirror_run.to_other_store(of.store, of.key_of, to.store, to.key_of)
        mirror = self._asked.compared(side, self._asked.stored(to), mirroring.by_etag)
        return Copying(source, target, mirror, side_by_side(how), self._asked.remover(to))

    def _path(self, text: str) -> Path:
        return self._asked.cwd / Path(text).expanduser()


def _local(path: Path, name: str) -> Item | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return Item(name, state.st_size, state.st_mtime)
