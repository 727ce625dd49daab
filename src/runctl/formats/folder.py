"""Checkpoints in a folder of this machine: walks it, reads it, and answers in plain JSON values.

The one edge of this package; the formats themselves touch nothing. Symbolic links are not followed (``latest.pt``
that points at ``step-100.pt`` is no second checkpoint), and only regular files are opened, never a pipe or a device.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

from runctl.formats import newest_first, scan
from runctl.formats.base import (
    DAMAGED,
    UNVERIFIABLE,
    WRITING,
    Checkpoint,
    File,
    Found,
    Incomplete,
    unreadable,
)
from runctl.formats.order import position_from_name

MAX_FILES = 100_000  # a folder of more is no checkpoint folder; what lies beyond is said, not searched
MAX_DEPTH = 12
MAX_SHOWN = 64  # metadata entries and tensors in an answer: it has to stay one line of moderate length
MAX_TEXT = 200  # characters of one metadata value
_NOT_OURS = frozenset((".git", ".venv", "venv", "node_modules", "__pycache__", "site-packages"))


class Reader:
    """Reads parts of files below ``directory``; keeps the last one open, because a format reads it many times."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path: Optional[str] = None
        self._fd = -1

    def read(self, path: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes of ``path`` at ``offset``; raises ``OSError``, also for what is no regular file."""
        if path != self._path:
            self.close()
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._fd = os.open(os.path.join(self._directory, path), flags)
            self._path = path
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise OSError("is not a regular file any more")
        chunks: List[bytes] = []
        while length > 0:
            chunk = os.pread(self._fd, length, offset)
            if not chunk:
                break
            chunks.append(chunk)
            offset += len(chunk)
            length -= len(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Let go of the open file. Safe to repeat."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._path = -1, None


def find(path: str, *, verify: bool = False) -> Dict[str, Any]:
    """The checkpoints at ``path``, a folder or one file, as JSON values; read-only and safe to repeat.

    Returns:
        ``directory`` (absolute), ``checkpoints`` newest first (``path`` relative to it, ``format``, ``size`` in bytes,
        ``modified`` in seconds since the epoch, ``step``, ``epoch``, ``tensors``, and ``detail``), and ``incomplete``
        (``path``, ``format``, ``why``, and ``kind``: damaged, writing or unverifiable). A path that does not exist has
        none of either.
    """
    directory = os.path.abspath(path)
    problems: List[Incomplete] = []
    if os.path.isfile(directory):
        directory, name = os.path.split(os.path.realpath(directory))
        listing = [file for file in walk(directory, problems, depth=0) if file.path == name]
    else:
        listing = walk(directory, problems)
    found = look(directory, listing, verify=verify)
    incomplete = sorted([*problems, *found.incomplete], key=lambda item: item.path)
    return {
        "directory": directory,
        "checkpoints": [as_json(checkpoint) for checkpoint in found.complete],
        "incomplete": [item.__dict__ for item in incomplete],
    }


def walk(directory: str, problems: List[Incomplete], *, depth: int = MAX_DEPTH) -> List[File]:
    """The regular files below ``directory``, sorted; what could not be looked at is added to ``problems``.

    A folder that disappears meanwhile is left out; one that may not be read is a problem, not an error.
    """
    files: List[File] = []
    waiting: List[Tuple[str, int]] = [("", 0)]
    while waiting:
        folder, level = waiting.pop()
        try:
            below = _enter(directory, folder, files)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(Incomplete(folder or ".", "folder", unreadable(error), DAMAGED))
            continue
        if len(files) > MAX_FILES:
            why = f"has more than {MAX_FILES} files; only some were looked at"
            problems.append(Incomplete(".", "folder", why, UNVERIFIABLE))
            break
        if level < depth:
            waiting.extend((path, level + 1) for path in below)
    return sorted(files)


def _enter(directory: str, folder: str, files: List[File]) -> List[str]:
    """Add the regular files of one folder to ``files`` (not many more than ``MAX_FILES``); gives the folders in it."""
    below: List[str] = []
    with os.scandir(os.path.join(directory, folder)) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                state = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile
            if stat.S_ISDIR(state.st_mode) and entry.name not in _NOT_OURS:
                below.append(path)
            elif stat.S_ISREG(state.st_mode):
                files.append(File(path, state.st_size, state.st_mtime))
            if len(files) > MAX_FILES:
                break
    return below


def look(directory: str, listing: Sequence[File], *, verify: bool = False) -> Found:
    """What the formats make of ``listing``; what changed while it was looked at counts as being written."""
    reader = Reader(directory)
    try:
        found = scan(listing, reader.read, verify=verify)
    finally:
        reader.close()
    files = {file.path: file for file in listing}
    for checkpoint in list(found.complete):
        if any(_changed(directory, files[path]) for path in checkpoint.files):
            found.complete.remove(checkpoint)
            why = "changed while it was read: still being written"
            found.incomplete.append(Incomplete(checkpoint.path, checkpoint.format, why, WRITING))
    found.complete = newest_first([_placed(directory, checkpoint) for checkpoint in found.complete])
    return found


def _changed(directory: str, file: File) -> bool:
    try:
        now = os.lstat(os.path.join(directory, file.path))
    except OSError:
        return True
    return (now.st_size, now.st_mtime) != (file.size, file.modified)


def _placed(directory: str, checkpoint: Checkpoint) -> Checkpoint:
    """``checkpoint`` with the position that the folder's own name tells, when nothing below it tells one."""
    if checkpoint.step is not None or checkpoint.epoch is not None:
        return checkpoint
    path = "" if checkpoint.path == "." else f"/{checkpoint.path}"
    step, epoch = position_from_name(os.path.basename(directory) + path)
    return replace(checkpoint, step=step, epoch=epoch)


def as_json(checkpoint: Checkpoint) -> Dict[str, Any]:
    """A checkpoint as the agent answers it."""
    tensors = checkpoint.contents.tensors
    dtypes: Dict[str, int] = {}
    for tensor in tensors or []:
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
    largest = sorted(tensors or [], key=lambda tensor: -tensor.elements)[:MAX_SHOWN]
    metadata = list(checkpoint.contents.metadata.items())[:MAX_SHOWN]
    return {
        "path": checkpoint.path,
        "format": checkpoint.format,
        "size": checkpoint.size,
        "modified": checkpoint.modified,
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "tensors": None if tensors is None else len(tensors),
        "paths": list(checkpoint.files),
        "detail": {
            "files": len(checkpoint.files),
            "elements": sum(tensor.elements for tensor in tensors or []),
            "dtypes": dtypes,
            "largest": [[tensor.name, tensor.dtype, list(tensor.shape)] for tensor in largest],
            "metadata": {str(key)[:MAX_TEXT]: _shown(value) for key, value in metadata},
        },
    }


def _shown(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:
        return str(value)  # JSON has no inf and no nan
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    text = str(value) if isinstance(value, (str, dict, list)) else "?"
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
