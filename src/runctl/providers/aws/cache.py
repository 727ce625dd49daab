"""What AWS told an hour ago is still good for a plan: answers kept on this computer, so that planning is fast."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRESH = timedelta(hours=1)


class AnswerCache:
    """Answers by what was asked, in one folder. A file that is damaged or cannot be written costs time, nothing else.

    Args:
        folder: made at the first write.
        whose: what tells accounts and endpoints apart; their answers differ.
        now: the wall time.
        read_only: write nothing (a dry run).
    """

    def __init__(self, folder: Path, *, whose: str, now: Callable[[], datetime], read_only: bool) -> None:
        self._folder = folder
        self._whose = whose
        self._now = now
        self._read_only = read_only

    def get(self, question: Any, ask: Callable[[], Any]) -> tuple[Any, datetime]:
        """The answer (JSON values) and when it was given; ``ask`` is called when none is fresh. Raises what it raises."""
        key = json.dumps([self._whose, question], sort_keys=True, default=str)
        path = self._folder / (hashlib.sha256(key.encode()).hexdigest()[:32] + ".json")
        kept = self._read(path, key)
        if kept is not None:
            return kept
        answer, at = ask(), self._now()
        if not self._read_only:
            self._write(path, {"question": key, "at": at.isoformat(), "answer": answer})
        return answer, at

    def _read(self, path: Path, key: str) -> tuple[Any, datetime] | None:
        try:
            record = json.loads(path.read_bytes())
            at = datetime.fromisoformat(record["at"]).astimezone(UTC)
            if record["question"] == key and timedelta(0) <= self._now() - at < FRESH:
                return record["answer"], at
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None

    def _write(self, path: Path, record: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(fd, "w") as file:
                json.dump(record, file)
            os.replace(name, path)
            self._forget_old()

    def _forget_old(self) -> None:
        """Nobody asks for yesterday's answers: they go, so that the folder does not grow."""
        oldest = (self._now() - 24 * FRESH).timestamp()
        for each in self._folder.iterdir():
            if each.stat().st_mtime < oldest:
                each.unlink(missing_ok=True)
