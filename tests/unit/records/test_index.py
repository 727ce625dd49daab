from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.records.record_samples import a_run, ended, files_below, fill, iso

from runctl.core.errors import RunctlError
from runctl.core.model import Outcome, RunState
from runctl.engine.folders import RunFolder, read_record
from runctl.engine.index import Index
from runctl.engine.records import StepTime

if TYPE_CHECKING:
    from pathlib import Path


def code_of(error: pytest.ExceptionInfo[RunctlError]) -> str:
    return error.value.code


def test_what_was_added_comes_back_whole_by_name_id_and_latest(index: Index) -> None:
    first, second = ended(1), a_run(2, args=("a b", "ü", "'"))
    index.add(second)
    index.add(first)
    assert index.get(first.name) == first
    assert index.get(second.id.upper()) == second
    assert index.get("latest") == second
    assert index.runs() == [second.to_json(), first.to_json()]


def test_the_record_is_also_a_file_and_everything_is_private(index: Index, state: Path) -> None:
    run = a_run()
    index.add(run)
    folder = index.folder(run.id)
    assert json.loads(folder.record.read_text()) == {"v": 1, **run.to_json()}
    for path in [state, *state.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_name_is_taken_once(index: Index) -> None:
    run, other = a_run(1), a_run(2)
    index.add(run)
    for clash in (replace(other, name=run.name), replace(other, id=run.id), run):
        with pytest.raises(RunctlError) as error:
            index.add(clash)
        assert code_of(error) == "run-exists"
    assert not index.folder(other.id).path.exists()
    assert index.runs() == [run.to_json()]
    assert index.taken(run.name)
    assert not index.taken(other.name)


def test_update_replaces_here_and_in_the_folder(index: Index, state: Path) -> None:
    run = a_run()
    index.add(run)
    running = replace(run, state=RunState.RUNNING, started_at=iso(1))
    assert index.update(running)
    assert not index.update(running)
    assert index.get(run.id) == running
    assert read_record(RunFolder(state, run.id)) == running.to_json()


def test_a_late_client_does_not_bring_an_ended_run_back_to_life(index: Index) -> None:
    end = ended()
    running = replace(end, state=RunState.RUNNING, outcome=None)
    index.add(running)
    assert index.update(end)
    assert not index.update(running)
    assert not index.update(replace(running, state=RunState.LOST))
    assert index.get(end.id) == end
    again = replace(running, attempt=2)
    assert index.update(again), "a second attempt is a new life"
    assert not index.update(end), "and the first one is over"
    assert index.get(end.id) == again


def test_a_deleted_run_stays_deleted(index: Index) -> None:
    run = ended()
    index.add(run)
    (index.folder(run.id).path / "events.jsonl").write_bytes(b"x" * 1000)
    index.add_steps([StepTime(run.id, "probe", "here", 1.0, True, False, iso(1))])
    assert index.delete(run.id) > 1000
    assert not index.folder(run.id).path.exists()
    assert index.delete(run.id) == 0
    assert not index.update(run), "a client that still follows it does not write it again"
    assert index.runs() == []
    assert index.steps(run.id) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"limit": 2}, [4, 3]),
        ({"limit": 0}, []),
        ({"state": "running"}, [1]),
        ({"state": "ended"}, [4, 3, 2]),
        ({"state": "active"}, [1, 0]),
        ({"state": "failed"}, [3]),
        ({"project": "/other"}, [4]),
        ({"project": "/other", "state": "failed"}, []),
    ],
)
def test_lists_are_newest_first_and_filtered(
    index: Index, filters: dict[str, object], expected: list[int]
) -> None:
    runs = [
        a_run(0),
        a_run(1, state=RunState.RUNNING),
        ended(2),
        ended(3, Outcome.FAILED),
        ended(4, project="/other"),
    ]
    for run in runs:
        index.add(run)
    assert [row["id"] for row in index.runs(**filters)] == [runs[n].id for n in expected]  # type: ignore[arg-type]
    if "limit" not in filters:
        assert index.count(**filters) == len(expected)  # type: ignore[arg-type]


def test_a_beginning_names_a_run_when_it_fits_no_other(index: Index) -> None:
    one, two = a_run(1, name="brave-otter-0001"), a_run(2, name="brave-owl-0002")
    index.add(one)
    index.add(two)
    assert index.get("brave-ot") == one
    assert index.get(" Brave-OW ") == two
    assert index.get(two.id[:-1]) == two
    with pytest.raises(RunctlError) as error:
        index.get("brave-o")
    assert code_of(error) == "run-ambiguous"
    assert one.name in error.value.why
    assert two.name in error.value.why


