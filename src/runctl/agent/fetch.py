"""The code of a run out of a store: what of a tree is missing here is read side by side, verified, and kept as blobs.

Repeating it reads only what is still missing; of a large file that is also what an earlier try, killed or not, had
brought, and what another version of the file on this machine has.
"""

from __future__ import annotations

import errno
import threading

from runctl.agent import cache_blobs, tree
from runctl.agent.failure import AgentFailure
from runctl.agent.home import free_bytes
from runctl.agent.placing import Placing
from runctl.agent.tree_object import TreeObject, base_of
from runctl.agent.trees import Trees
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from runctl.agent.home import Home
    from runctl.agent.placing import Progress
    from runctl.agent.store import Store
    from runctl.agent.tree_object import Block

WORKERS = 12
STRETCH = 4 << 20  # bytes that one request asks for at most, unless one block is larger
TRIES = 3  # times a stretch is read that arrives with other bytes than it should


class Fetched:
    """What was done: ``entries`` is the tree, ``files`` and ``content`` what was missing, ``read`` bytes of the store.

    ``kept`` files were missing, too, and came out of the cache.
    """

    def __init__(self, entries: list[dict[str, Any]], files: int, content: int, read: int, kept: int) -> None:
        self.entries = entries
        self.files = files
        self.content = content
        self.read = read
        self.kept = kept


def fetch(digest: str, store: Store, *, home: Home, progress: Progress, cache: str = "") -> Fetched:
    """Bring every content of the tree here; ``cache``: a folder that may have large ones, asked before the store.

    Raises:
        AgentFailure: ``store-missing`` and what else the store says; ``tree-object``, ``tree-digest``, ``tree-unsafe``;
            ``blob-corrupt`` when a content stays wrong; ``disk-full``.
    """
    found = _tree(digest, store, Trees(home))
    kept = cache_blobs.take(found.entries, cache, home=home) if cache else 0
    placing = Placing(found.entries, found.recipes, home=home, progress=progress)
    reading = Reading(store, placing)
    try:
        with placing:
            stretches = _stretches(_wanted(found.blocks, placing.lacking()))
            together((reading.job(stretch) for stretch in stretches), workers=WORKERS)
            placing.finish()
    except OSError as error:
        raise no_space(error, home, placing.content) from error
    return Fetched(found.entries, placing.files, placing.content, reading.read, kept)


def no_space(error: OSError, home: Home, needed: int) -> BaseException:
    """``disk-full`` when that is what an error says, else the error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AgentFailure(
            "disk-full", path=home.path, free_bytes=free_bytes(home.path), needed_bytes=needed
        )
    return error


def _tree(digest: str, store: Store, trees: Trees) -> TreeObject:
    """The tree, from this machine if it has it, and checked."""
    kept = trees.read(digest)
    data = store.get("trees/" + digest) if kept is None else kept
    base, based_on = None, base_of(data)
    if based_on:
        base_data = trees.read(based_on) or store.get("trees/" + based_on)
        base = TreeObject(base_data)
        trees.keep(based_on, base_data)
    found = TreeObject(data, base)
    if kept is None:
        tree.check(found.entries)
        computed = tree.digest_of(found.entries)
        if computed != digest:
            raise AgentFailure("tree-digest", expected=digest, found=computed)
        trees.keep(digest, data)
    return found


def _wanted(blocks: Iterable[Block], lacking: set[str]) -> Iterator[Block]:
    """The blocks to read, each piece from one of them."""
    wanted = set(lacking)
    for block in blocks:
        if not wanted.isdisjoint(block.pieces):
            wanted.difference_update(block.pieces)
            yield block
    if wanted:
        raise AgentFailure("tree-object", detail="it does not say where %s lies" % min(wanted))


def _stretches(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks that lie back to back and are read with one request."""
    run: list[Block] = []
    for block in sorted(blocks, key=lambda block: (block.pack, block.offset)):
        if run and (
            block.pack != run[-1].pack
            or not block.pack
            or block.offset != run[-1].offset + run[-1].length
            or block.offset + block.length - run[0].offset > STRETCH
        ):
            yield run
            run = []
        run.append(block)
    if run:
        yield run


class Reading:
    """Reads stretches of packs and places what is in them; ``read`` counts the bytes. Safe from several threads."""

    def __init__(self, store: Store, placing: Placing) -> None:
        self._store = store
        self._placing = placing
        self._lock = threading.Lock()
        self.read = 0

    def job(self, stretch: list[Block]) -> Callable[[], None]:
        """The reading of blocks that lie back to back, as a piece of work.

        Raises:
            AgentFailure: (by the work) what the store says; ``blob-corrupt`` when its bytes stay wrong.
        """
        return lambda: self._take(stretch)

    def _take(self, stretch: list[Block]) -> None:
        """Read a stretch, again when its bytes are wrong, and put what is in it where it belongs."""
        first = stretch[0]
        length = sum(block.length for block in stretch)
        for tried in range(1, TRIES + 1):
            data = first.inline or self._store.get("packs/" + first.pack, start=first.offset, length=length)
            with self._lock:
                self.read += length
            try:
                for block in stretch:
                    begin = block.offset - first.offset
                    self._placing.place(block.pieces, data[begin : begin + block.length])
            except ValueError as error:
                if tried == TRIES:
                    where = "in %s of the store" % (first.pack[:12] or "the tree")
                    raise AgentFailure(
                        "blob-corrupt", digest=first.pieces[0], found=str(error), where=where
                    ) from error
            else:
                return
