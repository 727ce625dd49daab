"""The command ``environments``: what this machine has, and one of them to a store, from a store, or away."""

from __future__ import annotations

import os

from runctl.agent import lock, status, wire
from runctl.agent.env_recipe import Place, Recipe
from runctl.agent.failure import AgentFailure
from runctl.agent.home import make_folder, read_json, remove_tree
from runctl.agent.remove import size_below
from runctl.agent.store import open_store

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home

LOCK_WAIT = 5.0  # seconds


def answer(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """Do what ``op`` says: ``list``, ``build``, ``alone`` {key}, ``deposit`` or ``restore`` {key, store}, ``remove`` {keys}. Safe to repeat.

    Raises:
        AgentFailure: ``env-unknown``, ``env-untried``, ``env-not-stored``, ``env-not-restored``, ``machine-locked``; why it cannot be
            built; what the store says.
    """
    what = wire.field(request, "op", str)
    if what == "list":
        return {"environments": _listed(home)}
    if what == "remove":
        return {"removed": [_removed(str(key), home) for key in wire.field(request, "keys", list)]}
    if what == "build":
        from runctl.agent import env_command  # noqa: PLC0415 - compiled when it is asked for

        return env_command.build(request, home=home)
    if what == "alone":
        from runctl.agent import env_alone  # noqa: PLC0415 - as above

        return env_alone.alone(_place(wire.field(request, "key", str), home).key, home=home)
    if what not in ("deposit", "restore"):
        raise AgentFailure("agent-request", detail="no operation %r" % what)
    store = open_store(wire.field(request, "store", dict))
    try:
        do = _deposited if what == "deposit" else _restored
        return do(wire.field(request, "key", str), store, home)
    finally:
        store.close()


def _listed(home: Home) -> list[dict[str, Any]]:
    """The complete ones, as their markers say, with bytes, when they were last of use, and who uses them now."""
    users = _users(home)
    found = []
    for key in _keys(home):
        place = Place(home.path, key)
        record = read_json(place.marker)
        if record is None:
            continue
        record.update(
            bytes=size_below(place.folder), used_at=os.stat(place.marker).st_mtime, users=users.get(key, [])
        )
        found.append(record)
    return found


def _keys(home: Home) -> list[str]:
    try:
        names = sorted(os.listdir(os.path.join(home.path, "envs")))
    except FileNotFoundError:
        return []
    return [name for name in names if "." not in name]


def _users(home: Home) -> dict[str, list[str]]:
    """Names of the runs that go on, by environment; a run that is being prepared may take any: it is under ``""``."""
    found: dict[str, list[str]] = {}
    for each in status.active(home):
        known = status.observe(home.run(each["run"])) or {}
        wants = known.get("env_key") or (read_json(home.run(each["run"]).spec) or {}).get("environment")
        if wants:
            found.setdefault(known.get("env_key") or "", []).append(each["name"])
    return found


def _removed(key: str, home: Home) -> dict[str, Any]:
    """Remove one, unless it is in use: then ``users`` says by whom, and nothing was done."""
    place = _place(key, home)
    held = lock.take(place.lock, seconds=LOCK_WAIT)
    try:
        known = _users(home)
        users = known.get(key, []) + known.get("", [])
        if users:
            return {"key": key, "bytes": 0, "users": users}
        freed = size_below(place.folder) if os.path.isdir(place.folder) else 0
        try:
            os.unlink(place.marker)  # whatever happens next, it is not taken for one
        except FileNotFoundError:
            pass
        remove_tree(place.folder)
        try:
            os.unlink(place.log)
        except FileNotFoundError:
            pass
    finally:
        os.close(held)
    return {"key": key, "bytes": freed, "users": []}


def _deposited(key: str, store: Any, home: Home) -> dict[str, Any]:
    from runctl.agent import env_deposit  # noqa: PLC0415 - compiled when it is asked for
    from runctl.agent.env_parts import Unpackable  # noqa: PLC0415

    place = _place(key, home)
    if read_json(place.marker) is None:
        raise AgentFailure("env-unknown", key=key, where="this machine")
    if not (read_json(place.marker) or {}).get("request"):
        raise AgentFailure("env-not-stored", key=key, reason="an earlier version of runctl built it")
    try:
        done = env_deposit.deposit(place, store, home=home.path, workers=max(2, os.cpu_count() or 1))
    except Unpackable as error:
        raise AgentFailure("env-not-stored", key=key, reason=str(error)) from error
    return {"stored": done}


def _restored(key: str, store: Any, home: Home) -> dict[str, Any]:
    from runctl.agent import env_object  # noqa: PLC0415 - as above
    from runctl.agent.env_restore import Restore, Unrestorable  # noqa: PLC0415

    place = _place(key, home)
    data = env_object.read(store, key)
    if data is None:
        raise AgentFailure("env-unknown", key=key, where=store.url)
    manifest = env_object.understood(data, key)
    if manifest is None:
        raise AgentFailure("env-not-restored", key=key, reason="its manifest cannot be read")
    recipe = Recipe(
        {
            "kind": manifest["kind"],
            "digest": manifest["request"],
            "files": [manifest["source"]],
            "python": "==" + manifest["python"],
        },
        home=home.path,
    )
    if recipe.place.key != key:
        made = "%s, %s, Python %s" % (manifest["platform"], manifest["libc"], manifest["python"])
        raise AgentFailure("env-not-restored", key=key, reason="it was built for %s" % made)
    make_folder(place.envs)
    held = lock.take(place.lock, seconds=LOCK_WAIT)
    try:
        if read_json(place.marker) is not None:
            return {"restored": False, "seconds": 0.0, "bytes": manifest["bytes"]}
        restore = Restore(recipe, store, told=lambda _done, _total: None, cancelled=lambda: False)
        restore.find()
        restore.work()
    except Unrestorable as error:
        raise AgentFailure("env-not-restored", key=key, reason=str(error)) from error
    finally:
        os.close(held)
    return {"restored": True, "seconds": restore.seconds, "bytes": manifest["bytes"]}


def _place(key: str, home: Home) -> Place:
    if len(key) != 32 or not key.isalnum():
        raise AgentFailure("agent-request", detail="not the key of an environment: %r" % key)
    return Place(home.path, key)
