"""The checkpoints of a run on this machine: all of them when asked, the new ones while the script runs."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from runctl.formats.base import Contents
from runctl.formats.folder import find, look, walk
from runctl.formats.sharded import is_index
from runctl.formats.trainer import STATE

if TYPE_CHECKING:
    from runctl.formats.base import Checkpoint, File

    Stamp = Tuple[File, ...]

__all__ = ["Watcher", "find"]


class Watcher:
    """Reports each checkpoint of ``directory`` once, when it is complete, and again when it is replaced.

    A poll that finds every size and time unchanged opens no file. A checkpoint is reported when it was complete and
    unchanged in two polls in a row: a writer that reserves its file first and fills it then looks complete before
    it is.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.path.abspath(directory)
        self._listing: List[File] = []
        self._complete: Dict[str, Tuple[Checkpoint, Stamp]] = {}
        self._waiting: Dict[str, Stamp] = {}
        self._reported: Dict[str, Stamp] = {}

    def poll(self, *, last: bool = False) -> List[Dict[str, Any]]:
        """The newly complete checkpoints, oldest first.

        Args:
            last: nothing writes any more, so what is complete now is reported now.

        Returns:
            ``path``, ``format``, ``size``, ``modified``, ``step`` and ``epoch`` as ``find`` gives them, and ``files``,
            each ``[path, size, modified]``.
        """
        listing = walk(self._directory, [])
        if listing != self._listing:
            self._look(listing)
        elif not self._waiting:
            return []
        fresh: List[Dict[str, Any]] = []
        waiting: Dict[str, Stamp] = {}
        for path, (checkpoint, stamp) in self._complete.items():
            if self._reported.get(path) == stamp:
                continue
            if last or self._waiting.get(path) == stamp:
                self._reported[path] = stamp
                fresh.append(_described(checkpoint, stamp))
            else:
                waiting[path] = stamp
        self._waiting = waiting
        self._reported = {path: stamp for path, stamp in self._reported.items() if path in self._complete}
        return fresh

    def _look(self, listing: List[File]) -> None:
        """Ask the formats about what is not known yet; a single file that was complete and is unchanged stays so."""
        files = {file.path: file for file in listing}
        indexed = {file.folder for file in listing if file.name == STATE or is_index(file.name)}
        known: Dict[str, Tuple[Checkpoint, Stamp]] = {
            path: (checkpoint, tuple(stamp))
            for path, (checkpoint, stamp) in self._complete.items()
            if len(stamp) == 1 and files.get(path) == stamp[0] and not _below(stamp[0].folder, indexed)
        }
        found = look(self._directory, [file for file in listing if file.path not in known])
        self._complete = known
        for checkpoint in reversed(found.complete):
            stamp = tuple(files[path] for path in checkpoint.files)
            # What a file says of its tensors is not kept: a thousand checkpoints of a large model would not fit.
            self._complete[checkpoint.path] = (replace(checkpoint, contents=Contents()), stamp)
        self._listing = listing


def _described(checkpoint: Checkpoint, stamp: Stamp) -> Dict[str, Any]:
    names = ("path", "format", "size", "modified", "step", "epoch")
    return {**{name: getattr(checkpoint, name) for name in names}, "files": [list(file) for file in stamp]}


def _below(folder: str, indexed: Any) -> bool:
    """Whether a folder with an index is ``folder`` or above it: its files may be parts of something larger."""
    return any(folder == top or folder.startswith(f"{top}/") or not top for top in indexed)
