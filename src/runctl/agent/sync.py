"""Keep a project's tree on this machine up to date: a conversation, so that nothing is asked that is not needed.

The machine speaks first: what it has. The client answers with what differs, and, when that is much, asks what of it is
missing; then come the contents, in blocks or as places in a store, and the end. The frames stand in
``docs/architecture.md``.
"""

from __future__ import annotations

import json
import os
import zlib

from runctl.agent import blobs, lock, wire
from runctl.agent.failure import AgentFailure
from runctl.agent.fetch import Reading, no_space
from runctl.agent.home import RUN, make_folder
from runctl.agent.placing import Placing
from runctl.agent.tree_object import Block
from runctl.agent.worktree import Worktree
from runctl.agent.zstd import decompressor
from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runctl.agent.home import Home
    from runctl.agent.store import Store

HEADER_LIMIT = 64  # bytes: a letter, a space, a decimal length
FRAME_LIMIT = 256 << 20  # bytes; a tree of a million files is about 100 MB
WORKERS = 8
LOCK_SECONDS = 60.0


def sync(request: dict[str, Any], source: wire.Input, *, home: Home) -> dict[str, Any]:
    """Hold one conversation; the last line of it. A dry one writes nothing and only says what is here.

    Raises:
        AgentFailure: ``machine-locked`` when another one about the project goes on for a minute; ``tree-unsafe``,
            ``tree-digest``, ``blob-missing``, ``blob-corrupt``, ``disk-full``, what the store says.
    """
    worktree = _worktree(request.get("project"), home)
    if request.get("dry"):
        lacking = blobs.missing(wire.field(request, "blobs", list), home=home)
        return {"has": worktree.has(), "path": worktree.current, "missing": lacking}
    make_folder(worktree.path)
    held = lock.take(worktree.lock, seconds=LOCK_SECONDS)
    try:
        has = worktree.has()
        zstd, empty = decompressor() is not None, blobs.nothing_is_here(home)
        wire.reply({"has": has, "path": worktree.current, "zstd": zstd, "empty": empty})
        worktree.look_ahead()
        talk = _Conversation(source, request.get("store"), worktree, home, has)
        try:
            return talk.go()
        except OSError as error:
            raise no_space(error, home, talk.content) from error
    finally:
        os.close(held)


def make_current(project: Any, entries: list[dict[str, Any]], digest: str, *, home: Home) -> str:
    """Make ``entries``, whose contents are here, the tree of a project; where it is. Raises as ``sync``."""
    worktree = _worktree(project, home)
    make_folder(worktree.path)
    held = lock.take(worktree.lock, seconds=LOCK_SECONDS)
    try:
        if worktree.has() != digest:
            worktree.update(entries, digest)
    finally:
        os.close(held)
    return worktree.current


def _worktree(project: Any, home: Home) -> Worktree:
    if not isinstance(project, str) or not RUN.match(project):
        raise AgentFailure("agent-request", detail="not the name of a project: %r" % (project,))
    return Worktree(project, home=home)


