"""Remove old checkpoints of a bucket, by what they are: nothing else is ever touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.api.addresses import there
from runctl.engine.steps import step
from runctl.engine.stored_checkpoints import Judged, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.api.runtime import Runtime


def old_checkpoints(rt: Runtime, url: str, *, keep: int, older_than: float | None) -> list[Judged]:
    """Every complete checkpoint below ``url``, and why it stays; those with no reason may go. Reads only.

    Args:
        rt: what the verbs stand on.
        url: an address.
        keep: how many of the newest stay in each folder, at least one.
        older_than: only what is older may go; seconds.
    """
    of = there(rt, url, read_only=True)
    with step("look", f"look for checkpoints in {url}", emit=rt.emit, clock=rt.clock) as doing:
        found = judge(
            of.store, of.prefix, keep=keep, older_than=older_than,
            now=rt.clock.now().timestamp(), cancel=rt.cancel,
        )  # fmt: skip
        doing.summary = f"{len(found):,} found"
    return found


def remove_checkpoints(rt: Runtime, url: str, judged: Sequence[Judged]) -> None:
    """Delete those that may go. Safe to repeat; after an interruption a checkpoint may have lost some of its files."""
    of = there(rt, url)
    keys = [key for each in judged if not each.stays for key in each.keys]
    with step("delete", f"delete in {url}", emit=rt.emit, clock=rt.clock):
        of.store.delete(keys, rt.cancel)
