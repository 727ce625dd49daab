"""Packs: how many small contents travel as few objects. Pure, but for the reading of what is packed.

A pack is blocks back to back. A block is one letter, ``Z`` (zlib), ``S`` (Zstandard) or ``R`` (as it is), then its content: a line with the
sizes of its pieces, and the pieces. A piece's name is not written: who unpacks it computes it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from runctl.engine.tree_object import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runctl.engine.compression import Pace

_BLOCK: Final = 1 << 20  # bytes of content; what is read of a pack is whole blocks
_MOST: Final = 8 << 20  # bytes of content of one pack
_LEAST: Final = 1 << 18
_SHARE: Final = 100  # a pack is about one hundredth of what travels: what a killed client has to send again
_FEW, _MANY = 4, 12  # packs at once
_LITTLE: Final = 32 << 20  # bytes of content
_SAMPLE: Final = 1 << 16  # bytes that are compressed to see whether that pays
_PAYS: Final = 0.95


@dataclass(frozen=True)
class Piece:
    """Something that has to travel. ``file`` is the digest of the file it is part of, ``start`` where it lies there."""

    digest: str
    size: int
    file: str
    start: int = 0


def plan(pieces: Iterable[Piece]) -> list[list[list[Piece]]]:
    """Packs of blocks of pieces, in the order given. The same pieces give the same plan."""
    pieces = list(pieces)
    limit = min(_MOST, max(_LEAST, sum(piece.size for piece in pieces) // _SHARE))
    packs: list[list[list[Piece]]] = []
    in_pack = limit
    in_block = _BLOCK
    for piece in pieces:
        if in_pack >= limit:
            packs.append([])
            in_pack, in_block = 0, _BLOCK
        if in_block >= _BLOCK or in_block + piece.size > _BLOCK:
            packs[-1].append([])
            in_block = 0
        packs[-1][-1].append(piece)
        in_pack += piece.size
        in_block += piece.size
    return packs


def at_once(packs: Sequence[Sequence[Sequence[Piece]]]) -> int:
    """How many of these packs to make and send at once.

    Where all is little, many: they are round trips more than bytes. Else a few fill the line, and no more is in memory, or
    lost when the client is killed.
    """
    little = sum(piece.size for pack in packs for block in pack for piece in block) <= _LITTLE
    return _MANY if little else _FEW


def block(contents: Sequence[bytes], pace: Pace) -> bytes:
    """The bytes of a block that holds ``contents``, compressed where that pays."""
    sizes = b" ".join(b"%d" % len(content) for content in contents)
    raw = b"".join((sizes, b"\n", *contents))
    sample = raw[:_SAMPLE]
    if len(zlib.compress(sample, 1)) < len(sample) * _PAYS:
        packed = pace.pack(raw)
        if len(packed) < len(raw) * _PAYS:
            return pace.codec.letter + packed
    return b"R" + raw


def pack(
    blocks: Sequence[Sequence[Piece]], read: Callable[[Piece], bytes], pace: Pace
) -> tuple[bytes, list[Block]]:
    """The bytes of a pack and its blocks; ``read`` gives the content of a piece. The pack is named by its SHA-256."""
    made = [block([read(piece) for piece in pieces], pace) for pieces in blocks]
    body = b"".join(made)
    name = sha256(body).hexdigest()
    found, at = [], 0
    for content, pieces in zip(made, blocks, strict=True):
        found.append(Block(name, at, len(content), tuple(piece.digest for piece in pieces)))
        at += len(content)
    return body, found
