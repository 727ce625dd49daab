"""Keep the project's tree on a machine as it is here: once, or for as long as one edits."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runctl import registry
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, RunctlError
from runctl.core.events import Notice
from runctl.core.model import Resources
from runctl.engine import project_sync, tree_object
from runctl.engine.newcomers import collisions, newcomers
from runctl.engine.plan import what_is_sent
from runctl.engine.synced import SyncedTrees
from runctl.project import files, snapshot
from runctl.project.memory import ScanMemory
from runctl.project.root import find_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.api.runtime import Runtime
    from runctl.core.cancel import CancelToken
    from runctl.core.model import Endpoint
    from runctl.engine.project_sync import Receipt
    from runctl.project.listing import Listing
    from runctl.project.root import Root
    from runctl.project.snapshot import Snapshot

_LOOK_SECONDS: Final = 0.3  # between two looks at the project, at least
_LOOK_SHARE: Final = 15  # a look may take one fifteenth of the time
_LOOK_MOST: Final = 5.0  # seconds
_AGAIN_SECONDS: Final = 5.0  # after a failure that may pass


class Place(NamedTuple):
    """A machine to sync to: how to reach it, and the store it reaches (empty: none)."""

    name: str
    endpoint: Endpoint
    store: str


@dataclass(frozen=True)
class Synced:
    """What a sync did, and what of the project stayed: how many paths by (rule, where it stands)."""

    root: Path
    place: Place
    receipt: Receipt
    left_out: dict[tuple[str, str], int]
    secrets: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values. Sizes in bytes, times in seconds."""
        rules = [{"rule": rule, "origin": origin, "paths": n} for (rule, origin), n in self.left_out.items()]
        where = {"project": str(self.root), "machine": self.place.name}
        return where | asdict(self.receipt) | {"left_out": rules, "secrets_left_out": list(self.secrets)}


@dataclass(frozen=True)
class WouldSync:
    """What a sync would do: sizes in bytes; ``sends`` is each content once, under its first path."""

    root: Path
    place: Place
    path: str
    snapshot: Snapshot
    listing: Listing
    has: str
    sends: tuple[tuple[str, int], ...]
    removes: tuple[str, ...] | None  # None: what the machine has is not known here
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "project": str(self.root),
            "machine": self.place.name,
            "path": self.path,
            "tree": self.snapshot.digest,
            "has": self.has,
            "files": self.snapshot.files,
            "bytes": self.snapshot.bytes,
            "sends": [{"path": path, "bytes": size} for path, size in self.sends],
            "removes": None if self.removes is None else list(self.removes),
            "left_out": [
                {"path": left.path, "rule": left.rule, "origin": left.origin}
                for left in self.listing.left_out
            ],
            "secrets_left_out": [left.path for left in self.listing.secrets],
            "warnings": list(self.warnings),
        }


def sync(rt: Runtime, target: str, *, cwd: Path | None = None) -> Synced:
    """Bring the project around ``cwd`` to the machine ``target``: ``local``, an SSH host, or the id, name or run of one of ours.

    Safe to repeat: what is there is not sent again, and the machine has the old tree or the new one at any moment.

    Raises:
        UsageError: ``unknown-target``, ``machine-not-there``, a project that cannot be read.
        RunctlError: what the machine and the store say.
        Cancelled: the machine keeps the tree it had.
    """
    root = find_root(cwd or Path.cwd())
    place = machine_at(rt, target)
    looked: list[Listing] = []

    def read(cancel: CancelToken) -> Snapshot:
        listing, found = _look(rt, root, cancel)
        looked.append(listing)
        return found

    receipt = project_sync.sync_project(
        read,
        rt.agent(place.endpoint),
        project=_key(root),
        store=registry.store(place.store, rt.surroundings()) if place.store else None,
        env=rt.env,
        emit=rt.emit,
        clock=rt.clock,
        cancel=rt.cancel,
    )
    left_out = Counter((left.rule, left.origin) for left in looked[-1].left_out)
    secrets = tuple(left.path for left in looked[-1].secrets)
    return Synced(root.path, place, receipt, dict(left_out), secrets)


