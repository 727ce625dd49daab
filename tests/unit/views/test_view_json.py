from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.views.view_world import Screen

from runctl.core.catalogue import known
from runctl.core.events import Failed, Notice, Output, RunEnded, RunPlanned, StepProgress, Unknown, from_json
from runctl.views.jsonlines import LARGEST, JsonLines, OutputCutter

NOW = 1_795_456_800.0
CHUNKS = st.lists(st.binary(max_size=20) | st.text("aé日🚀", max_size=6).map(str.encode), max_size=12)


def view(**options: bool) -> tuple[Screen, JsonLines]:
    screen = Screen(shared=False)
    return screen, JsonLines(screen.streams, now=lambda: NOW, **options)


def written(screen: Screen) -> list[dict[str, Any]]:
    return [json.loads(line) for line in screen.out.decode("ascii").splitlines()]


def offsets(chunks: Iterable[bytes]) -> Iterator[Output]:
    at = 0
    for chunk in chunks:
        yield Output(at, chunk)
        at += len(chunk)


@given(CHUNKS, st.integers(4, 30))
def test_pieces_hold_exactly_the_bytes_in_order(chunks, largest):
    cutter = OutputCutter(largest)
    pieces = [piece for chunk in offsets(chunks) for piece in cutter.feed(chunk)] + cutter.flush()
    assert b"".join(piece.data for piece in pieces) == b"".join(chunks)
    at = 0
    for piece in pieces:
        assert piece.offset == at
        assert 0 < len(piece.data) <= largest
        at += len(piece.data)


@given(st.text("aé日🚀\n"), st.lists(st.integers(0, 200)), st.integers(4, 30))
def test_text_stays_text_however_it_was_cut(words, cuts, largest):
    data = words.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    cutter = OutputCutter(largest)
    pieces = [
        piece
        for start, end in itertools.pairwise(edges)
        for piece in cutter.feed(Output(start, data[start:end]))
    ]
    assert "".join(piece.data.decode() for piece in pieces) == words
    assert cutter.flush() == []


def test_a_tail_that_never_completes_travels_as_base64():
    screen, face = view()
    face.emit(Output(0, "né".encode()[:2]))
    assert [record["text"] for record in written(screen)] == ["n"]
    face.close()
    face.close()
    assert written(screen)[1:] == [
        {"v": 1, "kind": "output", "ts": "2026-11-23T18:00:00.000Z", "run": "", "offset": 1, "base64": "ww=="}
    ]


def test_output_that_jumps_gives_up_the_kept_tail():
    cutter = OutputCutter()
    assert cutter.feed(Output(0, b"\xc3")) == []
    assert cutter.feed(Output(50, b"\xa9x")) == [Output(0, b"\xc3"), Output(50, b"\xa9x")]


def test_large_output_is_cut():
    screen, face = view()
    face.emit(Output(0, b"x" * (LARGEST * 2 + 1)))
    assert [(record["offset"], len(record["text"])) for record in written(screen)] == [
        (0, LARGEST),
        (LARGEST, LARGEST),
        (2 * LARGEST, 1),
    ]


def test_every_line_is_one_event_stamped_with_time_and_run():
    screen, face = view()
    face.emit(Notice("info", "before"))
    face.emit(RunPlanned({"name": "brave-otter-7k2m"}))
    face.emit(StepProgress("sync", 1, 2, "files", "caf\udce9.py"))
    first, _, third = written(screen)
    assert (first["run"], first["ts"]) == ("", "2026-11-23T18:00:00.000Z")
    assert third["run"] == "brave-otter-7k2m"
    assert from_json(third) == StepProgress("sync", 1, 2, "files", "caf\udce9.py", ts=third["ts"])
    assert not screen.err


def test_the_tail_of_the_output_comes_before_the_end_of_the_run():
    screen, face = view()
    face.emit(Output(0, b"ok\xc3"))
    face.emit(RunEnded("succeeded", 0))
    assert [record["kind"] for record in written(screen)] == ["output", "output", "run.ended"]


def test_an_error_is_an_event_and_comes_once():
    error = known("script-not-found", script="tran.py", looked_in="/p", near="train.py")
    screen, face = view()
    face.emit(Failed(error.to_json()))
    face.error(error, traceback="Traceback")
    (record,) = written(screen)
    assert record["kind"] == "error"
    assert record["error"]["what"] == "no such script: tran.py"
    assert record["error"]["exit_code"] == 2


def test_the_traceback_needs_debug():
    screen, face = view(debug=True)
    face.error(known("script-not-found"), traceback="Traceback: x")
    assert written(screen)[0]["error"]["traceback"] == "Traceback: x"


def test_an_agents_error_gets_its_words():
    screen, face = view()
    face.emit(Failed({"code": "script-not-found", "facts": {"script": "tran.py"}}))
    assert written(screen)[0]["error"]["what"] == "no such script: tran.py"


def test_an_event_of_a_newer_agent_passes_whole():
    screen, face = view()
    face.emit(Unknown({"v": 9, "kind": "gpu.hot", "celsius": 90}))
    assert written(screen) == [{"v": 9, "kind": "gpu.hot", "celsius": 90}]
