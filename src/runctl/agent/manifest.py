"""``checkpoints.json`` of an attempt in the store: which checkpoints are there, whole, and what each consists of."""

from __future__ import annotations

import itertools
import json

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from runctl.agent.store import Store

SCHEMA = 1
NAME = "checkpoints.json"


def load(store: Store, attempt: str) -> list[dict[str, Any]]:
    """The checkpoints the attempt's manifest lists, newest first; empty when there is none.

    Args:
        store: where.
        attempt: ``runs/<run>/<attempt>/``.

    Raises:
        AgentFailure: the store's failures; ``store-corrupt`` for a manifest of another kind.
    """
    try:
        data = store.get(attempt + NAME)
    except AgentFailure as error:
        if error.code == "store-missing":
            return []
        raise
    try:
        listed: list[dict[str, Any]] = json.loads(data)["checkpoints"]
    except (ValueError, KeyError, TypeError) as error:
        detail = "no list of checkpoints: %s" % error
        raise AgentFailure("store-corrupt", url=store.url, key=attempt + NAME, detail=detail) from error
    return listed


def save(store: Store, attempt: str, checkpoints: list[dict[str, Any]]) -> None:
    """Replace the attempt's manifest in one step."""
    value = {"v": SCHEMA, "checkpoints": checkpoints}
    store.put(attempt + NAME, json.dumps(value, separators=(",", ":")).encode())


def places(path: str) -> Iterator[str]:
    """The keys below the attempt at which the bytes of a checkpoint's file may lie, in the order they are tried.

    A checkpoint that replaces another of the same name is written to a place that no listed one uses, so the older
    one stays whole until the newer one is listed. Two places are enough nearly always.
    """
    yield "checkpoints/" + path
    for number in itertools.count(2):
        yield "checkpoints.%d/%s" % (number, path)


def split(address: str) -> tuple[str, str]:
    """The attempt and the checkpoint's path in ``runs/<run>/<attempt>/checkpoints/<path>``. Pure.

    Raises:
        AgentFailure: ``agent-request`` for anything else.
    """
    parts = address.split("/", 4)
    if len(parts) != 5 or parts[0] != "runs" or parts[3] != "checkpoints" or not all(parts):
        raise AgentFailure("agent-request", detail="not the address of a checkpoint: %r" % address)
    return "/".join(parts[:3]) + "/", parts[4]


def entry(listed: list[dict[str, Any]], path: str) -> dict[str, Any] | None:
    """The checkpoint of that path. Pure."""
    return next((each for each in listed if each["path"] == path), None)
