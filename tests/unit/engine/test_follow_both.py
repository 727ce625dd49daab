"""A run seen from its machine and from its store: every byte once, in order, whoever answers when."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runctl.core.cancel import CancelToken
from runctl.core.catalogue import known
from runctl.core.clock import SystemClock
from runctl.core.events import Event, Output, RunEnded
from runctl.core.ports import Completed
from runctl.engine.follow import Follower
from runctl.engine.follow_both import FollowBoth
from runctl.engine.store_reader import EVENTS, OUTPUT, SEGMENT, StoreReader, tail_offset
from runctl.stores.directory import DirectoryStore
from runctl.testing.surroundings import surroundings

CANCEL = CancelToken()
ENDED = {"v": 1, "kind": "run.ended", "outcome": "succeeded", "exit_code": 0}


def status(state: str, output: bytes, **more: Any) -> dict[str, Any]:
    return {"run": "r", "state": state, "outcome": None, "output_bytes": len(output), "attempt": 1, **more}


class Store:
    """A run's part of a store, as its machine writes it."""

    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(f"file://{folder}", surroundings())
        self.reader = StoreReader(self.store, "r", 1)

    def put(self, name: str, data: bytes) -> None:
        self.store.put(f"runs/r/1/{name}", data, cancel=CANCEL)

    def stream(self, name: str, data: bytes) -> None:
        for begin in range(0, len(data) or 1, SEGMENT):
            self.put(f"{name}/{begin:016d}", data[begin : begin + SEGMENT])

    def status(self, value: dict[str, Any]) -> None:
        self.put("status.json", json.dumps(value).encode())