def test_a_whole_name_wins_over_being_the_beginning_of_another(index: Index) -> None:
    short, long = a_run(1, name="brave-otter-0001"), a_run(2, name="brave-otter-00012")
    index.add(short)
    index.add(long)
    assert index.get("brave-otter-0001") == short


def test_what_is_not_there_is_said_with_the_nearest_names(index: Index) -> None:
    index.add(a_run(1, name="brave-otter-7k2m"))
    index.add(a_run(2, name="calm-zebra-1111"))
    with pytest.raises(RunctlError) as error:
        index.get("brave-oter-7k2m")
    assert code_of(error) == "run-not-found"
    assert error.value.fix[0] == "did you mean brave-otter-7k2m?"
    assert error.value.exit_code == 2


@pytest.mark.parametrize("reference", ["", " ", "%", "_", "latest", "x' OR 1=1 --", "../../etc"])
def test_odd_references_find_nothing_in_an_empty_index(index: Index, reference: str) -> None:
    with pytest.raises(RunctlError) as error:
        index.get(reference)
    assert code_of(error) == "run-not-found"


def test_wild_cards_of_sql_are_letters_here(index: Index) -> None:
    index.add(a_run(1))
    for reference in ("%", "_", ""):
        with pytest.raises(RunctlError) as error:
            index.get(reference)
        assert code_of(error) == "run-not-found"


def test_steps_are_there_once_however_often_they_are_added(index: Index) -> None:
    one, two = ended(1), ended(2, project="/other")
    index.add(one)
    index.add(two)
    steps = [
        StepTime(one.id, "launch", "here", 0.25, True, False, iso(3)),
        StepTime(one.id, "install", "machine", 7.5, False, False, iso(2)),
        StepTime(two.id, "install", "machine", 0.0, True, True, iso(4)),
    ]
    for _ in range(3):
        index.add_steps(steps)
    assert index.steps(one.id) == [steps[1], steps[0]]
    assert index.steps() == [steps[1], steps[0], steps[2]]
    assert index.steps(project="/other") == [steps[2]]
    assert index.steps(since=two.created_at) == [steps[2]]


def test_a_run_whose_client_died_before_the_index_knew_is_found(index: Index, state: Path) -> None:
    known, lost = fill(index, 2)
    index.close()
    aside = state / "aside"
    shutil.copytree(RunFolder(state, lost.id).path, aside)
    index.delete(lost.id)
    aside.rename(RunFolder(state, lost.id).path)
    assert [row["id"] for row in index.runs()] == [lost.id, known.id]
    assert index.get(lost.name) == lost


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"v": 99}', b'{"v": 1, "id": "x"}', b"\xff\0"])
def test_a_folder_without_a_readable_record_is_passed_over(index: Index, state: Path, content: bytes) -> None:
    run = ended()
    index.add(run)
    odd = RunFolder(state, "odd")
    odd.create()
    odd.record.write_bytes(content)
    assert index.runs() == [run.to_json()]


def test_reading_only_writes_nothing_and_sees_everything(index: Index, state: Path) -> None:
    runs = fill(index, 5)
    index.close()
    before = files_below(state)
    with Index(state, read_only=True) as reader:
        assert [row["id"] for row in reader.runs()] == [run.id for run in reversed(runs)]
        assert reader.get(runs[2].name) == runs[2]
    assert files_below(state) == before


def test_reading_only_of_nothing_creates_nothing(state: Path) -> None:
    with Index(state, read_only=True) as reader:
        assert reader.runs() == []
        assert not reader.taken("brave-otter-7k2m")
    assert not state.exists()


def test_reading_only_beside_a_writer_sees_what_the_writer_wrote(index: Index, state: Path) -> None:
    runs = fill(index, 3)  # the writer is still open: its write-ahead log is not empty
    before = files_below(state)
    with Index(state, read_only=True) as reader:
        assert [row["id"] for row in reader.runs()] == [run.id for run in reversed(runs)]
    assert files_below(state) == before


def test_reading_only_sees_a_run_that_is_only_a_folder(index: Index, state: Path) -> None:
    fill(index, 2)
    index.close()
    run = ended(7)
    from runctl.engine.folders import write_record

    write_record(RunFolder(state, run.id), run.to_json())
    with Index(state, read_only=True) as reader:
        assert reader.runs()[0] == run.to_json()
        assert reader.get("latest") == run
