"""Which checkpoint a run starts from. Pure: listings in, a path out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Mapping


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