class Machine:
    """Stands in for the machine's agent: streams what it is told to, or cannot be reached."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.work: Callable[[dict[str, Any], Callable[[bytes], None], CancelToken], None] = unreachable

    def stream(
        self,
        _command: str,
        request: dict[str, Any],
        on_output: Callable[[bytes], None],
        *,
        cancel: CancelToken,
    ) -> Completed:
        self.asked.append(request)
        self.work(request, on_output, cancel)
        return Completed(0)

    def raise_refusal(self, *_anything: Any) -> None:
        """It never refuses."""


def unreachable(*_anything: Any) -> None:
    raise known("agent-stopped", command="follow", detail="no contact")


def frame(kind: str, offset: int, data: bytes) -> bytes:
    return b"%s %d %d\n" % (kind.encode(), offset, len(data)) + data


class Bench:
    def __init__(self, folder: Path) -> None:
        self.there = Store(folder)
        self.machine = Machine()
        self.events: list[Event] = []
        self.gone: list[str | None] = [None]
        self.follower = Follower(
            self.machine,  # type: ignore[arg-type]
            "r",
            emit=self.events.append,
            clock=SystemClock(),
        )
        self.both = FollowBoth(
            self.follower, self.there.reader, gone=lambda: self.gone[0], clock=SystemClock()
        )

    @property
    def output(self) -> bytes:
        """What was shown; fails when a byte came twice, or before those in front of it."""
        seen = b""
        for event in self.events:
            if isinstance(event, Output):
                assert event.offset == len(seen)
                seen += event.data
        return seen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def lines_of(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_a_machine_that_never_answers_is_read_from_its_store(bench: Bench) -> None:
    text = b"epoch 1\n" * 300_000  # more than two segments
    bench.there.stream(OUTPUT, text)
    bench.there.stream(EVENTS, lines_of(ENDED))
    bench.there.status(status("ended", text, outcome="succeeded"))
    assert bench.both.follow(cancel=CancelToken())["outcome"] == "succeeded"
    assert bench.output == text
    assert [event for event in bench.events if isinstance(event, RunEnded)] == [bench.events[-1]]


def test_the_machine_takes_over_where_the_store_stopped(bench: Bench) -> None:
    text = b"".join(b"line %d\n" % n for n in range(1000))
    bench.there.stream(OUTPUT, text[:500])
    bench.there.status(status("running", text[:500]))
    reached = threading.Event()

    def answer(request: dict[str, Any], on_output: Callable[[bytes], None], _cancel: CancelToken) -> None:
        if bench.output != text[:500]:
            unreachable()  # the store was not read yet
        reached.set()
        at = request["output"]
        on_output(frame("O", at, text[at:]))
        on_output(frame("E", 0, lines_of(ENDED)))
        on_output(frame("S", 0, json.dumps(status("ended", text, outcome="succeeded")).encode()))

    bench.machine.work = answer
    bench.both.follow(cancel=CancelToken())
    assert reached.is_set()
    assert bench.output == text


def test_bytes_that_come_from_both_sides_are_shown_once(bench: Bench) -> None:
    text = b"0123456789" * 1000
    bench.there.stream(OUTPUT, text)

    def answer(_request: dict[str, Any], on_output: Callable[[bytes], None], _cancel: CancelToken) -> None:
        on_output(frame("O", 0, text[:4000]))  # as if the request had been made before the store was read
        bench.there.status(status("ended", text, outcome="succeeded"))
        unreachable()

    bench.machine.work = answer
    bench.both.follow(cancel=CancelToken())
    assert bench.output == text


def test_a_machine_that_died_without_a_word_is_a_preemption(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runctl.engine.follow_both.LOST_AFTER", 0.3)
    bench.there.stream(OUTPUT, b"epoch 1\n")
    bench.there.status(status("running", b"epoch 1\n"))
    bench.gone[0] = "the machine i-1 is gone"
    found = bench.both.follow(cancel=CancelToken())
    assert (found["state"], found["outcome"], found["reason"]) == ("ended", "preempted", bench.gone[0])
    assert bench.output == b"epoch 1\n"
    assert isinstance(bench.events[-1], RunEnded)


def test_a_cancel_ends_the_watching_at_once(bench: Bench) -> None:
    from runctl.core.errors import Cancelled

    def silent(_request: object, _on_output: object, cancel: CancelToken) -> None:
        cancel.wait(60)
        cancel.check()

    bench.machine.work = silent
    token = CancelToken()
    threading.Timer(0.2, token.cancel).start()
    begun = SystemClock().monotonic()
    with pytest.raises(Cancelled):
        bench.both.follow(cancel=token)
    assert SystemClock().monotonic() - begun < 2


@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(0, 20), max_size=4), small=st.integers(3, 16))
def test_reading_by_offset_gives_every_byte_once_whatever_grows_when(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], small: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runctl.engine.store_reader.SEGMENT", small)
        there = Store(tmp_path_factory.mktemp("store"))
        written = read = b""
        for size in sizes:
            written += bytes(len(written) + n & 255 for n in range(size))
            for begin in range(0, len(written), small):
                there.put(f"{OUTPUT}/{begin:016d}", written[begin : begin + small])
            for offset, data in there.reader.read(OUTPUT, len(read), CANCEL):
                assert offset == len(read)
                read += data
        assert read == written
        again = b"".join(data for _, data in there.reader.read(OUTPUT, len(written) // 2, CANCEL))
        assert again == written[len(written) // 2 :]


def tails() -> Iterator[tuple[bytes, int, bytes]]:
    yield b"", 3, b""
    yield b"a\nb\nc\n", 2, b"b\nc\n"
    yield b"a\nb\nc", 2, b"b\nc"
    yield b"a\nb\n", 9, b"a\nb\n"
    yield b"a\nb\n", 0, b""
    yield b"x" * 50 + b"\nlast\n", 1, b"last\n"


@pytest.mark.parametrize(("text", "lines", "expected"), list(tails()))
def test_the_last_lines(
    tmp_path: Path, text: bytes, lines: int, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runctl.engine.store_reader.SEGMENT", 8)
    there = Store(tmp_path)
    for begin in range(0, len(text), 8):
        there.put(f"{OUTPUT}/{begin:016d}", text[begin : begin + 8])
    assert text[tail_offset(there.reader, lines, CANCEL) :] == expected
