"""Copy between this computer, machines and stores: whatever two of them there are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from runctl.api.addresses import alone, is_address, one, there
from runctl.api.objects import DOWNLOAD, SYNC, UPLOAD, Asked, Copying, plan_copy, wanted_by
from runctl.api.reaching import reach
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import Notice
from runctl.core.retry import RetryPolicy
from runctl.core.ssh_address import SCHEME
from runctl.engine import mirroring
from runctl.engine.machine_files import MachineFiles, Persistent, WithStore, same_time
from runctl.engine.mirror_items import without_unsafe
from runctl.engine.mirror_run import Copied
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.api.addresses import There
    from runctl.api.runtime import Runtime
    from runctl.core.cancel import CancelToken
    from runctl.engine.mirror_items import Item
    from runctl.engine.mirror_run import Batch
    from runctl.engine.mirroring import Mirror
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
    asked = Asked(rt, wanted_by(rules), cwd, delete=delete, everything=everything, read_only=read_only)
    make = _Maker(asked)
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

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def relay(self, source: str, target: str) -> Copying:
        """Between two machines; this computer counts as one."""
        of, to = self._source(source), self._files(target, target=True)
        if of.kind == "file" and (to.kind == "folder" or target.endswith(("/", ":"))):
            to = to.below(of.name, self._asked.rt.cancel)
        elif of.kind == "folder" and to.kind == "file":
            raise known(
                "objects-ends", verb="transfer", way="a folder to a folder", detail=f"{target} is a file"
            )
        mirror = self._asked.compared(of.side(self._asked.wanted), to.side(self._asked.wanted), same_time)
        how = Persistent(
            of, to, RetryPolicy(deadline_seconds=_PATIENCE), self._asked.rt.clock, self._asked.rt.emit
        )
        return Copying(source, target, mirror, how, lambda names: to.remove(names, self._asked.rt.cancel))

    def store(self, source: str, target: str) -> Copying:
        """From a machine to a store."""
        of, to = self._source(source), there(self._asked.rt, target, read_only=self._asked.read_only)
        side = of.side(self._asked.wanted)
        if of.kind == "file":
            key = to.key if to.key and not to.key.endswith("/") else f"{to.prefix}{of.name}"
            mirror = self._asked.compared(side, alone(one(self._asked.rt, to.store, key)), _stored_after)
            return Copying(source, f"{to.store.url}/{key}", mirror, self._with(of, to, "store", key))
        without_unsafe(side)
        mirroring.storable(side, to.prefix)
        mirror = self._asked.compared(side, self._asked.stored(to), _stored_after)
        return Copying(
            source, target, mirror, self._with(of, to, "store"),
            self._asked.remover(to),
        )  # fmt: skip

    def load(self, source: str, target: str) -> Copying:
        """From a store to a machine."""
        of, to = there(self._asked.rt, source, read_only=True), self._files(target, target=True)
        found = None if of.key.endswith("/") else one(self._asked.rt, of.store, of.key)
        if found:
            if to.kind == "folder" or target.endswith(("/", ":")):
                to = to.below(of.key.rpartition("/")[2], self._asked.rt.cancel)
            mirror = self._asked.compared(alone(found), to.side(self._asked.wanted), same_time)
            return Copying(source, target, mirror, self._with(to, of, "load", of.key))
        side = self._asked.source(of)
        without_unsafe(side)
        mirror = self._asked.compared(side, to.side(self._asked.wanted), same_time)
        how = self._with(to, of, "load")
        return Copying(source, target, mirror, how, lambda names: to.remove(names, self._asked.rt.cancel))

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
                self._asked.rt.emit(Notice("info", text))
            return way.by_way_of(self._here, mirror, doing, cancel)

        return how

    def _source(self, text: str) -> MachineFiles:
        found = self._files(text, target=False)
        if found.kind == "none":
            detail = (
                "; ".join(each.why for each in found.everything.left) or "there is no such file or folder"
            )
            place = on_machine(text, self._asked.cwd)
            look = f"runctl exec {place.machine} -- ls -l {found.path}" if place else f"ls -l {text}"
            raise known("objects-none", place=text, detail=detail, look=look)
        return found

    def _files(self, text: str, *, target: bool) -> MachineFiles:
        place = on_machine(text, self._asked.cwd)
        if place is None:
            return self._here(self._asked.cwd / Path(text).expanduser(), target=target)
        agent = self._asked.rt.agent(
            reach(self._asked.rt, place.machine).endpoint, keep=not self._asked.read_only
        )
        return MachineFiles.at(agent, place.path, self._asked.rt.cancel, target=target)

    def _here(self, path: Path, *, target: bool = True) -> MachineFiles:
        endpoint = reach(self._asked.rt, "local").endpoint
        agent = self._asked.rt.agent(endpoint, keep=not self._asked.read_only)
        return MachineFiles.at(agent, os.fspath(path.absolute()), self._asked.rt.cancel, target=target)


def _stored_after(item: Item, there: Item) -> bool:
    """The object was stored when the file was as it is."""
    return there.modified >= item.modified
