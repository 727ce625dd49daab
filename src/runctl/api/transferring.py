"""Copy between this computer, machines and stores: whatever two of them there are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from runctl.api.addresses import alone, is_address, one, there
from runctl.api.objects import DOWNLOAD, SYNC, UPLOAD, Copying, plan_copy, wanted_by
from runctl.api.reaching import reach
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import Notice
from runctl.core.retry import RetryPolicy
from runctl.core.ssh_address import SCHEME
from runctl.engine import mirroring
from runctl.engine.machine_files import MachineFiles, Persistent, WithStore, same_time
from runctl.engine.mirror_items import Side, objects_below, without_unsafe
from runctl.engine.mirror_run import Copied
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.api.addresses import There
    from runctl.api.runtime import Runtime
    from runctl.core.cancel import CancelToken
    from runctl.engine.mirror_items import Item, Wanted
    from runctl.engine.mirror_run import Batch
    from runctl.engine.mirroring import Mirror, Same
    from runctl.engine.steps import Step

_PATIENCE = 180.0  # seconds without a byte, after which a broken link is an error
# what a machine says that is not allowed to use a bucket, or cannot reach it
_NOT_ITSELF = frozenset({"store-denied", "store-no-credentials", "store-unreachable", "store-refused"})


class OnMachine(NamedTuple):
    """``MACHINE:PATH`` taken apart."""

    machine: str
    path: str


def on_machine(text: str, cwd: Path) -> OnMachine | None:
    """What ``text`` means on a machine; None when it is a path here or an address of a store.

    ``gpubox:data`` is below the home of the user there, ``gpubox:/data`` is absolute; ``ssh://user@host:22/data`` too.
    What exists here under that very name is a path here.
    """
    if is_address(text) or text.startswith(("/", "./", "../", "~")) or (cwd / text).exists():
        return None
    if text.startswith(SCHEME):
        parts = urlsplit(text)
        return OnMachine(f"{SCHEME}{parts.netloc}", parts.path.removeprefix("/~/") or "~")
    machine, colon, path = text.partition(":")
    return OnMachine(machine, path or "~") if colon and machine and "/" not in machine else None


def plan_transfer(
    rt: Runtime,
    source: str,
    target: str,
    *,
    cwd: Path,
    rules: Sequence[tuple[bool, str]] = (),
    delete: bool = False,
    everything: bool = False,
    read_only: bool = False,
) -> Copying:
    """What a transfer would do; arguments and errors as ``plan_copy``, and a machine's path is an end, too.

    Raises:
        UsageError: ``machine-unknown``, ``objects-none``, ``objects-ends``.
        UnreachableError: a machine does not answer.
    """
    machines = on_machine(source, cwd), on_machine(target, cwd)
    stores = is_address(source), is_address(target)
    if not any(machines):
        verb = {(False, True): UPLOAD, (True, False): DOWNLOAD, (True, True): SYNC}.get(stores)
        if verb is None:
            raise known(
                "objects-ends", verb="transfer", way="to or from elsewhere", detail="both ends are here"
            )
        return plan_copy(
            rt, verb, source, target,
            cwd=cwd, rules=rules, delete=delete, everything=everything, read_only=read_only,
        )  # fmt: skip
    make = _Maker(rt, wanted_by(rules), cwd, delete=delete, everything=everything, read_only=read_only)
    with step("compare", "compare both sides", emit=rt.emit, clock=rt.clock) as doing:
        if stores[1]:
            made = make.store(source, target)
        elif stores[0]:
            made = make.load(source, target)
        else:
            made = make.relay(source, target)
        doing.summary = f"{len(made.mirror.send):,} to copy, {len(made.mirror.same):,} are the same"
    return made


class _Maker:
    """Makes the plan of a transfer with a machine in it."""

    def __init__(
        self, rt: Runtime, wanted: Wanted, cwd: Path, *, delete: bool, everything: bool, read_only: bool
    ) -> None:
        self._rt, self._wanted, self._cwd = rt, wanted, cwd
        self._delete, self._everything, self._read_only = delete, everything, read_only

    def relay(self, source: str, target: str) -> Copying:
        """Between two machines; this computer counts as one."""
        of, to = self._source(source), self._files(target, target=True)
        if of.kind == "file" and (to.kind == "folder" or target.endswith(("/", ":"))):
            to = to.below(of.name, self._rt.cancel)
        elif of.kind == "folder" and to.kind == "file":
            raise known(
                "objects-ends", verb="transfer", way="a folder to a folder", detail=f"{target} is a file"
            )
        mirror = self._compared(of.side(self._wanted), to.side(self._wanted), same_time)
        how = Persistent(of, to, RetryPolicy(deadline_seconds=_PATIENCE), self._rt.clock, self._rt.emit)
        return Copying(source, target, mirror, how, lambda names: to.remove(names, self._rt.cancel))

    def store(self, source: str, target: str) -> Copying:
        """From a machine to a store."""
        of, to = self._source(source), there(self._rt, target, read_only=self._read_only)
        side = of.side(self._wanted)
        if of.kind == "file":
            key = to.key if to.key and not to.key.endswith("/") else f"{to.prefix}{of.name}"
            mirror = self._compared(side, alone(one(self._rt, to.store, key)), _stored_after)
            return Copying(source, f"{to.store.url}/{key}", mirror, self._with(of, to, "store", key))
        without_unsafe(side)
        mirroring.storable(side, to.prefix)
        theirs = objects_below(to.store, to.prefix, self._wanted, self._rt.cancel)
        mirror = self._compared(side, theirs, _stored_after)
        return Copying(
            source, target, mirror, self._with(of, to, "store"),
            lambda names: to.store.delete([to.key_of(name) for name in names], self._rt.cancel),
        )  # fmt: skip

    def load(self, source: str, target: str) -> Copying:
        """From a store to a machine."""
        of, to = there(self._rt, source, read_only=True), self._files(target, target=True)
        found = None if of.key.endswith("/") else one(self._rt, of.store, of.key)
        if found:
            if to.kind == "folder" or target.endswith(("/", ":")):
                to = to.below(of.key.rpartition("/")[2], self._rt.cancel)
            mirror = self._compared(alone(found), to.side(self._wanted), same_time)
            return Copying(source, target, mirror, self._with(to, of, "load", of.key))
        side = objects_below(of.store, of.prefix, self._wanted, self._rt.cancel)
        if not side.items:
            detail = "no object is there, and none below it"
            raise known(
                "objects-none",
                place=source,
                detail=detail,
                look=f"runctl s3 list {source.rstrip('/').rpartition('/')[0]}/",
            )
        without_unsafe(side)
        mirror = self._compared(side, to.side(self._wanted), same_time)
        how = self._with(to, of, "load")
        return Copying(source, target, mirror, how, lambda names: to.remove(names, self._rt.cancel))

    def _with(self, machine: MachineFiles, place: There, op: str, key: str | None = None) -> Batch:
        """By the machine itself where it may, else by way of this computer."""
        keys = place.key_of if key is None else (lambda _name: key)
        way = WithStore(machine, place.store, keys, op)

        def how(mirror: Mirror, doing: Step, cancel: CancelToken) -> Copied:
            if not mirror.send:
                return Copied()
            try:
                return way.by_itself(mirror, doing, cancel)
            except RunctlError as error:
                if error.code not in _NOT_ITSELF:
                    raise
                text = f"the machine cannot use {place.store.url} by itself ({error.what}): by way of this computer"
                self._rt.emit(Notice("info", text))
            return way.by_way_of(self._here, mirror, doing, cancel)

        return how

    def _compared(self, mine: Side, theirs: Side, same: Same) -> Mirror:
        same = mirroring.never if self._everything else same
        return mirroring.compare(mine, theirs, same, delete=self._delete, cancel=self._rt.cancel)

    def _source(self, text: str) -> MachineFiles:
        found = self._files(text, target=False)
        if found.kind == "none":
            detail = (
                "; ".join(each.why for each in found.everything.left) or "there is no such file or folder"
            )
            place = on_machine(text, self._cwd)
            look = f"runctl exec {place.machine} -- ls -l {found.path}" if place else f"ls -l {text}"
            raise known("objects-none", place=text, detail=detail, look=look)
        return found

    def _files(self, text: str, *, target: bool) -> MachineFiles:
        place = on_machine(text, self._cwd)
        if place is None:
            return self._here(self._cwd / Path(text).expanduser(), target=target)
        agent = self._rt.agent(reach(self._rt, place.machine).endpoint, keep=not self._read_only)
        return MachineFiles.at(agent, place.path, self._rt.cancel, target=target)

    def _here(self, path: Path, *, target: bool = True) -> MachineFiles:
        endpoint = reach(self._rt, "local").endpoint
        agent = self._rt.agent(endpoint, keep=not self._read_only)
        return MachineFiles.at(agent, os.fspath(path.absolute()), self._rt.cancel, target=target)


def _stored_after(item: Item, there: Item) -> bool:
    """The object was stored when the file was as it is."""
    return there.modified >= item.modified
