"""Bring a snapshot into a store: ask once what is there, send what is not in parallel packs, the tree last.

A client that is killed leaves packs that nothing names yet; the next one remembers them (``StoreMemory``), asks whether
they are still there, and sends the rest. Two clients at once disturb nothing: objects are named by their content.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runctl.core.cancel import CancelToken, together
from runctl.core.quantities import count, size
from runctl.engine import packs, tree_object
from runctl.engine.compression import ZLIB, Pace
from runctl.engine.contents import Contents, by_content
from runctl.engine.steps import step
from runctl.engine.store_memory import StoreMemory
from runctl.engine.tree_object import PIECE, Block, TreeObject, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.ports import Store
    from runctl.engine.packs import Piece
    from runctl.engine.plan import CodePlan
    from runctl.engine.steps import Step
    from runctl.project.snapshot import Snapshot

FRESH_SECONDS: Final = 15 * 86400  # what is younger is safe from the collection of garbage for as long again
_ASKING: Final = 8  # questions at once
_INLINE: Final = 32 << 10  # bytes of content that ride in the tree object
_DELTA_FROM: Final = 1000  # entries; a smaller tree is always sent whole


@dataclass(frozen=True)
class Sent:
    """What a sending did. Sizes in bytes; ``sent`` is what went over the wire, objects without their headers."""

    tree: str
    files: int
    content: int  # of the files that had to travel, each content once
    sent: int
    objects: int
    seconds: float

    @property
    def was_there(self) -> bool:
        """Whether the store had everything."""
        return self.objects == 0


@dataclass(frozen=True)
class _Known:
    """What the store has of a project, by its own word."""

    there: bool = False  # the very tree
    base: TreeObject | None = None
    blocks: tuple[Block, ...] = ()  # of packs that belong to no tree yet

    def pieces(self, *, of_base: bool) -> set[str]:
        """What need not travel; ``of_base``: what lies in the base's own object counts, too."""
        found = {piece for block in self.blocks for piece in block.pieces}
        if self.base is not None:
            for block in self.base.blocks:
                if block.pack or of_base:
                    found.update(block.pieces)
        return found


def send_code(
    code: CodePlan, store: Store, *, env: Mapping[str, str], emit: Emit, clock: Clock, cancel: CancelToken
) -> Sent:
    """Bring the plan's snapshot into ``store``, what it lacks of it. Safe to repeat: what arrived is not sent again.

    Raises:
        RunctlError: ``file-changed`` when a file no longer is what the plan saw; what the store says.
        Cancelled: packs that arrived whole stay and are not sent again.
    """
    begun = clock.monotonic()
    with step("sync", "send code", emit=emit, clock=clock) as doing:
        memory = StoreMemory(store.url, code.snapshot.root, env=env)
        if memory.base() is None and not memory.packs():
            known, sending = _ask_and_send(code.snapshot, store, memory, doing, cancel)
        else:
            known = _ask(code.snapshot.digest, store, memory, cancel)
            sending = _Sending(code.snapshot, store, memory, known, doing)
            if not known.there:
                sending.run(cancel)
        if known.there:
            doing.skipped = True
            doing.summary = f"the store has all of {count(code.snapshot.files, 'files')}"
            return Sent(code.snapshot.digest, 0, 0, 0, 0, clock.monotonic() - begun)
        doing.summary = f"{count(sending.files, 'files')}, {size(sending.content)}; {size(sending.sent)} sent"
        return Sent(
            code.snapshot.digest,
            sending.files,
            sending.content,
            sending.sent,
            sending.objects,
            clock.monotonic() - begun,
        )


def _ask_and_send(
    snapshot: Snapshot, store: Store, memory: StoreMemory, doing: Step, cancel: CancelToken
) -> tuple[_Known, _Sending]:
    """For who knows nothing of the store: most likely it has not got the tree, so sending does not wait for its answer.

    Should somebody else have brought it, sending ends; what it brought until then is what it would have been anyway.
    """
    sending = _Sending(snapshot, store, memory, _Known(), doing)
    with together(cancel) as scope:
        needed = CancelToken(scope.cancel)
        scope.start("send", lambda: sending.run(needed))
        known = _ask(snapshot.digest, store, memory, scope.cancel)
        if known.there:
            needed.cancel("somebody else brought it")
    return known, sending


def missing_in_store(
    snapshot: Snapshot, store: Store, *, env: Mapping[str, str], cancel: CancelToken
) -> tuple[str, ...]:
    """The digests of the files whose content would travel, whole or in part. Asks the store once; writes nothing."""
    known = _ask(snapshot.digest, store, StoreMemory(store.url, snapshot.root, env=env), cancel)
    if known.there:
        return ()
    pieces = known.pieces(of_base=True)
    recipes = {} if known.base is None else known.base.recipes
    lacking = []
    for digest, entry in by_content(snapshot.entries).items():
        whole = entry["size"] <= PIECE or digest in recipes
        if not whole or not pieces.issuperset(pieces_of(entry, recipes)):
            lacking.append(digest)
    return tuple(lacking)


def _ask(tree: str, store: Store, memory: StoreMemory, cancel: CancelToken) -> _Known:
    """What the store has, asked side by side."""
    base, blocks = memory.base(), memory.packs()
    names = sorted({f"packs/{block.pack}" for block in blocks})
    keys = [f"trees/{tree}", *([f"trees/{base.tree}"] if base is not None else ()), *names]
    there = _present(dict.fromkeys(keys), store, cancel)
    if base is not None and f"trees/{base.tree}" not in there:
        base = None
    return _Known(
        f"trees/{tree}" in there, base, tuple(block for block in blocks if f"packs/{block.pack}" in there)
    )


