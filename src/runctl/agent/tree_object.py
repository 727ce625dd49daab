"""The object ``trees/<tree digest>`` of a store, as a machine reads it. The format stands in ``docs/architecture.md``."""

from __future__ import annotations

import json
import zlib

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

PIECE = 1 << 20  # bytes; a larger file is several pieces
MAGIC = [b"runctl-tree", b"1"]
HEADER_LIMIT = 1 << 30  # bytes of JSON; a tree of a million files is about 100 MB
BLOCK_LIMIT = 64 << 20  # bytes of content in one block; what is written here has at most 2 MiB


class Block:
    """Where some pieces lie: a stretch of a pack, or of the inline bytes of a tree object when ``pack`` is empty."""

    __slots__ = ("inline", "length", "offset", "pack", "pieces")

    def __init__(self, pack: str, offset: int, length: int, pieces: list[str], inline: bytes) -> None:
        self.pack = pack
        self.offset = offset
        self.length = length
        self.pieces = pieces
        self.inline = inline  # the stretch itself, when there is no pack


class TreeObject:
    """A tree and where its content lies.

    ``entries`` are complete, also of an object that is based on another; ``recipes`` name the pieces of each file that is
    larger than one; ``blocks`` are the base's and its own.
    """

    def __init__(self, data: bytes, base: TreeObject | None = None) -> None:
        """``base`` is what ``base_of`` names. Raises ``AgentFailure``: ``tree-object`` for what cannot be understood."""
        self.blocks: list[Block] = [] if base is None else list(base.blocks)
        self.entries: list[dict[str, Any]] = []
        try:
            self._read(data, base)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            detail = "%s: %s" % (type(error).__name__, error)
            raise AgentFailure("tree-object", detail=detail) from error

    def _read(self, data: bytes, base: TreeObject | None) -> None:
        header, rest = _header(data)
        self.tree: str = header["tree"]
        self.recipes: dict[str, list[str]] = {} if base is None else dict(base.recipes)
        count = sum(row[3] for row in header["blocks"])
        text = data[rest : rest + count * 32].hex()
        self.pieces = [text[n : n + 64] for n in range(0, len(text), 64)]
        inline = data[rest + count * 32 :]
        self._base_pieces = [] if base is None else base.pieces
        self.blocks += self._own_blocks(header, inline)
        gone = set(header["removed"])
        entries = {} if base is None else {e["path"]: e for e in base.entries if e["path"] not in gone}
        for row in header["entries"]:
            entries[row[0]] = self._entry(row)
        self.entries = list(entries.values())

    def _own_blocks(self, header: dict[str, Any], inline: bytes) -> Iterator[Block]:
        at = 0
        for pack, offset, length, holds in header["blocks"]:
            name = header["packs"][pack]
            stretch = b"" if name else inline[offset : offset + length]
            yield Block(name, offset, length, self.pieces[at : at + holds], stretch)
            at += holds

    def _entry(self, row: Sequence[Any]) -> dict[str, Any]:
        path, kind = row[0], row[1]
        if kind == "l":
            return {"path": path, "type": "link", "target": row[2], "exec": False}
        if kind == "d":
            return {"path": path, "type": "dir", "exec": False}
        size, name = row[2], row[3]
        if isinstance(name, int):
            name = self.pieces[name] if name >= 0 else self._base_pieces[-1 - name]
        else:
            self.recipes[name] = self._runs(row[4:])
        return {"path": path, "type": "file", "digest": name, "size": size, "exec": kind == "x"}

    def _runs(self, numbers: Sequence[int]) -> list[str]:
        found: list[str] = []
        for start, count in zip(numbers[::2], numbers[1::2]):
            if start >= 0:
                found += self.pieces[start : start + count]
            else:
                found += self._base_pieces[-1 - start : -1 - start + count]
        return found


def base_of(data: bytes) -> str:
    """The tree an object is based on; empty for none. Raises ``AgentFailure``: ``tree-object``."""
    try:
        return str(_header(data)[0]["base"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise AgentFailure("tree-object", detail=str(error)) from error


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The JSON of an object, and where its digests begin."""
    line = data[:128].partition(b"\n")[0]
    words = line.split()
    if words[:2] != MAGIC:
        raise ValueError("it begins with %r" % line[:40])
    begin = len(line) + 1
    end = begin + int(words[2])
    header = json.loads(_inflated(data[begin:end], HEADER_LIMIT))
    return header, end


def unpacked(block: bytes) -> list[bytes]:
    """The pieces in a block. Raises ``ValueError`` for what is no block."""
    method, body = block[:1], block[1:]
    if method == b"Z":
        body = _inflated(body, BLOCK_LIMIT)
    elif method == b"S":
        body = _of_zstd(body)
    elif method != b"R":
        raise ValueError("a block of unknown kind %r" % method)
    line = body[: body.index(b"\n")]
    found, at = [], len(line) + 1
    for word in line.split():
        size = int(word)
        found.append(body[at : at + size])
        if len(found[-1]) != size:
            raise ValueError("a block ends early")
        at += size
    return found


def _of_zstd(data: bytes) -> bytes:
    from runctl.agent.zstd import decompressor  # noqa: PLC0415 - only what was said to be known here is sent

    decompress = decompressor()
    if decompress is None:
        raise AgentFailure("zstd-missing")
    return decompress(data, BLOCK_LIMIT)


def _inflated(data: bytes, limit: int) -> bytes:
    machine = zlib.decompressobj()
    try:
        out = machine.decompress(data, limit)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not machine.eof:
        raise ValueError("it ends early, or is larger than it may be")
    return out