class _Conversation:
    """What the client says after it was told what is here. ``content`` is how many bytes are missing."""

    def __init__(self, source: wire.Input, access: Any, worktree: Worktree, home: Home, has: str) -> None:
        self._source = source
        self._access = access
        self._worktree = worktree
        self._home = home
        self._has = has
        self._reading: Reading | None = None
        self._ended = False
        self.content = 0

    def go(self) -> dict[str, Any]:
        frame = self._frame()
        if frame is not None and frame[0] == "G":
            told = json.loads(zlib.decompress(frame[1]))
            if told["base"] == self._has:
                return self._same() if told["tree"] == self._has else self._make(told)
            while frame is not None and frame[0] != "E":  # it counted on another tree; now it knows better
                frame = self._frame()
            frame = self._frame()
        if frame is None:
            return self._same()
        kind, body = frame
        if kind != "T":
            raise AgentFailure("agent-request", detail="a frame %s before the tree" % kind)
        return self._make(json.loads(zlib.decompress(body)))

    def _same(self) -> dict[str, Any]:
        return {"tree": self._has, "written": 0, "files": 0, "bytes": 0, "read": 0}

    def _make(self, told: dict[str, Any]) -> dict[str, Any]:
        """The tree that was told, with the contents that follow."""
        entries = self._entries(told)
        with Placing(told["entries"], told["recipes"], home=self._home, progress=_silent) as placing:
            self.content = placing.content
            if told["ask"]:
                wire.reply({"lacking": sorted(placing.lacking())})
            building = self._worktree.begin(entries, told["tree"])
            placing.arrived = building.content  # files are made while the next ones are on their way
            together(self._jobs(placing), workers=WORKERS)
            if not self._ended:
                raise AgentFailure("transfer-truncated", expected_bytes=placing.content, got_bytes=0)
            building.verified = placing.finish()
        written = self._worktree.finish(building, told["tree"])
        return {
            "tree": told["tree"],
            "written": written,
            "files": placing.files,
            "bytes": placing.content,
            "read": 0 if self._reading is None else self._reading.read,
        }

    def _entries(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        """The tree that is to be: told whole, or against what is here."""
        if not told["base"]:
            whole: list[dict[str, Any]] = told["entries"]
            return whole
        if told["base"] != self._has:
            raise AgentFailure("agent-request", detail="it is not %s that is here" % told["base"])
        gone = set(told["removed"])
        entries = {each["path"]: each for each in self._worktree.entries() if each["path"] not in gone}
        entries.update((each["path"], each) for each in told["entries"])
        return list(entries.values())

    def _frame(self) -> tuple[str, bytes] | None:
        """The next frame; None when the client has nothing more to say."""
        line = self._source.line(HEADER_LIMIT)
        if not line:
            return None
        kind, _, length = line.decode("ascii", "replace").partition(" ")
        if not length.isdigit() or int(length) > FRAME_LIMIT:
            raise AgentFailure("agent-request", detail="not the header of a frame: %r" % line)
        left, parts = int(length), []
        while left:
            part = self._source.some(left)
            if not part:
                raise AgentFailure(
                    "transfer-truncated", expected_bytes=int(length), got_bytes=int(length) - left
                )
            parts.append(part)
            left -= len(part)
        return kind, b"".join(parts)

    def _jobs(self, placing: Placing) -> Iterator[Callable[[], None]]:
        """What has to be done for each frame; reading the next one goes on meanwhile."""
        while True:
            frame = self._frame()
            if frame is None:
                return
            kind, body = frame
            if kind == "E":
                self._ended = True
                return
            if kind == "B":
                yield _placing(placing, body)
            elif kind == "P":
                told = json.loads(body)
                if self._reading is None:
                    self._reading = Reading(self._store(), placing)
                blocks = [Block(told["pack"], at, size, pieces, b"") for at, size, pieces in told["blocks"]]
                yield self._reading.job(blocks)
            else:
                raise AgentFailure("agent-request", detail="no frame %r" % kind)

    def _store(self) -> Store:
        from runctl.agent.store import open_store  # noqa: PLC0415 - little syncs need none

        return open_store(self._access)


def _placing(placing: Placing, body: bytes) -> Callable[[], None]:
    """A block that came with its pieces' names, as a piece of work."""

    def work() -> None:
        count, _, rest = body.partition(b"\n")
        end = int(count) * 32
        names = rest[:end].hex()
        pieces = [names[n : n + 64] for n in range(0, len(names), 64)]
        try:
            placing.place(pieces, rest[end:])
        except ValueError as error:
            raise AgentFailure(
                "blob-corrupt", digest=pieces[0], found=str(error), where="on the way"
            ) from error

    return work


def _silent(_done: int, _total: int) -> None:
    """The client counts by itself."""