def _present(keys: Iterable[str], store: Store, cancel: CancelToken) -> set[str]:
    """Those of ``keys`` that are in the store and young enough to be relied on."""
    waiting, found = deque(keys), set()

    def work(token: CancelToken) -> None:
        while True:
            try:
                key = waiting.popleft()
            except IndexError:
                return
            for stored in store.list(key, cancel=token):
                if stored.key == key and time.time() - stored.modified < FRESH_SECONDS:
                    found.add(key)
                break

    with together(cancel) as scope:
        for _ in range(min(_ASKING, len(waiting))):
            scope.start("ask-store", lambda: work(scope.cancel))
    return found


class _Sending:
    """One sending: what travels, and how far it is. Sizes in bytes."""

    def __init__(
        self, snapshot: Snapshot, store: Store, memory: StoreMemory, known: _Known, doing: Step
    ) -> None:
        self._snapshot = snapshot
        self._store = store
        self._memory = memory
        self._known = known
        self._doing = doing
        self._made: list[Block] = []
        self._counting = threading.Lock()
        self._pace = Pace(ZLIB)  # whoever reads it may be a machine that nobody has seen yet
        self._contents = Contents(snapshot, {} if known.base is None else known.base.recipes)
        self.files = self.content = self.sent = self.objects = 0

    def run(self, cancel: CancelToken) -> None:
        """Send the packs, then the tree."""
        entries, removed, base = self._to_tell()
        self._contents.learn(entries, cancel, self._doing)
        lacking = list(self._contents.lacking(entries, self._known.pieces(of_base=base is not None)))
        self.content = sum(piece.size for piece in lacking)
        self.files = len({piece.file for piece in lacking})
        inline = b""
        if self.content <= _INLINE:
            inline = self._inline(lacking)
        else:
            self._send_packs(packs.plan(lacking), cancel)
        tree = TreeObject(
            self._snapshot.digest,
            entries,
            self._blocks(entries, base),
            self._contents.recipes,
            "" if base is None else base.tree,
            removed,
            inline,
        )
        data = tree_object.encode(tree, base)
        self._put(f"trees/{tree.tree}", data, cancel)
        if base is None:
            self._memory.set_base(data)

    def _to_tell(self) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...], TreeObject | None]:
        """The entries the tree object holds, the paths that are gone, and the base it holds them against, if one."""
        entries, base = self._snapshot.entries, self._known.base
        if base is not None and len(entries) >= _DELTA_FROM:
            changed, removed = tree_object.difference(entries, base.entries)
            if (len(changed) + len(removed)) * 4 < len(entries):
                return changed, removed, base
        return entries, (), None

    def _inline(self, lacking: Sequence[Piece]) -> bytes:
        """Few bytes ride in the tree object."""
        if not lacking:
            return b""
        body = packs.block([self._contents.read(piece) for piece in lacking], self._pace)
        self._made.append(Block("", 0, len(body), tuple(piece.digest for piece in lacking)))
        return body

    def _send_packs(self, plan: Sequence[Sequence[Sequence[Piece]]], cancel: CancelToken) -> None:
        """Read, compress and send packs side by side; as many in memory as ``packs.at_once`` says."""
        waiting, telling = deque(plan), threading.Lock()
        total, done = self.content, 0

        def work(token: CancelToken) -> None:
            nonlocal done
            while True:
                token.check()
                try:
                    pieces = waiting.popleft()
                except IndexError:
                    return
                begun = time.monotonic()
                body, blocks = packs.pack(pieces, self._contents.read, self._pace)
                made = time.monotonic()
                self._put(f"packs/{blocks[0].pack}", body, token)
                self._pace.took(compressing=made - begun, sending=time.monotonic() - made)
                self._memory.add_pack(blocks[0].pack, blocks)
                with telling:
                    self._made += blocks
                    done += sum(piece.size for block in pieces for piece in block)
                    self._doing.progress(done, total, unit="bytes", item=self._contents.path(pieces[-1][-1]))

        with together(cancel) as scope:
            for _ in range(min(packs.at_once(plan), len(waiting))):
                scope.start("send-pack", lambda: work(scope.cancel))

    def _put(self, key: str, data: bytes, cancel: CancelToken) -> None:
        self._store.put(key, data, cancel=cancel)
        with self._counting:
            self.sent += len(data)
            self.objects += 1

    def _blocks(self, entries: Iterable[Mapping[str, Any]], base: TreeObject | None) -> tuple[Block, ...]:
        """The blocks that hold the pieces of ``entries``, without those that the base names already."""
        wanted = {
            piece
            for entry in by_content(entries).values()
            for piece in pieces_of(entry, self._contents.recipes)
        }
        before: tuple[Block, ...] = ()
        if base is not None:
            wanted.difference_update(base.pieces)
        elif self._known.base is not None:
            before = tuple(block for block in self._known.base.blocks if block.pack)
        found = []
        for block in (*before, *self._known.blocks, *self._made):
            if not wanted.isdisjoint(block.pieces):
                found.append(block)
                wanted.difference_update(block.pieces)
        return tuple(found)
