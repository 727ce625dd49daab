"""What must not be lost when the machine goes: checkpoints while the script runs, outputs when it has ended."""

from __future__ import annotations

import time

from runctl.agent.checkpoint_keeping import CheckpointKeeping
from runctl.agent.outputs import NAME, Outputs
from runctl.agent.store import access_of, open_store
from runctl.s3.patience import Patience

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import RunFolder
    from runctl.agent.journal import Journal
    from runctl.agent.store import Store

EVERY = 1.0  # seconds between two looks for checkpoints


class Saving:
    """Stores checkpoints as they are completed, the newest first, and the outputs at the end. On one thread."""

    def __init__(
        self,
        store: Store,
        attempt: str,
        *,
        run: RunFolder,
        journal: Journal,
        progress: Callable[[int], Any],
        ended: Callable[[], bool],
    ) -> None:
        """``progress`` is told of bytes that arrived; ``ended``: whether nothing of the run writes any more."""
        self._store, self._attempt, self._run, self._journal = store, attempt, run, journal
        self._progress, self._ended = progress, ended
        self._checkpoints = CheckpointKeeping(store, attempt, run.checkpoints)
        self._outputs: Outputs | None = None
        self.over = False

    def step(self) -> float:
        """One look, and one checkpoint or all outputs; the seconds until the next. For a ``Duty``."""
        ended = self._ended()
        self._checkpoints.look(last=ended)
        begun = time.monotonic()
        stored = self._checkpoints.store_newest(self._progress)
        if stored is not None:
            self._journal.emit(
                "checkpoint.stored",
                path=stored["path"],
                size=stored["size"],
                step=stored["step"],
                seconds=round(time.monotonic() - begun, 3),
            )
        if self._checkpoints.waiting:
            return 0.0
        if not ended:
            return EVERY
        self._store_outputs()
        self.over = True
        return -1.0

    def _store_outputs(self) -> None:
        if self._outputs is None:
            target, prefix = self._target()
            self._outputs = Outputs(self._run.outputs, target=target, prefix=prefix)
        begun = time.monotonic()
        files = self._outputs.store(self._progress)
        if files:
            self._store.put(self._attempt + NAME, self._outputs.listing(files))
            count = len(files)
            seconds = time.monotonic() - begun
            text = "%d output file%s stored in %.1f s" % (count, "" if count == 1 else "s", seconds)
            self._journal.emit("notice", level="info", text=text)

    def _target(self) -> tuple[Store, str]:
        """Where the outputs go: what the request says, or below the attempt."""
        from runctl.agent.home import read_json  # noqa: PLC0415 - seldom needed

        wanted = str((read_json(self._run.spec) or {}).get("output") or "")
        if not wanted:
            return self._store, self._attempt + "outputs/"
        if "://" not in wanted:
            return self._store, wanted.strip("/") + "/"
        return open_store(access_of(wanted), patience=Patience()), ""
