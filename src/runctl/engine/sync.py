"""Bring to the machine the bytes it lacks, each content once. What arrived stays: a repeated sync sends the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.quantities import count, size
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.engine.plan import CodePlan
    from runctl.engine.remote import RemoteAgent
    from runctl.engine.steps import Step
    from runctl.project.snapshot import Snapshot

CHUNK = 1 << 20
REPORT_EVERY = 4 << 20  # bytes between two progress events


def sync_code(code: CodePlan, agent: RemoteAgent, *, emit: Emit, clock: Clock, cancel: CancelToken) -> None:
    """Send the blobs the plan says are missing, in one stream.

    Raises:
        RunctlError: ``file-changed`` when a file no longer is what the plan saw; ``disk-full`` and what else the agent says.
        Cancelled: what arrived whole stays and is not sent again.
    """
    with step("sync", "send code", emit=emit, clock=clock) as doing:
        if not code.missing:
            doing.skipped = True
            doing.summary = f"the machine has all of {count(code.snapshot.files, 'files')}"
            return
        agent.call("receive", {}, cancel=cancel, stdin=lambda: _frames(code.snapshot, code, doing))
        doing.summary = f"{count(len(code.sends), 'files')}, {size(code.send_bytes)}"


def _frames(snapshot: Snapshot, code: CodePlan, doing: Step) -> Iterator[bytes]:
    """The stream of ``receive``: a header line and the bytes of each missing blob, read and verified as they go."""
    first: dict[str, dict[str, Any]] = {}
    for entry in snapshot.entries:
        if entry["type"] == "file":
            first.setdefault(entry["digest"], entry)
    total, done, reported = code.send_bytes, 0, 0
    for digest in code.missing:
        entry = first[digest]
        doing.progress(done, total, unit="bytes", item=entry["path"])
        yield f"{digest} {entry['size']}\n".encode()
        for chunk in snapshot.read_blob(digest):
            yield chunk
            done += len(chunk)
            if done - reported >= REPORT_EVERY:
                reported = done
                doing.progress(done, total, unit="bytes", item=entry["path"])
    doing.progress(done, total, unit="bytes")
