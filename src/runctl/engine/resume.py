"""Which checkpoint a run starts from: by an agent's listing, or by what its machines saved to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.engine.store_reader import StoreReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Run
    from runctl.core.ports import Store


def newest(listing: Mapping[str, Any], *, run: str) -> str:
    """The newest complete checkpoint in an agent's ``checkpoints`` answer (newest first), as a path on the machine.

    Raises:
        UsageError: ``checkpoint-none``, saying what was found incomplete.
    """
    complete = listing["checkpoints"]
    if complete:
        return f"{listing['directory']}/{complete[0]['path']}"
    incomplete = ", ".join(f"{each['path']} ({each['why']})" for each in listing["incomplete"][:3])
    raise known("checkpoint-none", run=run, incomplete=incomplete or "no file that any format recognises")


def newest_stored(store: Store, run: Run, *, cancel: CancelToken) -> dict[str, str]:
    """The newest complete checkpoint of the latest attempt that has one, as ``{"store": key of its folder or file}``.

    Raises:
        UsageError: ``checkpoint-none``.
    """
    found = stored_checkpoint(store, run.id, run.attempt, cancel=cancel)
    if found is None:
        raise known("checkpoint-none", run=run.name, incomplete="nothing complete in the store")
    return found


def stored_checkpoint(
    store: Store, run_id: str, attempt: int, *, cancel: CancelToken
) -> dict[str, str] | None:
    """As ``newest_stored``; None where no attempt up to ``attempt`` saved one."""
    for number in range(attempt, 0, -1):
        listing = StoreReader(store, run_id, number).json("checkpoints.json", cancel)
        complete = (listing or {}).get("checkpoints", [])
        if complete:
            return {"store": f"runs/{run_id}/{number}/checkpoints/{complete[0]['path']}"}
    return None
