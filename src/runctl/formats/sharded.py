"""Weights in several files with an index (``model.safetensors.index.json``, ``pytorch_model.bin.index.json``)."""

from __future__ import annotations

import re
from typing import Dict, List, Sequence, Tuple

from runctl.formats.base import (
    Checkpoint,
    Contents,
    File,
    FileFormat,
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
from runctl.formats.safetensors import Safetensors, parse_object
from runctl.formats.torch import Torch

MAX_INDEX = 64 << 20  # bytes; some hundred thousand tensors
_INDEX = ".index.json"
_KINDS: Dict[str, FileFormat] = {".safetensors": Safetensors(), ".bin": Torch()}
_SHARD = re.compile(r"(.*?)[-_.]?\d+-of-(\d+)(\.safetensors|\.bin)$")


class Sharded(Format):
    """Complete when every file the index names is there, is complete, and holds the tensors the index puts there.

    Its path is the folder, as its readers want it; the index file itself where a folder has several.
    """

    name = "sharded"

    def find(self, listing: Sequence[File], read: Read, *, verify: bool = False) -> Found:
        """See ``Format.find``. Shards without an index are one incomplete checkpoint: the index is written last."""
        found = Found()
        files = {file.path: file for file in listing}
        indexes = [file for file in listing if _kind(file.name)]
        for index in indexes:
            alone = sum(other.folder == index.folder for other in indexes) == 1
            path = (index.folder or ".") if alone else index.path
            found.claimed.add(index.path)
            found.claimed.update(_siblings(index, listing))
            try:
                shards = _shards(index, read)
                beside = f"{index.folder}/" if index.folder else ""
                found.claimed.update(beside + name for name in shards if beside + name in files)
                whole = self._whole(path, index, shards, files=files, read=read, verify=verify)
            except Rejected as error:
                found.incomplete.append(Incomplete(path, self.name, error.why, error.kind))
            except OSError as error:
                found.incomplete.append(Incomplete(path, self.name, unreadable(error)))
            else:
                found.complete.append(whole)
        self._orphans(listing, found)
        return found

    def _whole(
        self,
        path: str,
        index: File,
        shards: Dict[str, List[str]],
        *,
        files: Dict[str, File],
        read: Read,
        verify: bool,
    ) -> Checkpoint:
        folder = f"{index.folder}/" if index.folder else ""
        missing = [name for name in shards if folder + name not in files]
        if missing:
            raise Rejected(
                f"{len(missing)} of the {len(shards)} files its index names are missing: {missing[0]}"
            )
        parts: List[Contents] = []
        for name, tensors in shards.items():
            file = files[folder + name]
            try:
                part = _KINDS[_kind(index.name)].inspect(
                    Window(read, file.path, size=file.size), verify=verify
                )
            except Rejected as error:
                raise Rejected(f"{name}: {error.why}", kind=error.kind) from error
            held = None if part is None or part.tensors is None else {tensor.name for tensor in part.tensors}
            absent = [] if held is None else [tensor for tensor in tensors if tensor not in held]
            if absent:
                raise Rejected(f"{name}: does not hold {absent[0]}, which the index puts there")
            parts.append(part or Contents())
        return describe(path, self.name, [index, *(files[folder + name] for name in shards)], merged(parts))

    def _orphans(self, listing: Sequence[File], found: Found) -> None:
        groups: Dict[Tuple[str, str, str, str], List[str]] = {}
        for file in listing:
            shard = _SHARD.match(file.name)
            if shard and file.path not in found.claimed:
                groups.setdefault((file.folder, shard.group(1), shard.group(2), shard.group(3)), []).append(
                    file.path
                )
        for (folder, _, total, _), paths in groups.items():
            why = f"{len(paths)} of {int(total)} files are there, and no index (it is written last)"
            found.incomplete.append(Incomplete(folder or ".", self.name, why))
            found.claimed.update(paths)


def _kind(name: str) -> str:
    """``.safetensors`` or ``.bin`` for the name of an index of such files, else empty."""
    for kind in _KINDS:
        if name.endswith(kind + _INDEX):
            return kind
    return ""


def is_index(name: str) -> bool:
    """Whether a file of that name is the index of a sharded checkpoint."""
    return bool(_kind(name))


def _siblings(index: File, listing: Sequence[File]) -> List[str]:
    """The shards that lie beside an index by their names, also when the index is too damaged to name them."""
    stem = index.name[: -len(_kind(index.name) + _INDEX)]
    shards = ((file, _SHARD.match(file.name)) for file in listing if file.folder == index.folder)
    return [file.path for file, shard in shards if shard and shard.group(1) == stem]


def _shards(index: File, read: Read) -> Dict[str, List[str]]:
    """``{file: [tensors]}`` as the index states. Raises ``Rejected`` for an index that is not one."""
    if index.size > MAX_INDEX:
        raise Rejected(f"has an index of {index.size} bytes")
    try:
        placed = parse_object(Window(read, index.path, size=index.size).at(0, index.size)).get("weight_map")
    except Rejected as error:
        raise Rejected(f"its index {error.why}", kind=error.kind) from error
    if not isinstance(placed, dict) or not placed:
        raise Rejected("its index has no weight_map")
    shards: Dict[str, List[str]] = {}
    for tensor, name in placed.items():
        if not isinstance(name, str) or "/" in name or name in ("", ".", ".."):
            raise Rejected(f"its index names a file outside of its folder: {name!r}")
        shards.setdefault(name, []).append(tensor)
    return shards
