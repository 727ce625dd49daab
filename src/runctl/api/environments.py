"""Environments on this computer and in a store: list, copy from one to the other, remove what nobody uses."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl import registry
from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.model import Resources
from runctl.core.quantities import size
from runctl.engine import stored_environments
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.ports import Store
    from runctl.engine.remote import RemoteAgent
    from runctl.engine.stored_environments import Kept

_WORKERS = 4  # objects at once, between this computer and a store
_COMMAND = "environments"


@dataclass(frozen=True)
class Removal:
    """What would go, or went: keys with their bytes; and what stays because runs use it."""

    where: str
    keys: tuple[tuple[str, int], ...]
    unnamed: tuple[str, ...] = ()  # objects of a store that belong to no environment

    @property
    def bytes(self) -> int:
        """All of them together, without the unnamed ones."""
        return sum(each for _, each in self.keys)


def store_of(rt: Runtime, url: str = "", *, read_only: bool = False) -> Store:
    """The store at ``url``, or the one of the target in the settings. Raises ``env-no-store`` where that has none."""
    if not url:
        name = rt.config.text("target")
        url = rt.provider(name if name in registry.names("providers") else "aws", read_only=True).store()
    if not url:
        raise known("env-no-store", target=rt.config.text("target"))
    return rt.store(url, read_only=read_only)


def local_environments(rt: Runtime) -> list[dict[str, Any]]:
    """The environments of this computer: the markers' fields, ``bytes``, ``used_at``, ``users``. Reads only."""
    found: list[dict[str, Any]] = _agent(rt).call(_COMMAND, {"op": "list"}, cancel=rt.cancel)["environments"]
    return sorted(found, key=lambda each: -float(each["used_at"]))


def stored_environments_in(rt: Runtime, store: Store) -> list[Kept]:
    """What a store has, the last used first. Reads only."""
    return sorted(stored_environments.all_kept(store, rt.cancel), key=lambda each: -each.used_at)


def full_key(prefix: str, keys: Sequence[str], where: str) -> str:
    """The one key that begins so. Pure. Raises ``env-unknown``, ``env-ambiguous``."""
    found = sorted({key for key in keys if key.startswith(prefix)})
    if not found:
        raise known("env-unknown", key=prefix, where=where)
    if len(found) > 1:
        raise known("env-ambiguous", key=prefix, keys=", ".join(each[:12] for each in found))
    return found[0]


def push_environment(rt: Runtime, key: str, store: Store) -> bool:
    """Copy an environment of this computer to a store; false when it was there. Safe to repeat.

    This computer's agent packs it into a folder, and what is in the folder goes to the store: no credentials leave
    this process. Cancelled, it leaves parts nobody names; the next push or ``env prune`` deals with them.

    Raises:
        RunctlError: ``env-not-stored``, ``env-unknown``; what the store says.
    """
    if any(True for _ in store.list(f"{stored_environments.PREFIX}{key}/manifest.json", cancel=rt.cancel)):
        return False
    with tempfile.TemporaryDirectory(prefix="runctl-env-") as folder:
        here = rt.store(Path(folder).as_uri())
        with step("pack", "pack the environment", emit=rt.emit, clock=rt.clock) as doing:
            request = {"op": "deposit", "key": key, "store": dict(here.access())}
            done = _agent(rt).call(_COMMAND, request, cancel=rt.cancel)["stored"]
            doing.summary = f"{size(done['packed'])} of {size(done['bytes'])}"
        found = sorted(each.key for each in here.list(stored_environments.PREFIX, cancel=rt.cancel))
        parts = [each for each in found if not each.endswith(".json")]
        last = sorted(
            (each for each in found if each.endswith(".json")), key=lambda each: "manifest" not in each
        )
        with step("push", "send it to the store", emit=rt.emit, clock=rt.clock) as doing:
            _all(
                rt, parts, lambda each: store.put(each, Path(folder, each), if_absent=True, cancel=rt.cancel)
            )
            for each in last:
                first = store.put(each, Path(folder, each), if_absent=True, cancel=rt.cancel)
                if each.endswith("manifest.json") and not first:
                    return False
            doing.summary = f"{len(parts)} parts to {store.url}"
    return True


