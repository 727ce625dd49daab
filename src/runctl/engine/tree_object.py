"""The object ``trees/<tree digest>`` of a store: what the tree holds, and where its content lies. Pure.

Contents are cut into **pieces** of at most ``PIECE`` bytes, named by SHA-256: a small file is one piece, a large one
several. Pieces lie in compressed **blocks**, blocks back to back in **packs**; few bytes lie in the tree object itself.
The object is written after everything it names, so its presence proves that all of it is there. One that is based on
another (a *delta*) holds only what differs from it; a base is never a delta itself. The format stands in
``docs/architecture.md``; the agent reads it in ``agent/tree_object.py``.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PIECE: Final = 1 << 20  # bytes
_MAGIC: Final = b"runctl-tree 1"
_LEVEL: Final = 6


@dataclass(frozen=True)
class Block:
    """A stretch of a pack (the tree object's own inline bytes when ``pack`` is empty) and the pieces in it, in order."""

    pack: str
    offset: int
    length: int
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class TreeObject:
    """One tree in a store.

    ``entries`` have the shape of the protocol; of a delta they are those that are new or differ, and ``removed`` are
    the paths of the base that are gone. ``recipes`` name the pieces of each file that is larger than one.
    """

    tree: str
    entries: tuple[Mapping[str, Any], ...]
    blocks: tuple[Block, ...]
    recipes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""
    removed: tuple[str, ...] = ()
    inline: bytes = b""

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Every piece of its own blocks, in their order."""
        return tuple(piece for block in self.blocks for piece in block.pieces)


def pieces_of(entry: Mapping[str, Any], recipes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The pieces of a file, in order."""
    if entry["size"] <= PIECE:
        return (entry["digest"],)
    return recipes[entry["digest"]]


def encode(tree: TreeObject, base: TreeObject | None = None) -> bytes:
    """The object's bytes. ``base`` is the tree it is based on, if it is."""
    numbers = {} if base is None else {piece: -1 - n for n, piece in enumerate(base.pieces)}
    numbers.update({piece: n for n, piece in enumerate(tree.pieces)})
    packs = list(dict.fromkeys(block.pack for block in tree.blocks))
    where = {pack: n for n, pack in enumerate(packs)}
    header = {
        "v": 1,
        "tree": tree.tree,
        "base": tree.base,
        "entries": [_row(entry, tree.recipes, numbers) for entry in tree.entries],
        "removed": tree.removed,
        "packs": packs,
        "blocks": [
            [where[block.pack], block.offset, block.length, len(block.pieces)] for block in tree.blocks
        ],
    }
    body = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), _LEVEL)
    digests = bytes.fromhex("".join(tree.pieces))
    return b"%s %d %d\n" % (_MAGIC, len(body), len(tree.pieces)) + body + digests + tree.inline


def _row(
    entry: Mapping[str, Any], recipes: Mapping[str, tuple[str, ...]], numbers: Mapping[str, int]
) -> list[Any]:
    if entry["type"] == "link":
        return [entry["path"], "l", entry["target"]]
    if entry["type"] == "dir":
        return [entry["path"], "d"]
    mark = "x" if entry["exec"] else "f"
    if entry["size"] <= PIECE:
        return [entry["path"], mark, entry["size"], numbers[entry["digest"]]]
    runs = _runs([numbers[piece] for piece in recipes[entry["digest"]]])
    return [entry["path"], mark, entry["size"], entry["digest"], *runs]


def _runs(numbers: Sequence[int]) -> Iterable[int]:
    """Consecutive numbers as start and count; those of the base are negative and count downwards."""
    out: list[int] = []
    for number in numbers:
        if out and number == (out[-2] + out[-1] if out[-2] >= 0 else out[-2] - out[-1]):
            out[-1] += 1
        else:
            out += [number, 1]
    return out


class Named(NamedTuple):
    """What an object counts on: the tree it is based on (or empty), and packs (an empty name is its own inline bytes)."""

    base: str
    packs: tuple[str, ...]


def names(data: bytes) -> Named:
    """What an object names. Raises ``ValueError`` for what is no tree object."""
    header, _ = _header(data)
    return Named(header["base"], tuple(header["packs"]))


def decode(data: bytes, base: TreeObject | None = None) -> TreeObject:
    """The inverse of ``encode``. Raises ``ValueError`` for what is no tree object, or another one than ``base`` is for."""
    header, rest = _header(data)
    if header["base"] != ("" if base is None else base.tree):
        raise ValueError(f"based on {header['base'] or 'nothing'}")
    count = sum(row[3] for row in header["blocks"])
    text = data[rest : rest + count * 32].hex()
    pieces = [text[n : n + 64] for n in range(0, count * 64, 64)]
    blocks, at = [], 0
    for pack, offset, length, holds in header["blocks"]:
        blocks.append(Block(header["packs"][pack], offset, length, tuple(pieces[at : at + holds])))
        at += holds
    own_and_base = (pieces, () if base is None else base.pieces)
    recipes: dict[str, tuple[str, ...]] = {}
    entries = [_entry(row, own_and_base, recipes) for row in header["entries"]]
    return TreeObject(
        header["tree"],
        tuple(entries),
        tuple(blocks),
        recipes,
        header["base"],
        tuple(header["removed"]),
        data[rest + count * 32 :],
    )


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The JSON of an object, and where its digests begin."""
    line, newline, _ = data[:128].partition(b"\n")
    words = line.split()
    if not newline or b" ".join(words[:2]) != _MAGIC or len(words) != 4:
        raise ValueError("not a tree object")
    begin = len(line) + 1
    end = begin + int(words[2])
    try:
        header: dict[str, Any] = json.loads(zlib.decompress(data[begin:end]))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return header, end


def _entry(
    row: Sequence[Any],
    pieces: tuple[Sequence[str], Sequence[str]],
    recipes: dict[str, tuple[str, ...]],
) -> dict[str, Any]:
    path, kind = row[0], row[1]
    if kind == "l":
        return {"path": path, "type": "link", "target": row[2], "exec": False}
    if kind == "d":
        return {"path": path, "type": "dir", "exec": False}
    own, base = pieces
    if isinstance(row[3], int):
        digest = own[row[3]] if row[3] >= 0 else base[-1 - row[3]]
    else:
        digest = row[3]
        found: list[str] = []
        for start, count in zip(row[4::2], row[5::2], strict=True):
            found += own[start : start + count] if start >= 0 else base[-1 - start : -1 - start + count]
        recipes[digest] = tuple(found)
    return {"path": path, "type": "file", "digest": digest, "size": row[2], "exec": kind == "x"}


def difference(
    entries: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """What makes ``entries`` out of ``base``: the entries that are new or differ, and the paths that are gone."""
    before = {entry["path"]: entry for entry in base}
    changed = tuple(entry for entry in entries if before.pop(entry["path"], None) != entry)
    paths = {entry["path"] for entry in changed}
    return changed, tuple(path for path in before if path not in paths)
