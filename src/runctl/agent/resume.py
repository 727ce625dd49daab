"""The checkpoint a run starts from, out of the store: exactly what was recorded when it was stored, or an error."""

from __future__ import annotations

import os

from runctl.agent import manifest
from runctl.agent.failure import AgentFailure
from runctl.agent.home import make_folder
from runctl.agent.paths import check_path
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runctl.agent.store import Store

    Progress = Callable[[int, int], None]

WORKERS = 4


def bring(address: str, store: Store, folder: str, progress: Progress) -> str:
    """Fetch the checkpoint at ``runs/<run>/<attempt>/checkpoints/<path>`` into ``folder``; its path there.

    What an earlier try brought is not read again. ``progress`` is told bytes that are here, and all there are.

    Raises:
        AgentFailure: ``checkpoint-not-stored`` when the attempt lists no such checkpoint; ``store-corrupt`` when the
            bytes are not the recorded ones; what else the store says.
    """
    attempt, path = manifest.split(address)
    found = manifest.entry(manifest.load(store, attempt), path)
    if found is None:
        raise AgentFailure("checkpoint-not-stored", url=store.url, key=address)
    done, total = 0, sum(each["size"] for each in found["files"])

    def told(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    together(_jobs(found["files"], attempt, store, folder, told), workers=WORKERS)
    return os.path.join(folder, path) if path != "." else folder


def _jobs(
    files: list[dict[str, Any]], attempt: str, store: Store, folder: str, told: Callable[[int], None]
) -> Iterator[Callable[[], None]]:
    for file in files:
        target = os.path.join(folder, check_path(file["path"], "store-corrupt"))
        make_folder(os.path.dirname(target))
        yield lambda file=file, target=target: store.get_file(  # type: ignore[misc]
            attempt + file["key"], target, size=file["size"], digest=file["digest"], told=told
        )
