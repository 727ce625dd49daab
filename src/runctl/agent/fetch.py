"""The code of a run out of a store: what of a tree is missing here is read side by side, verified, and kept as blobs.

Repeating it reads only what is still missing; of a large file that is also what an earlier try, killed or not, had
brought, and what another version of the file on this machine has.
"""

from __future__ import annotations

import errno
from hashlib import sha256

from runctl.agent import blobs, tree
from runctl.agent.crew import together
from runctl.agent.failure import AgentFailure
from runctl.agent.home import free_bytes
from runctl.agent.large import LargeFile
from runctl.agent.tree_object import PIECE, TreeObject, base_of, unpacked
from runctl.agent.trees import Trees

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runctl.agent.home import Home
    from runctl.agent.store import Store
    from runctl.agent.tree_object import Block

    Progress = Callable[[int, int], None]

WORKERS = 8
STRETCH = 4 << 20  # bytes that one request asks for at most, unless one block is larger
TRIES = 3  # times a stretch is read that arrives with other bytes than it should


class Fetched:
    """What was done: ``entries`` is the tree, ``files`` and ``content`` what was missing, ``read`` bytes of the store."""

    def __init__(self, entries: list[dict[str, Any]], files: int, content: int, read: int) -> None:
        self.entries = entries
        self.files = files
        self.content = content
        self.read = read


def fetch(digest: str, store: Store, *, home: Home, progress: Progress) -> Fetched:
    """Bring every content of the tree here. ``progress`` is told bytes of content that are here, and are missing at all.

    Raises:
        AgentFailure: ``store-missing`` and what else the store says; ``tree-object``, ``tree-digest``, ``tree-unsafe``;
            ``blob-corrupt`` when a content stays wrong; ``disk-full``.
    """
    found = _tree(digest, store, Trees(home))
    lacking = {
        entry["digest"]: entry["size"]
        for entry in found.entries
        if entry["type"] == "file" and not blobs.is_here(entry["digest"], home=home)
    }
    work = _Fetching(found, lacking, store, home, progress)
    try:
        work.run()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = free_bytes(home.path)
            raise AgentFailure(
                "disk-full", path=home.path, free_bytes=free, needed_bytes=sum(lacking.values())
            ) from error
        raise
    return Fetched(found.entries, len(lacking), sum(lacking.values()), work.read)


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


class _Fetching:
    """One fetching: which pieces go where, and how far it is."""

    def __init__(
        self, found: TreeObject, lacking: dict[str, int], store: Store, home: Home, progress: Progress
    ) -> None:
        self._store = store
        self._home = home
        self._progress = progress
        self._total = sum(lacking.values())
        self._done = 0
        self.read = 0
        self._small = {digest for digest, size in lacking.items() if size <= PIECE}
        self._large = [
            LargeFile(digest, size, found.recipes[digest], home=home)
            for digest, size in lacking.items()
            if size > PIECE
        ]
        self._blocks = found.blocks

    def run(self) -> None:
        """Do it all."""
        try:
            self._places: dict[str, list[LargeFile]] = {}
            for file in self._large:
                self._done += file.begin()
                for piece in file.lacking:
                    self._places.setdefault(piece, []).append(file)
            self._tell(0)
            together((self._job(stretch) for stretch in self._stretches()), workers=WORKERS)
            for file in self._large:
                file.finish()
        finally:
            for file in self._large:
                file.close()

    def _wanted(self) -> Iterator[Block]:
        """The blocks to read, each piece from one of them."""
        wanted = self._small | set(self._places)
        for block in self._blocks:
            if not wanted.isdisjoint(block.pieces):
                wanted.difference_update(block.pieces)
                yield block
        if wanted:
            raise AgentFailure("tree-object", detail="it does not say where %s lies" % min(wanted))

    def _stretches(self) -> Iterator[list[Block]]:
        """Blocks that lie back to back and are read with one request."""
        run: list[Block] = []
        for block in sorted(self._wanted(), key=lambda block: (block.pack, block.offset)):
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

    def _job(self, stretch: list[Block]) -> Callable[[], None]:
        return lambda: self._take(stretch)

    def _take(self, stretch: list[Block]) -> None:
        """Read a stretch, again when its bytes are wrong, and put what is in it where it belongs."""
        first = stretch[0]
        length = sum(block.length for block in stretch)
        for tried in range(1, TRIES + 1):
            data = first.inline or self._store.get("packs/" + first.pack, start=first.offset, length=length)
            self.read += length
            try:
                for block in stretch:
                    begin = block.offset - first.offset
                    self._place(block, data[begin : begin + block.length])
            except ValueError as error:
                if tried == TRIES:
                    where = "in %s of the store" % (first.pack[:12] or "the tree")
                    raise AgentFailure(
                        "blob-corrupt", digest=first.pieces[0], found=str(error), where=where
                    ) from error
            else:
                return

    def _place(self, block: Block, data: bytes) -> None:
        """Keep the pieces of a block that are missing. Raises ``ValueError`` when one is not what it should be."""
        for piece, content in zip(block.pieces, unpacked(data)):
            if piece not in self._small and piece not in self._places:
                continue
            found = sha256(content).hexdigest()
            if found != piece:
                raise ValueError(found)
            if piece in self._small:
                blobs.keep(piece, content, home=self._home)
                self._tell(len(content))
            for file in self._places.get(piece, ()):
                self._tell(file.put(piece, content))

    def _tell(self, count: int) -> None:
        self._done += count
        self._progress(self._done, self._total)
