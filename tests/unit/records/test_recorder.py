from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.records.record_samples import iso

from runctl.core.clock import SystemClock
from runctl.core.events import Event, Notice, Output, StepFailed, StepFinished, StepProgress, StepStarted
from runctl.engine.folders import RunFolder
from runctl.engine.records import Recorder, StepTime, copied, recorded_events, recorded_steps, timestamp

if TYPE_CHECKING:
    from pathlib import Path

RUN = "01kaaaaaaaaaaaaaaaaaaaaaaa"


class Stopped(SystemClock):
    """A clock whose wall time grows by a second with each look."""

    def __init__(self) -> None:
        self.seconds = 0

    def now(self) -> datetime:
        self.seconds += 1
        return datetime.fromtimestamp(self.seconds, UTC)


def machine_line(kind: str, seconds: float, /, **fields: object) -> bytes:
    return json.dumps({"v": 1, "kind": kind, "ts": iso(seconds), "run": RUN, **fields}).encode() + b"\n"


@pytest.fixture
def folder(state: Path) -> RunFolder:
    return RunFolder(state, RUN)


def test_what_was_told_before_there_was_a_run_comes_first_with_its_own_time(folder: RunFolder) -> None:
    heard: list[Event] = []
    recorder = Recorder(heard.append, clock=Stopped())
    recorder(Notice("info", "before there is a run"))
    assert not folder.path.exists(), "a dry run writes nothing"
    told = [StepStarted("probe", "ask", ts=iso(100)), StepFinished("probe", 0.5, ts=iso(101))]
    recorder.begin(folder, RUN, told=told)
    recorder(StepProgress("sync", 1))
    recorder(Output(0, b"not recorded here"))
    recorder.close()
    assert [event.kind for event in heard] == ["notice", "step.progress", "output"], "told once is enough"
    lines = [json.loads(line) for line in folder.events.read_bytes().splitlines()]
    assert [(line["kind"], line["ts"], line["run"]) for line in lines] == [
        ("step.started", iso(100), RUN),
        ("step.finished", iso(101), RUN),
        ("step.progress", "1970-01-01T00:00:02.000Z", RUN),
    ]
    assert folder.events.stat().st_mode & 0o777 == 0o600


def test_steps_are_timed_on_both_sides_and_can_be_told_any_number_of_times(folder: RunFolder) -> None:
    recorder = Recorder(lambda _event: None, clock=Stopped())
    recorder.begin(folder, RUN)
    recorder(StepStarted("launch", "hand over"))
    recorder(StepFailed("launch", 2.5, "machine-busy", "busy"))
    recorder(StepStarted("launch", "hand over"))
    recorder(StepFinished("launch", 0.25))
    recorder.machine(
        0,
        machine_line("step.started", 0, step="install", title="t", where="machine")
        + machine_line("step.finished", 1, step="install", seconds=7, summary="", skipped=True)
        + machine_line("step.finished", 99, step="code", seconds=1.5),
    )
    recorder.begin(folder, RUN, attempt=2)
    recorder.machine(0, machine_line("step.finished", 100, step="code", seconds=2))
    recorder.close()
    expected = [
        StepTime(RUN, "install", "machine", 7.0, True, True, iso(1)),
        StepTime(RUN, "launch", "here", 2.5, False, False, iso(2)),
        StepTime(RUN, "launch", "here", 0.25, True, False, iso(4)),
        StepTime(RUN, "code", "machine", 1.5, True, False, iso(99)),
        StepTime(RUN, "code", "machine", 2.0, True, False, iso(100)),
    ]
    assert recorded_steps(folder, RUN) == expected
    assert [event["ts"] for event in recorded_events(folder)] == sorted(
        event["ts"] for event in recorded_events(folder)
    )


def test_a_torn_line_is_ended_and_passed_over(folder: RunFolder) -> None:
    folder.create()
    folder.events.write_bytes(
        machine_line("notice", 1, level="info", text="a") + b'{"v": 1, "kind": "step.fin'
    )
    recorder = Recorder(lambda _event: None, clock=Stopped())
    recorder.begin(folder, RUN)
    recorder(Notice("info", "b"))
    recorder.close()
    assert [event["text"] for event in recorded_events(folder)] == ["a", "b"]


