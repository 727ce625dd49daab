"""Files on a machine, as this computer sees them: what there is, and streams between two machines or with a store.

This computer counts as a machine, too: its agent sends and takes as any other does (``agent/files.py`` has the format).
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from runctl.core.cancel import SLICE, together
from runctl.core.errors import UnreachableError
from runctl.core.events import Notice
from runctl.core.quantities import count, size
from runctl.core.retry import Failure
from runctl.engine.mirror_items import Item, Left, Side
from runctl.engine.mirror_run import Copied, side_by_side, to_folder, to_store
from runctl.engine.remote import worded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.ports import Store
    from runctl.core.retry import RetryPolicy
    from runctl.engine.mirror_items import Wanted
    from runctl.engine.mirror_run import Keys
    from runctl.engine.mirroring import Mirror
    from runctl.engine.remote import RemoteAgent
    from runctl.engine.steps import Step

_COMMAND: Final = "files"
_AHEAD: Final = 64  # chunks that one side may be ahead of the other
_TAIL: Final = 1 << 16  # bytes of a stream's end, in which an agent says why it ended early
_SAME_TIME: Final = 0.001  # seconds: file systems keep times more or less exactly
_ROOM: Final = 1 << 30  # bytes of temporary files, unless one file is larger


@dataclass(frozen=True)
class MachineFiles:
    """A path on a machine. What it says of it was true when it was asked."""

    agent: RemoteAgent
    path: str
    kind: str  # file, folder, none
    everything: Side
    halves: Mapping[str, tuple[int, str]]  # of what has not arrived whole: bytes, and which content

    @classmethod
    def at(cls, agent: RemoteAgent, path: str, cancel: CancelToken, *, target: bool) -> MachineFiles:
        """Look at ``path``, relative to the home of the user there; as what is copied from, or the ``target``."""
        found = agent.call(_COMMAND, {"op": "list", "path": path, "target": target}, cancel=cancel)
        items = {name: Item(name, length, modified) for name, length, modified in found["files"]}
        side = Side(items, [Left(name, why) for name, why in found["left"]])
        halves = {name: (length, mark) for name, (length, mark) in found["halves"].items()}
        return cls(agent, found["path"], found["kind"], side, halves)

    def side(self, wanted: Wanted) -> Side:
        """What of it counts."""
        items = {name: item for name, item in self.everything.items.items() if wanted(name or self.name)}
        return Side(items, [each for each in self.everything.left if each.name == "." or wanted(each.name)])

    @property
    def name(self) -> str:
        """The last component."""
        return PurePosixPath(self.path).name

    def below(self, name: str, cancel: CancelToken) -> MachineFiles:
        """The same of what is called ``name`` in it, as a target."""
        return self.at(self.agent, f"{self.path}/{name}", cancel, target=True)

    def remove(self, names: Sequence[str], cancel: CancelToken) -> None:
        """Delete files, and folders that become empty. Safe to repeat."""
        request = {"op": "remove", "path": self.path, "files": list(names)}
        self.agent.call(_COMMAND, request, cancel=cancel)


def relay(
    source: MachineFiles, target: MachineFiles, mirror: Mirror, doing: Step, cancel: CancelToken
) -> Copied:
    """Pour files of one machine into another one, by way of this computer's memory.

    Of a file that an earlier relay brought half of, the rest is sent. What arrives is compared by its SHA-256.
    """
    if not mirror.send:
        return Copied()
    files = [(item.name, _arrived(item, target.halves.get(item.name))) for item in mirror.send]
    pipe = _Pipe(doing, mirror.bytes, sum(offset for _, offset in files))
    sending: dict[str, Any] = {"op": "send", "path": source.path, "files": files}
    taking = {"op": "take", "path": target.path}
    with together(cancel) as scope:
        scope.start("send", partial(pipe.fill, source.agent, sending, scope.cancel))
        stdin = partial(pipe.chunks, scope.cancel)
        call = partial(target.agent.call, _COMMAND, taking, cancel=scope.cancel, stdin=stdin)
        taker = scope.start("take", call)
    answer = taker.result()
    doing.summary = f"{count(answer['files'], 'files')}, {size(answer['bytes'])}"
    return Copied(answer["files"], answer["bytes"], [Left(name, why) for name, why in answer["left"]])


class _Pipe:
    """What one agent says is what the other one hears; the faster one waits for the slower."""

    def __init__(self, doing: Step, total: int, done: int) -> None:
        self._between: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._doing, self._total, self._done = doing, total, done

    def fill(self, agent: RemoteAgent, request: Mapping[str, Any], cancel: CancelToken) -> None:
        """Let ``agent`` send. Raises what it says instead."""
        tail = bytearray()

        def on_output(chunk: bytes) -> None:
            tail.extend(chunk)
            del tail[:-_TAIL]
            self._put(chunk, cancel)

        ended = agent.stream(_COMMAND, request, on_output, cancel=cancel)
        agent.raise_refusal(_COMMAND, ended, bytes(tail))
        self._put(b"", cancel)

    def _put(self, chunk: bytes, cancel: CancelToken) -> None:
        while True:
            cancel.check()
            with contextlib.suppress(queue.Full):
                self._between.put(chunk, timeout=SLICE)
                return

    def chunks(self, cancel: CancelToken) -> Iterator[bytes]:
        """All that was sent, until its end."""
        while True:
            cancel.check()
            with contextlib.suppress(queue.Empty):
                chunk = self._between.get(timeout=SLICE)
                if not chunk:
                    return
                self._done += len(chunk)
                self._doing.progress(min(self._done, self._total), self._total, unit="bytes")
                yield chunk


def _arrived(item: Item, half: tuple[int, str] | None) -> int:
    """How many bytes of ``item`` its target has, if they are of the same content."""
    mark = f"transfer {item.size} {item.modified!r}"  # as agent/files.py notes it
    return half[0] if half is not None and half[1] == mark and half[0] <= item.size else 0


class Persistent:
    """A relay that goes on when a link breaks, for as long as ``policy`` says without a byte arriving."""

    def __init__(
        self, source: MachineFiles, target: MachineFiles, policy: RetryPolicy, clock: Clock, emit: Emit
    ) -> None:
        self._source, self._target = source, target
        self._policy, self._clock, self._emit = policy, clock, emit

    def __call__(self, mirror: Mirror, doing: Step, cancel: CancelToken) -> Copied:
        """See ``relay``."""
        begun, failures, halves = self._clock.monotonic(), 0, dict(self._target.halves)
        target, todo = self._target, mirror
        while True:
            try:
                if failures:
                    target = self._target.at(self._target.agent, self._target.path, cancel, target=True)
                    before, todo = todo, _rest(mirror, self._target, target)
                    if target.halves != halves or len(todo.send) < len(before.send):
                        begun, failures, halves = self._clock.monotonic(), 1, dict(target.halves)
                copied = relay(self._source, target, todo, doing, cancel)
            except UnreachableError as error:
                failures += 1
                elapsed = self._clock.monotonic() - begun
                delay = self._policy.delay(
                    Failure.THROTTLED, failures=failures, elapsed=elapsed, draw=random.random()
                )
                if delay is None:
                    raise
                self._emit(Notice("warning", f"{error.what}: {error.why}; going on in {delay:.0f} s"))
                self._clock.sleep(delay, cancel)
                continue
            done = set(mirror.send) - set(todo.send)
            copied.files += len(done)
            copied.bytes += sum(item.size for item in done)
            return copied


def _rest(mirror: Mirror, before: MachineFiles, now: MachineFiles) -> Mirror:
    """What of it has not come yet: what was the same ``before`` was asked for all the same, and is not seen to come."""
    missing = (item for item in mirror.send if _has(before, item) or not _has(now, item))
    return replace(mirror, send=tuple(missing))


def _has(machine: MachineFiles, item: Item) -> bool:
    found = machine.everything.items.get(item.name)
    return found is not None and found.size == item.size and same_time(item, found)


def same_time(item: Item, there: Item) -> bool:
    """A copy gets the time of what it is a copy of."""
    return abs(item.modified - there.modified) < _SAME_TIME


@dataclass(frozen=True)
class WithStore:
    """Files of a machine and objects of a store. ``op``: ``store`` copies there, ``load`` copies from it."""

    machine: MachineFiles
    store: Store
    keys: Keys
    op: str

    def by_itself(self, mirror: Mirror, doing: Step, cancel: CancelToken) -> Copied:
        """Let the machine copy, with its own credentials.

        Raises:
            RunctlError: ``store-denied``, ``store-no-credentials`` when it may not; what else the store says there.
        """
        sizes = {item.name: item.size for item in mirror.send}
        files = [[item.name, self.keys(item.name), item.modified] for item in mirror.send]
        request = {
            "op": self.op,
            "path": self.machine.path,
            "store": dict(self.store.access()),
            "files": files,
        }
        copied, rest = Copied(), b""

        def on_output(chunk: bytes) -> None:
            nonlocal rest
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "error" in said:
                    raise worded(said["error"])
                if "left" in said:
                    copied.left.append(Left(said["name"], said["left"]))
                elif "name" in said:
                    copied.files += 1
                    copied.bytes += sizes[said["name"]]
                else:
                    doing.progress(said["arrived"], mirror.bytes, unit="bytes")

        ended = self.machine.agent.stream(_COMMAND, request, on_output, cancel=cancel)
        self.machine.agent.raise_refusal(_COMMAND, ended, rest)
        doing.summary = f"{count(copied.files, 'files')}, {size(copied.bytes)}"
        return copied

    def by_way_of(
        self, here: Callable[[Path], MachineFiles], mirror: Mirror, doing: Step, cancel: CancelToken
    ) -> Copied:
        """The same for a machine that may not: by way of temporary files here, so many at once as ``_ROOM`` holds.

        ``here`` gives a path of this computer as its agent sees it.
        """
        whole = Copied()
        for batch in _batches(mirror.send):
            with TemporaryDirectory(prefix="runctl-") as folder:
                root = Path(folder) / "files"  # nothing is there yet
                place = partial(_within, root)
                asked = replace(mirror, send=batch)
                inward = side_by_side(to_store(place, self.store, self.keys, Path(folder)))
                if self.op == "store":
                    first = relay(self.machine, here(root), asked, doing, cancel)
                    second = inward(_arrived_of(asked, place), doing, cancel)
                else:
                    outward = side_by_side(to_folder(self.store, self.keys, place))
                    first = outward(asked, doing, cancel)
                    second = relay(here(root), self.machine, _arrived_of(asked, place), doing, cancel)
            whole.files += second.files
            whole.bytes += second.bytes
            whole.left += [*first.left, *second.left]
        doing.summary = f"{count(whole.files, 'files')}, {size(whole.bytes)}, by way of this computer"
        return whole


def _arrived_of(mirror: Mirror, place: Callable[[str], Path]) -> Mirror:
    """What of it is here."""
    return replace(mirror, send=tuple(item for item in mirror.send if place(item.name).is_file()))


def _within(root: Path, name: str) -> Path:
    return root / name if name else root


def _batches(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    batch: list[Item] = []
    for item in items:
        if batch and sum(each.size for each in batch) + item.size > _ROOM:
            yield tuple(batch)
            batch = []
        batch.append(item)
    if batch:
        yield tuple(batch)
