"""What a supervisor notes while the script runs: when its output grew, and which checkpoints are complete."""

from __future__ import annotations

import os
import time

from runctl.agent.home import RunFolder, size_of

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from runctl.agent.checkpoints import Watcher
    from runctl.agent.journal import Journal

TIMES_EVERY = 0.2  # seconds between two lines of output.times
CHECKPOINTS_EVERY = 1.0  # seconds between two looks


class OutputTimes:
    """Writes ``output.times``: at which second after the script's start the output was how long."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._fd = -1
        self._size = 0
        self._begun: float | None = None
        self._last = 0.0

    def begin(self, begun: float) -> None:
        """The script has started, ``begun`` on the monotonic clock."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._begun = begun
        self._fd = os.open(self._run.times, flags, 0o600)

    def look(self, *, last: bool = False) -> None:
        """Note the output's length if it has changed; ``last`` also when the latest note is fresh."""
        now = time.monotonic()
        if self._fd < 0 or (now - self._last < TIMES_EVERY and not last):
            return
        self._last = now
        size = size_of(self._run.output)
        if size != self._size:
            self._size = size
            try:
                os.write(self._fd, b"%d %.3f\n" % (size, self.elapsed()))
            except OSError:
                pass  # a full disk costs the index a line, not the run its life

    def elapsed(self) -> float:
        """Seconds since the script started; 0 when it never did."""
        return 0.0 if self._begun is None else time.monotonic() - self._begun


class CheckpointWatch:
    """Emits ``checkpoint`` once for each complete checkpoint, and again when it was replaced by a newer one."""

    def __init__(self, run: RunFolder, journal: Journal) -> None:
        self._run = run
        self._journal = journal
        self._watcher: Watcher | None = None
        self._last = 0.0

    def look(self, *, last: bool = False) -> None:
        """Look again if a second has passed; ``last``: in any case, and nothing writes any more."""
        now = time.monotonic()
        if now - self._last < CHECKPOINTS_EVERY and not last:
            return
        self._last = now
        if self._watcher is None:
            if not _holds_anything(self._run.checkpoints):
                return
            from runctl.agent.checkpoints import Watcher  # noqa: PLC0415 - compiled when the first file is there

            self._watcher = Watcher(self._run.checkpoints)
        for found in self._watcher.poll(last=last):
            self._journal.emit(
                "checkpoint",
                path=found["path"],
                format=found["format"],
                size=found["size"],
                step=found["step"],
            )


def _holds_anything(folder: str) -> bool:
    try:
        with os.scandir(folder) as items:
            return next(items, None) is not None
    except OSError:
        return False