def pull_environment(rt: Runtime, key: str, store: Store) -> dict[str, Any]:
    """Copy an environment of a store to this computer: ``restored`` (false: it was there), ``seconds``, ``bytes``.

    Verified and tried out here; where it does not fit this computer, nothing of it stays. Safe to repeat.

    Raises:
        RunctlError: ``env-unknown``, ``env-not-restored``, ``disk-full``; what the store says.
    """
    with tempfile.TemporaryDirectory(prefix="runctl-env-") as folder:
        access = store.access()
        if access["kind"] != "directory":
            with step("pull", "fetch it from the store", emit=rt.emit, clock=rt.clock) as doing:
                names = [e.key for e in store.list(f"{stored_environments.PREFIX}{key}/", cancel=rt.cancel)]
                _all(rt, names, lambda each: _fetched(rt, store, each, Path(folder, each)))
                doing.summary = f"{len(names)} objects"
            access = {"kind": "directory", "path": folder}
        request = {"op": "restore", "key": key, "store": dict(access)}
        with step("restore", "restore and try it", emit=rt.emit, clock=rt.clock) as doing:
            done = _agent(rt).call(_COMMAND, request, cancel=rt.cancel)
            doing.summary = size(done["bytes"])
            doing.skipped = not done["restored"]
    return done


def prune_local(rt: Runtime, *, older_than: float | None, most: float | None, dry: bool = False) -> Removal:
    """Remove environments of this computer: not used for ``older_than`` seconds, or the longest unused above ``most`` bytes.

    What a run uses stays; so does everything while a run is being prepared.
    """
    found = {each["key"]: each for each in local_environments(rt)}
    free = [(key, each["bytes"], each["used_at"]) for key, each in found.items()]
    now = rt.clock.now().timestamp()
    keys = stored_environments.unused(free, now=now, older_than=older_than, most=most)
    keys = [key for key in keys if not found[key]["users"]]
    if dry or not keys:
        return Removal("this computer", tuple((key, found[key]["bytes"]) for key in keys))
    done = _agent(rt).call(_COMMAND, {"op": "remove", "keys": keys}, cancel=rt.cancel)["removed"]
    return Removal("this computer", tuple((each["key"], each["bytes"]) for each in done if not each["users"]))


def prune_store(
    rt: Runtime, store: Store, *, older_than: float | None, most: float | None, dry: bool = False
) -> Removal:
    """The same in a store, where an environment is used when it is stored or restored; and parts that belong to none."""
    found = {each.key: each for each in stored_environments_in(rt, store)}
    now = rt.clock.now().timestamp()
    whole = [(each.key, each.size, each.used_at) for each in found.values() if each.environment is not None]
    keys = stored_environments.unused(whole, now=now, older_than=older_than, most=most)
    old = [each for each in found.values() if now - each.used_at > stored_environments.YOUNG]
    unnamed = [name for each in old if each.key not in keys for name in each.unnamed]
    if not dry:
        for key in keys:
            store.delete(found[key].objects, rt.cancel)
        store.delete(unnamed, rt.cancel)
    return Removal(store.url, tuple((key, found[key].size) for key in keys), tuple(unnamed))


def _agent(rt: Runtime) -> RemoteAgent:
    local = rt.provider("local")
    (offer, *_) = local.offers(Resources(), rt.cancel)
    endpoint = local.endpoint(offer)
    assert endpoint is not None
    return rt.agent(endpoint)


def _fetched(rt: Runtime, store: Store, key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    store.fetch(key, target, cancel=rt.cancel)


def _all(rt: Runtime, keys: Sequence[str], do: Callable[[str], Any]) -> None:
    """Do it for every key, several at once."""

    def some(first: int) -> None:
        for key in keys[first::_WORKERS]:
            rt.cancel.check()
            do(key)

    with together(rt.cancel) as scope:
        for number in range(min(_WORKERS, len(keys))):
            scope.start("copy", lambda number=number: some(number))  # type: ignore[misc]
