"""Keep a project's tree on a machine as it is here: one conversation with the agent (``agent/sync.py``).

The machine is asked what it has while the project is still being looked at. It is told what differs from a tree that both
know, or everything. Few contents go along at once; of many it is asked first which it lacks. They travel compressed in the
same stream, or, when that is slow and there is a store, through the store: the machine reads a pack while the next one is
sent.
"""

from __future__ import annotations

import json
import queue
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runctl.core.cancel import SLICE, together
from runctl.core.errors import AgentError
from runctl.core.quantities import count, size
from runctl.engine import packs, tree_object
from runctl.engine.compression import ZLIB, Pace, best
from runctl.engine.contents import Contents
from runctl.engine.in_order import in_order
from runctl.engine.steps import step
from runctl.engine.store_memory import StoreMemory
from runctl.engine.synced import SyncedTrees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from runctl.core.cancel import CancelToken, Child
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.ports import Store
    from runctl.engine.packs import Piece
    from runctl.engine.remote import RemoteAgent
    from runctl.engine.steps import Step
    from runctl.engine.synced import Told
    from runctl.engine.tree_object import Block
    from runctl.project.snapshot import Snapshot

_AT_ONCE: Final = 256 << 10  # bytes of content that are sent without asking whether they are there
_BY_STORE: Final = 1 << 20  # bytes of content from which on a store is worth its requests
_LEVEL: Final = 6
_LOOK: Final = 0.005  # seconds between two looks at whether the machine or the scan was quicker
_COMPRESSING: Final = 2  # blocks at once


@dataclass(frozen=True)
class Receipt:
    """What a sync did. Sizes in bytes; ``wire`` is what was sent, ``content`` what that is unpacked.

    ``tree`` is what the machine computed after putting it together, ``path`` where it is there.
    """

    tree: str
    path: str
    files: int  # of the tree
    bytes: int
    sent_files: int
    content: int
    wire: int
    written: int  # files the machine wrote
    hashed: int
    reused: int
    seconds: float
    scan_seconds: float

    @property
    def changed(self) -> bool:
        """Whether the machine had another tree."""
        return self.written > 0 or self.wire > 0


def sync_project(
    read: Callable[[CancelToken], Snapshot],
    agent: RemoteAgent,
    *,
    project: str,
    store: Store | None,
    env: Mapping[str, str],
    emit: Emit,
    clock: Clock,
    cancel: CancelToken,
) -> Receipt:
    """Make the machine's tree of ``project`` (a plain name) equal what ``read`` finds here. Safe to repeat.

    Raises:
        RunctlError: ``file-changed`` when a file changes between being looked at and being sent, what the agent and
            the store say.
        Cancelled: the machine keeps the tree it had, and what arrived whole is not sent again.
    """
    begun = clock.monotonic()
    with step("sync", "bring the project to the machine", emit=emit, clock=clock) as doing:
        with together(cancel) as scope:
            scanning = scope.start("scan", lambda: _timed(read, scope.cancel, clock))
            talk = _Talk(
                scanning, store=store, machine=agent.machine, env=env, doing=doing, cancel=scope.cancel
            )
            request = {"project": project, "store": None if store is None else dict(store.access())}
            _hold(talk, agent, request, scope.cancel)
        snapshot, scanned = scanning.result()
        talk.conclude(snapshot)
        answer = talk.answer()
        SyncedTrees(snapshot.root, env=env).note(agent.machine, answer["tree"])
        doing.skipped = not talk.wire
        doing.summary = _summary(snapshot, answer, talk.wire)
        return Receipt(
            tree=answer["tree"],
            path=talk.path,
            files=snapshot.files,
            bytes=snapshot.bytes,
            sent_files=answer["files"],
            content=answer["bytes"],
            wire=talk.wire,
            written=answer["written"],
            hashed=snapshot.hashed,
            reused=snapshot.reused,
            seconds=clock.monotonic() - begun,
            scan_seconds=scanned,
        )


def _hold(talk: _Talk, agent: RemoteAgent, request: Mapping[str, Any], cancel: CancelToken) -> None:
    """Hold the conversation; once more, telling everything, when the machine lost what it was thought to have."""
    for last in (False, True):
        done = agent.stream("sync", request, talk.hear, cancel=cancel, stdin=talk.frames)
        talk.over()
        try:
            agent.raise_refusal("sync", done, talk.last)
        except AgentError as error:
            if last or error.code != "blob-missing" or not talk.forget():
                raise
        else:
            return


def _timed(
    read: Callable[[CancelToken], Snapshot], cancel: CancelToken, clock: Clock
) -> tuple[Snapshot, float]:
    begun = clock.monotonic()
    return read(cancel), clock.monotonic() - begun


def _summary(snapshot: Snapshot, answer: Mapping[str, Any], wire: int) -> str:
    if not wire:
        return f"the machine has all of {count(snapshot.files, 'files')}"
    return f"{count(answer['files'], 'files')}, {size(answer['bytes'])}; {size(wire)} sent"


