"""Folders of ``torch.distributed.checkpoint``: ``.metadata`` and one ``__RANK_N.distcp`` per writer."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from runctl.formats.base import (
    UNVERIFIABLE,
    Checkpoint,
    Contents,
    File,
    Format,
    Found,
    Incomplete,
    Read,
    Rejected,
    Tensor,
    Window,
    describe,
    unreadable,
)
from runctl.formats.pickled import Call, Name, Reader, Stream
from runctl.formats.zipped import MAGIC, Archive

METADATA = ".metadata"
SUFFIX = ".distcp"


class Piece(NamedTuple):
    """Where the metadata says a tensor, or a part of one, lies."""

    file: str
    offset: int
    length: int


class Distributed(Format):
    """Complete when every piece the metadata names lies within a file that is there.

    The metadata is written when every writer is done. A piece is a file of ``torch.save`` of its own: ``verify``
    compares the checksums of each.
    """

    name = "torch-distributed"

    def find(self, listing: Sequence[File], read: Read, *, verify: bool = False) -> Found:
        """See ``Format.find``."""
        found = Found()
        folders: Dict[str, List[File]] = {}
        for file in listing:
            if file.name == METADATA or file.name.endswith(SUFFIX):
                folders.setdefault(file.folder, []).append(file)
        for folder, files in folders.items():
            path = folder or "."
            found.claimed.update(file.path for file in files)
            try:
                found.complete.append(self._whole(path, files, read, verify=verify))
            except Rejected as error:
                found.incomplete.append(Incomplete(path, self.name, error.why, error.kind))
            except OSError as error:
                found.incomplete.append(Incomplete(path, self.name, unreadable(error)))
        return found

    def _whole(self, path: str, files: Sequence[File], read: Read, *, verify: bool) -> Checkpoint:
        by_name = {file.name: file for file in files}
        if METADATA not in by_name:
            raise Rejected(f"has no {METADATA} (it is written when every writer is done)")
        metadata = by_name[METADATA]
        pieces, tensors = read_metadata(Window(read, metadata.path, size=metadata.size))
        for piece in pieces:
            if piece.file not in by_name:
                raise Rejected(f"{piece.file} is missing, which its metadata names")
            file = by_name[piece.file]
            window = Window(read, file.path, size=file.size)
            try:
                _check_piece(window.part(piece.offset, piece.length), verify=verify)
            except Rejected as error:
                raise Rejected(f"{piece.file} at {piece.offset}: {error.why}", kind=error.kind) from error
        return describe(path, self.name, files, Contents(tensors=tensors))


def _check_piece(part: Window, *, verify: bool) -> None:
    """Nothing more than that it lies within its file, or also its checksums. Raises ``Rejected``."""
    head = part.at(0, min(part.size, 64)) if verify else b""
    if head.startswith(MAGIC):
        Archive(part).verify()
    elif head and not any(head):
        raise Rejected("holds zeros where its metadata puts data")


def read_metadata(window: Window) -> Tuple[List[Piece], List[Tensor]]:
    """The pieces and tensors a ``.metadata`` names; it is read as opcodes, never unpickled. Raises ``Rejected``."""
    stream = Stream(window)
    reader = Reader(stream)
    try:
        value = reader.read()
    except Rejected as error:
        raise Rejected(f"its {METADATA} {error.why}", kind=error.kind) from error
    if stream.position != window.size:
        raise Rejected(f"its {METADATA} goes on after its end")
    pieces = [_piece(call.state) for call in reader.calls if call.full.endswith("._StorageInfo")]
    state = value.state if isinstance(value, Call) and isinstance(value.state, dict) else {}
    described = state.get("state_dict_metadata")
    if not isinstance(described, dict):
        raise Rejected(f"its {METADATA} is not one of torch.distributed.checkpoint")
    tensors = [
        Tensor(str(name), _dtype(item.state.get("properties")), _size(item.state.get("size")))
        for name, item in described.items()
        if isinstance(item, Call)
        and item.full.endswith(".TensorStorageMetadata")
        and isinstance(item.state, dict)
    ]
    if tensors and not pieces:
        raise Rejected(f"its {METADATA} does not say where its tensors are", kind=UNVERIFIABLE)
    return pieces, tensors


def _piece(state: Any) -> Piece:
    values = state if isinstance(state, dict) else {}
    piece = Piece(values.get("relative_path", ""), values.get("offset", -1), values.get("length", -1))
    if not (type(piece.file) is str and type(piece.offset) is int and type(piece.length) is int):
        raise Rejected(f"its {METADATA} names a place that is none")
    return piece


def _dtype(properties: Any) -> str:
    held = properties.state if isinstance(properties, Call) else None
    first = (
        held[0] if isinstance(held, tuple) and held else held.get("dtype") if isinstance(held, dict) else None
    )
    return first.full.rpartition(".")[2] if isinstance(first, Name) else "?"


def _size(value: Any) -> Tuple[int, ...]:
    held = value.arguments[0] if isinstance(value, Call) and value.arguments else ()
    return tuple(n for n in held if isinstance(n, int)) if isinstance(held, tuple) else ()
