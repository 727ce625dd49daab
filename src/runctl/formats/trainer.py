"""Folders that the Trainer of Hugging Face transformers writes: ``checkpoint-500/`` with ``trainer_state.json``."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Optional, Sequence

from runctl.formats.base import (
    DAMAGED,
    Checkpoint,
    File,
    Format,
    Found,
    Incomplete,
    Read,
    Rejected,
    Window,
    describe,
    merged,
    unreadable,
)
from runctl.formats.order import position_from_values
from runctl.formats.safetensors import parse_object

STATE = "trainer_state.json"
MAX_STATE = 64 << 20  # bytes; it keeps the log history of the whole training
_FOLDER = re.compile(r"(^|/)checkpoint-\d+$")
_WRITTEN_BEFORE = frozenset(("training_args.bin", "scheduler.pt", "optimizer.pt", "rng_state.pth"))
_BESIDE = re.compile(r"(optimizer|scheduler|scaler|rng_state|training_args)[^/]*$")

Scan = Callable[[Sequence[File], Read, bool], Found]


class TrainerFolder(Format):
    """Complete when its state is readable, the weights are there, and every part in the folder is complete.

    ``trainer_state.json`` is what the Trainer writes last, so a folder without one is not finished. ``scan`` looks at
    the parts with the other formats.
    """

    name = "transformers"

    def __init__(self, scan: Scan) -> None:
        self._scan = scan

    def find(self, listing: Sequence[File], read: Read, *, verify: bool = False) -> Found:
        """See ``Format.find``. All files below such a folder are claimed."""
        found = Found()
        states = {file.folder: file for file in listing if file.name == STATE}
        folders: Dict[str, List[File]] = {folder: [] for folder in states}
        for file in listing:
            if file.name in _WRITTEN_BEFORE and _FOLDER.search(file.folder):
                folders.setdefault(file.folder, [])
        for file in listing:
            for folder in _above(file.folder):
                if folder in folders and not (folder == "" and file.folder):
                    folders[folder].append(file)
                    break
        for folder, members in folders.items():
            path = folder or "."
            found.claimed.update(file.path for file in members)
            try:
                found.complete.append(self._whole(path, states.get(folder), members, read, verify=verify))
            except Rejected as error:
                found.incomplete.append(Incomplete(path, self.name, error.why, error.kind))
            except OSError as error:
                found.incomplete.append(Incomplete(path, self.name, unreadable(error)))
        return found

    def _whole(
        self, path: str, state: Optional[File], members: Sequence[File], read: Read, *, verify: bool
    ) -> Checkpoint:
        if state is None:
            raise Rejected(f"has no {STATE} (it is written last)")
        values = _state(state, read)
        parts = self._scan([file for file in members if file.name != STATE], read, verify)
        for bad in parts.incomplete:
            if bad.kind == DAMAGED:
                raise Rejected(f"{_below(bad.path, path)}: {bad.why}")
        for bad in parts.incomplete:
            raise Rejected(f"{_below(bad.path, path)}: {bad.why}", kind=bad.kind)
        weights = [part for part in parts.complete if not _BESIDE.search(part.path)]
        if not weights:
            raise Rejected("has no weights beside its state")
        step, epoch = position_from_values(values)
        kept = ("global_step", "epoch", "max_steps", "num_train_epochs", "best_metric")
        metadata = {key: values[key] for key in kept if values.get(key) is not None}
        contents = merged([part.contents for part in weights], step=step, epoch=epoch, metadata=metadata)
        return describe(path, self.name, list(members), contents)


def _above(folder: str) -> List[str]:
    """``folder`` and the folders above it, nearest first, ending with the empty one."""
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _below(path: str, folder: str) -> str:
    return path if folder == "." else path[len(folder) + 1 :] or "its weights"


def _state(file: File, read: Read) -> Dict[str, Any]:
    if file.size > MAX_STATE:
        raise Rejected(f"has a {STATE} of {file.size} bytes")
    try:
        values = parse_object(Window(read, file.path, size=file.size).at(0, file.size))
    except Rejected as error:
        raise Rejected(f"its {STATE} {error.why}", kind=error.kind) from error
    if "global_step" not in values:
        raise Rejected(f"its {STATE} has no global_step")
    return values