class _Guess(NamedTuple):
    """What is said without being asked: against which tree, and of what contents; None when nothing has changed."""

    base: str
    frames: list[bytes]
    contents: Contents | None


class _Talk:
    """This side of the conversation. ``hear`` is given what the agent says, ``frames`` makes what it is told."""

    def __init__(
        self,
        scanning: Child[tuple[Snapshot, float]],
        *,
        store: Store | None,
        machine: str,
        env: Mapping[str, str],
        doing: Step,
        cancel: CancelToken,
    ) -> None:
        self._machine = machine
        self._scanning = scanning
        self._store = store
        self._env = env
        self._doing = doing
        self._cancel = cancel
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._rest = b""
        self._trees: SyncedTrees | None = None
        self._base = ""
        self._pace = Pace(ZLIB)
        self._guess: _Guess | None = None
        self._told: Contents | None = None  # of what was told after being asked
        self._first = b""
        self.last = b""
        self.path = ""
        self.wire = 0

    def hear(self, chunk: bytes) -> None:
        """Take apart what the agent says."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._first = self._first or line
            self.last = line
            self._heard.put(line)

    def answer(self) -> dict[str, Any]:
        """What the agent said last."""
        found: dict[str, Any] = json.loads(self.last)
        return found

    def forget(self) -> bool:
        """Do not tell by what differs any more; false when that was not done."""
        if self._trees is None or not self._base:
            return False
        self._trees.forget(self._base)
        return True

    def over(self) -> None:
        """The agent says nothing more."""
        self._heard.put(b"")

    def _next(self, heard: queue.SimpleQueue[bytes]) -> dict[str, Any] | None:
        """The agent's next line; None when it will say nothing that we wait for."""
        while True:
            self._cancel.check()
            try:
                line = heard.get(timeout=SLICE)
            except queue.Empty:
                continue
            said: dict[str, Any] | None = json.loads(line) if line else None
            return None if said is None or "error" in said else said

    def frames(self) -> Iterator[bytes]:
        """What the agent is told, after it has said what it has; afresh for each command that is tried."""
        self._heard, self._rest, self._first, self.last, self.wire = queue.SimpleQueue(), b"", b"", b"", 0
        self._guess = self._told = None
        return self._frames(self._heard)

    def _frames(self, heard: queue.SimpleQueue[bytes]) -> Iterator[bytes]:
        guess = self._guess = self._guessed(heard)
        if guess is not None:
            yield from guess.frames
        said = self._next(heard)
        if said is None:
            return
        self._pace = Pace(best(zstd=bool(said.get("zstd"))))
        snapshot, _ = self._scanning.result()
        trees = SyncedTrees(snapshot.root, env=self._env)
        if said["has"] == snapshot.digest or (guess is not None and said["has"] == guess.base):
            return
        self._trees = trees
        before = trees.read(said["has"])
        self._base = "" if before is None else said["has"]
        contents = self._told = Contents(snapshot, {} if before is None else _tuples(before[1]))
        for frame in self._tell(snapshot, contents, before, heard, ask=not said.get("empty")):
            self.wire += len(frame)
            yield frame

    def conclude(self, snapshot: Snapshot) -> None:
        """Once the agent has ended well: what became of what it was told.

        Not in ``frames``: whoever feeds the agent may still be behind when it has ended.
        """
        said = json.loads(self._first)
        self.path = said["path"]
        contents = self._told
        if contents is None and self._guess is not None and said["has"] == self._guess.base:
            contents = self._guess.contents
            self.wire = 0 if contents is None else sum(map(len, self._guess.frames))
        if contents is not None:
            recipes = _recipes(snapshot.entries, contents)
            SyncedTrees(snapshot.root, env=self._env).keep(snapshot.digest, snapshot.entries, recipes)

    def _guessed(self, heard: queue.SimpleQueue[bytes]) -> _Guess | None:
        """What to say at once, if little differs from the tree that the machine had last, as far as we know.

        The way there and back is saved when it still has that one; else the agent passes over all this.
        """
        while not self._scanning.done.wait(_LOOK):
            if not heard.empty():
                return None  # the scan takes longer than asking
        snapshot, _ = self._scanning.result()
        trees = SyncedTrees(snapshot.root, env=self._env)
        base = trees.last(self._machine)
        if base and base == snapshot.digest:
            told = {"tree": base, "base": base}
            return _Guess(base, [_packed(b"G", told), _frame(b"E", b"")], None)
        before = trees.read(base)
        if before is None:
            return None
        self._trees, self._base = trees, base  # to be forgotten, should the machine lack something of it
        contents = Contents(snapshot, _tuples(before[1]))
        told, lacking = self._difference(snapshot, contents, before)
        if sum(piece.size for piece in lacking) > _AT_ONCE:
            return None
        told["base"] = base
        blocks = (frame for frame, _ in self._in_stream(packs.plan(lacking), contents))
        return _Guess(base, [_packed(b"G", told), *blocks, _frame(b"E", b"")], contents)

    def _difference(
        self, snapshot: Snapshot, contents: Contents, before: Told | None
    ) -> tuple[dict[str, Any], list[Piece]]:
        """What is told of the tree, and the contents that who has ``before`` lacks."""
        entries: Sequence[Mapping[str, Any]] = snapshot.entries
        removed: Sequence[str] = ()
        there: set[str] = set()
        if before is not None:
            entries, removed = tree_object.difference(snapshot.entries, before[0])
            there = _pieces(before[0], contents.recipes)
        contents.learn(entries, self._cancel, self._doing)
        told = {
            "tree": snapshot.digest,
            "base": "",
            "entries": entries,
            "removed": removed,
            "recipes": _recipes(entries, contents),
            "ask": False,
        }
        return told, list(contents.lacking(entries, there))

    def _tell(
        self,
        snapshot: Snapshot,
        contents: Contents,
        before: Told | None,
        heard: queue.SimpleQueue[bytes],
        *,
        ask: bool,
    ) -> Iterator[bytes]:
        told, lacking = self._difference(snapshot, contents, before)
        ask = ask and sum(piece.size for piece in lacking) > _AT_ONCE
        yield _packed(b"T", {**told, "base": self._base, "ask": ask})
        if ask:
            said = self._next(heard)
            if said is None:
                return
            wanted = set(said["lacking"])
            lacking = [piece for piece in lacking if piece.digest in wanted]
        yield from self._send(lacking, contents, snapshot)
        yield _frame(b"E", b"")

    def _send(self, lacking: Sequence[Piece], contents: Contents, snapshot: Snapshot) -> Iterator[bytes]:
        total, done = sum(piece.size for piece in lacking), 0
        plan = packs.plan(lacking)
        if self._store is not None and total > _BY_STORE:
            sent = self._by_store(self._store, plan, contents, snapshot)
        else:
            sent = self._in_stream(plan, contents)
        for frame, pieces in sent:
            done += sum(piece.size for piece in pieces)
            self._doing.progress(done, total, unit="bytes", item=contents.path(pieces[-1]))
            yield frame

    def _in_stream(
        self, plan: Iterable[Iterable[Sequence[Piece]]], contents: Contents
    ) -> Iterator[tuple[bytes, Sequence[Piece]]]:
        def made(pieces: Sequence[Piece]) -> tuple[bytes, Sequence[Piece], float]:
            begun = time.monotonic()
            body = packs.block([contents.read(piece) for piece in pieces], self._pace)
            names = bytes.fromhex("".join(piece.digest for piece in pieces))
            frame = _frame(b"B", b"%d\n" % len(pieces) + names + body)
            return frame, pieces, time.monotonic() - begun

        blocks = (pieces for pack in plan for pieces in pack)
        for frame, pieces, compressing in in_order(blocks, made, workers=_COMPRESSING):
            handed = time.monotonic()
            yield frame, pieces
            self._pace.took(
                compressing=compressing / _COMPRESSING, sending=time.monotonic() - handed
            )  # whoever takes it blocks while the line is full

    def _by_store(
        self, store: Store, plan: Sequence[Sequence[Sequence[Piece]]], contents: Contents, snapshot: Snapshot
    ) -> Iterator[tuple[bytes, Sequence[Piece]]]:
        memory = StoreMemory(store.url, snapshot.root, env=self._env)

        def sent(pack: Sequence[Sequence[Piece]]) -> tuple[int, list[Block], Sequence[Piece]]:
            begun = time.monotonic()
            body, blocks = packs.pack(pack, contents.read, self._pace)
            made = time.monotonic()
            store.put(f"packs/{blocks[0].pack}", body, cancel=self._cancel)
            self._pace.took(compressing=made - begun, sending=time.monotonic() - made)
            if self._pace.codec is ZLIB:  # any machine can read it later
                memory.add_pack(blocks[0].pack, blocks)
            return len(body), blocks, [piece for pieces in pack for piece in pieces]

        for length, blocks, pieces in in_order(plan, sent, workers=packs.at_once(plan)):
            self.wire += length
            rows = [[block.offset, block.length, block.pieces] for block in blocks]
            told = json.dumps({"pack": blocks[0].pack, "blocks": rows}, separators=(",", ":"))
            yield _frame(b"P", told.encode()), pieces


def _frame(kind: bytes, body: bytes) -> bytes:
    return b"%s %d\n" % (kind, len(body)) + body


def _packed(kind: bytes, told: Mapping[str, Any]) -> bytes:
    return _frame(kind, zlib.compress(json.dumps(told, separators=(",", ":")).encode(), _LEVEL))


def _recipes(entries: Iterable[Mapping[str, Any]], contents: Contents) -> dict[str, tuple[str, ...]]:
    """The pieces of the large files among ``entries``."""
    large = (e["digest"] for e in entries if e["type"] == "file" and e["size"] > tree_object.PIECE)
    return {digest: contents.recipes[digest] for digest in large}


def _tuples(recipes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(pieces) for name, pieces in recipes.items()}


def _pieces(entries: Iterable[Mapping[str, Any]], recipes: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Everything that a machine with these entries has."""
    return {
        piece
        for entry in entries
        if entry["type"] == "file"
        for piece in tree_object.pieces_of(entry, recipes)
    }
