"""Environments in a store, as this computer sees them: which there are, what they cost, what nobody uses any more.

The machines write them (``agent/env_object.py`` says how they lie there) and never delete; this computer may.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Store

PREFIX = "envs/"
_BY_REQUEST = "envs/of/"
YOUNG = 24 * 3600.0  # seconds in which parts without a manifest may still be on their way


@dataclass(frozen=True)
class StoredEnvironment:
    """One environment of a store. Sizes in bytes, times in seconds since the epoch, durations in seconds."""

    key: str
    python: str
    platform: str
    source: str
    installer: str
    packages: int
    bytes: int  # on a machine
    packed: int  # in the store
    stored_at: float
    build_seconds: tuple[float, ...] = ()  # the last ones, oldest first
    restore_seconds: tuple[float, ...] = ()

    @property
    def expected_restore(self) -> float | None:
        """What restoring took in the middle of the last times; None when nobody has done it yet."""
        return _middle(self.restore_seconds)

    @property
    def expected_build(self) -> float | None:
        """The same of building."""
        return _middle(self.build_seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "key": self.key, "python": self.python, "platform": self.platform, "source": self.source,
            "installer": self.installer, "packages": self.packages, "bytes": self.bytes, "packed": self.packed,
            "stored_at": self.stored_at, "restore_seconds": self.expected_restore,
            "build_seconds": self.expected_build,
        }  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What lies under one key of a store: ``environment`` None when its manifest is missing or unreadable."""

    key: str
    objects: tuple[str, ...]  # in the order in which they may be deleted: what names others first
    unnamed: tuple[str, ...]  # parts that no manifest names, left by who was killed or came second
    size: int
    used_at: float  # when one of it was last written: stored, or its timings after a restore
    environment: StoredEnvironment | None


def stored_for(store: Store, request_digest: str, cancel: CancelToken) -> tuple[StoredEnvironment, ...]:
    """The environments a request has in the store, one for each Python and platform. Reads only."""
    found = []
    for each in store.list(f"{_BY_REQUEST}{request_digest}/", cancel=cancel):
        short = _json(store, each.key, cancel)
        if short is not None:
            found.append(_understood(store, short, cancel))
    return tuple(one for one in found if one is not None)


def all_kept(store: Store, cancel: CancelToken) -> tuple[Kept, ...]:
    """Everything that lies under ``envs/``, by key. Reads only."""
    groups: dict[str, list[Any]] = {}
    pointers: dict[str, str] = {}
    for each in store.list(PREFIX, cancel=cancel):
        if each.key.startswith(_BY_REQUEST):
            pointers[each.key.rpartition("/")[2].removesuffix(".json")] = each.key
        else:
            groups.setdefault(each.key.split("/")[1], []).append(each)
    found = []
    for key, objects in groups.items():
        manifest = _json(store, f"{PREFIX}{key}/manifest.json", cancel)
        names = {f"{PREFIX}{key}/{part['digest']}" for part in (manifest or {}).get("parts", ())}
        head = [f"{PREFIX}{key}/manifest.json", f"{PREFIX}{key}/times.json"]
        head += [pointers.pop(key)] if key in pointers else []
        parts = [each.key for each in objects if each.key not in head]
        found.append(
            Kept(
                key,
                (*head, *parts),
                tuple(part for part in parts if part not in names),
                sum(each.size for each in objects),
                max(each.modified for each in objects),
                None if manifest is None else _understood(store, manifest, cancel),
            )
        )
    return tuple(found)


def unused(
    known: Iterable[tuple[str, int, float]], *, now: float, older_than: float | None, most: float | None
) -> list[str]:
    """The keys to remove of (key, bytes, last used): those not used for so long, then the longest unused ones until
    the rest takes no more than ``most`` bytes. Pure.
    """  # noqa: D205 - one sentence
    kept, out = [], []
    for key, size, used in sorted(known, key=lambda each: -each[2]):
        if older_than is not None and now - used > older_than:
            out.append(key)
        else:
            kept.append((key, size))
    total = 0
    for key, size in kept:
        total += size
        if most is not None and total > most:
            out.append(key)
    return out


def _understood(store: Store, value: Mapping[str, Any], cancel: CancelToken) -> StoredEnvironment | None:
    try:
        times = _json(store, f"{PREFIX}{value['key']}/times.json", cancel) or {}
        return StoredEnvironment(
            key=str(value["key"]),
            python=str(value["python"]),
            platform=str(value["platform"]),
            source=str(value["source"]),
            installer=str(value["installer"]),
            packages=int(value["packages"]),
            bytes=int(value["bytes"]),
            packed=int(value["packed"]),
            stored_at=float(value["stored_at"]),
            build_seconds=tuple(float(each) for each in times.get("build", ())),
            restore_seconds=tuple(float(each) for each in times.get("restore", ())),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _json(store: Store, key: str, cancel: CancelToken) -> dict[str, Any] | None:
    """The object of JSON at ``key``; None when there is none, or it is something else."""
    try:
        value = json.loads(store.get(key, cancel=cancel))
    except RunctlError as error:
        if error.code != "store-missing":
            raise
        return None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _middle(values: tuple[float, ...]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