def would_sync(rt: Runtime, target: str, *, cwd: Path | None = None) -> WouldSync:
    """What ``sync`` would do. Writes nothing, here or there; raises as ``sync`` does."""
    root = find_root(cwd or Path.cwd())
    place = machine_at(rt, target)
    listing, found = _look(rt, root, rt.cancel)
    digests = sorted({entry["digest"] for entry in found.entries if entry["type"] == "file"})
    request = {"project": _key(root), "dry": True, "blobs": digests}
    said = rt.agent(place.endpoint, keep=False).call("sync", request, cancel=rt.cancel)
    before = SyncedTrees(str(root.path), env=rt.env).read(said["has"])
    removes: tuple[str, ...] | None = None
    missing = set(said["missing"])
    if said["has"] == found.digest:
        removes, missing = (), set()
    elif before is not None:
        changed, removes = tree_object.difference(found.entries, before[0])
        missing &= {entry["digest"] for entry in changed if entry["type"] == "file"}
    return WouldSync(
        root.path,
        place,
        said["path"],
        found,
        listing,
        said["has"],
        what_is_sent(found.entries, sorted(missing)),
        removes,
        newcomers(found.entries, missing)
        + collisions(found.entries)
        + tuple(f"{each.path}: {each.what}" for each in listing.problems),
    )


def keep_synced(
    rt: Runtime, target: str, *, on_sync: Callable[[Synced], None], cwd: Path | None = None
) -> None:
    """``sync`` whenever something changes, until the token is set. A failure that may pass is told and tried again.

    Raises:
        RunctlError: what will not pass by itself, as ``sync``.
        Cancelled: the token was set.
    """
    root = find_root(cwd or Path.cwd())
    while True:
        try:
            done = sync(rt, target, cwd=cwd)
        except Cancelled:
            raise
        except RunctlError as error:
            if not error.transient:
                raise
            rt.emit(Notice("warning", f"{error.what}; trying again in {_AGAIN_SECONDS:g} s"))
            rt.clock.sleep(_AGAIN_SECONDS, rt.cancel)
            continue
        on_sync(done)
        _wait_for_change(rt, root, done.receipt.tree)


def _wait_for_change(rt: Runtime, root: Root, tree: str) -> None:
    """Look again and again, but not for more than a small share of the time, until the project is another."""
    while True:
        begun = rt.clock.monotonic()
        try:
            _, found = _look(rt, root, rt.cancel)
        except Cancelled:
            raise
        except RunctlError:
            return  # the sync says it
        if found.digest != tree:
            return
        took = rt.clock.monotonic() - begun
        rt.clock.sleep(min(max(_LOOK_SECONDS, took * _LOOK_SHARE), _LOOK_MOST), rt.cancel)


def _look(rt: Runtime, root: Root, cancel: CancelToken) -> tuple[Listing, Snapshot]:
    """List and name what travels; what was learnt is kept for the next look, but in a dry run."""
    memory = ScanMemory.load(root.path, env=rt.env)
    listing = files.list_files(
        root,
        include=rt.config.items("include"),
        exclude=rt.config.items("exclude"),
        secrets_allowed=rt.config.items("secrets"),
        env=rt.env,
        memory=memory,
    )
    return listing, snapshot.take(root, listing, memory=memory, cancel=cancel)


def machine_at(rt: Runtime, target: str) -> Place:
    """The machine called ``target``. Reads only; asks the clouds only for what is no provider's name.

    Raises:
        UsageError: ``unknown-target``; ``machine-not-there`` for a provider whose machines have to be bought first.
    """
    name, address = registry.resolved(target, rt.config.table("hosts"))
    if address or name in registry.PROVIDERS:
        provider = rt.provider(target, read_only=True)
        if provider.features.costs_money:
            raise known("sync-which-machine", target=target)
        offers = provider.offers(Resources(), rt.cancel)
        if len(offers) > 1:
            hosts = ", ".join(offer.machine for offer in offers)
            raise known("sync-which-machine", target=target, why=f"it is several: {hosts}")
        endpoint = provider.endpoint(offers[0])
        if endpoint is None:
            raise known("machine-not-there", target=target)
        return Place(target, endpoint, provider.store())
    for name in registry.names("providers"):
        provider = rt.provider(name, read_only=True)
        if not provider.features.costs_money:
            continue
        for machine in provider.machines(rt.cancel):
            if target in (machine.id, machine.name, machine.run_id):
                return Place(machine.id, machine.endpoint, provider.store())
    raise known("unknown-target", target=target, targets=", ".join(registry.names("providers")))


def _key(root: Root) -> str:
    """What the project is called on machines: its folder's name, and which one of that name it is."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", root.path.name).strip("-") or "project"
    return f"{name[:60]}-{sha256(f'{node()}:{root.path}'.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