LINES = b"".join(machine_line("notice", n, level="info", text="x" * (n * 7 % 50)) for n in range(40))
ENDS = [n + 1 for n, byte in enumerate(LINES) if byte == 10]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 15), st.integers(0, 200)), max_size=40))
def test_any_number_of_clients_neither_lose_nor_double_the_machines_events(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int, int]]
) -> None:
    """Each move: a client reads some lines on; a torn write (it was killed) is finished by whoever comes next."""
    folder = RunFolder(tmp_path_factory.mktemp("state"), RUN)
    folder.create()
    path = folder.machine_events(1)
    places: dict[int, int] = {}
    for client, count, torn in moves:
        recorder = Recorder(lambda _event: None, clock=Stopped())
        recorder.begin(folder, RUN)
        start = places[client] if client in places else recorder.machine_offset()
        end = (
            next((e for e in ENDS[ENDS.index(start) + count :] if e > start), ENDS[-1])
            if start
            else ENDS[count - 1]
        )
        piece = LINES[start:end]
        recorder.machine(start, piece[:torn] if torn < len(piece) else piece)
        recorder.close()
        if torn < len(piece):
            places.pop(client, None)  # killed; it starts again from what is there
        else:
            places[client] = end
        there = path.read_bytes()
        assert LINES.startswith(there), "never a hole, never a double"
        assert all(place <= len(there) for place in places.values()), "what a client has passed is kept"


def test_a_hole_left_by_a_power_cut_is_asked_for_again(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert copied(copy) == 0
    copy.write_bytes(LINES[: ENDS[3]] + b"\0" * 100 + b"\n")
    assert copied(copy) == ENDS[3]
    copy.write_bytes(LINES[: ENDS[3] - 2])
    assert copied(copy) == ENDS[2]


WRITER = """
import sys
from pathlib import Path
from runctl.core.clock import SystemClock
from runctl.core.events import Notice
from runctl.engine.folders import RunFolder
from runctl.engine.records import Recorder
recorder = Recorder(lambda event: None, clock=SystemClock())
recorder.begin(RunFolder(Path(sys.argv[1]), sys.argv[2]), sys.argv[2])
for n in range(int(sys.argv[3])):
    recorder(Notice("info", "%d " % n + "x" * 3000))
    if n == 20:
        print("going", flush=True)
"""


def test_two_clients_write_whole_lines_and_kill_9_tears_at_most_one(state: Path, folder: RunFolder) -> None:
    argv = [sys.executable, "-c", WRITER, str(state), RUN]
    steady = subprocess.Popen([*argv, "300"], stdout=subprocess.PIPE)
    killed = subprocess.Popen([*argv, "1000000"], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"going\n"
    killed.send_signal(signal.SIGKILL)
    for process in (steady, killed):
        process.communicate()
    texts = [event["text"] for event in recorded_events(folder)]
    steady_texts = [f"{n} " + "x" * 3000 for n in range(300)]
    assert all(text in steady_texts or int(text.split()[0]) >= 300 for text in texts)
    assert {text for text in texts if int(text.split()[0]) < 300} == set(steady_texts)
    lines = folder.events.read_bytes().splitlines()
    assert len(lines) - len(texts) <= 1


def test_a_full_disk_costs_the_record_and_not_the_run(folder: RunFolder) -> None:
    folder.create()
    folder.events.symlink_to("/dev/full")
    heard: list[Event] = []
    recorder = Recorder(heard.append, clock=Stopped())
    recorder.begin(folder, RUN)
    recorder(StepFinished("a", 1))
    recorder(StepFinished("b", 1))
    recorder.machine(0, LINES)
    recorder.close()
    warnings = [event for event in heard if isinstance(event, Notice)]
    assert [event for event in heard if event not in warnings] == [StepFinished("a", 1), StepFinished("b", 1)]
    assert len(warnings) == 1, "said once"
    assert os.strerror(28) in warnings[0].text


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_have_one_form(moment: datetime) -> None:
    text = timestamp(moment)
    assert len(text) == 24
    assert text.endswith("Z")
    assert datetime.fromisoformat(text).timestamp() == pytest.approx(moment.timestamp(), abs=0.0011)
