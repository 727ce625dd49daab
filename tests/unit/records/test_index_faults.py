"""The index under attack: many processes, kill -9, damage, disks that are full or may not be written."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.records.record_samples import a_run, ended, fill, iso

from runctl.core.errors import RunctlError
from runctl.core.model import RunState
from runctl.engine.database import VERSION
from runctl.engine.index import Index
from runctl.engine.records import StepTime

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from tests.unit.records.record_samples import a_run, ended, iso
from runctl.core.model import RunState
from runctl.engine.index import Index
from runctl.engine.records import StepTime

first, count = int(sys.argv[3]), int(sys.argv[4])
for n in range(first, first + count):
    with Index(Path(sys.argv[2]), notice=lambda text: print("notice", text, flush=True)) as index:
        run = a_run(n)
        index.add(run)
        print("added", run.id, flush=True)
        index.update(replace(run, state=RunState.RUNNING))
        index.add_steps([StepTime(run.id, "install", "machine", 1.0, True, False, iso(n))])
        assert index.update(ended(n))
        print("ended", run.id, flush=True)
"""


def writer(state: Path, first: int, count: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(state), str(first), str(count)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_many_clients_at_once_lose_nothing(state: Path) -> None:
    """They also race for making the file: it is not there when they start."""
    writers = [writer(state, n * 1000, 12) for n in range(4)]
    with Index(state) as reader:
        while any(process.poll() is None for process in writers):
            rows = reader.runs()
            assert rows == sorted(rows, key=lambda row: (row["created_at"], row["id"]), reverse=True)
    for process in writers:
        assert process.stdout is not None
        assert process.communicate()[0].count("ended") == 12
        assert process.returncode == 0
    with Index(state) as index:
        rows = index.runs()
        assert len(rows) == len({row["name"] for row in rows}) == 48
        assert {row["state"] for row in rows} == {"ended"}
        assert len(index.steps()) == 48


@pytest.mark.parametrize("lines_before_the_kill", [1, 2, 5, 8])
def test_kill_9_in_the_middle_of_writes_loses_nothing_that_was_promised(
    state: Path, lines_before_the_kill: int
) -> None:
    process = writer(state, 0, 10_000)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines_before_the_kill)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    notices: list[str] = []
    with Index(state, notice=notices.append) as index:
        rows = {row["id"]: row["state"] for row in index.runs()}
        for line in said:
            if line.endswith("\n"):
                word, run_id = line.split()
                assert rows[run_id] == "ended" if word == "ended" else run_id in rows
        index.add(a_run(99_999))
    assert notices == []


def damage_header(path: Path) -> None:
    path.write_bytes(b"this is not a database, it is a note\n" * 100)


def damage_middle(path: Path) -> None:
    """A page of rows is overwritten; the header stays good, so only reading the rows finds out."""
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 2048] = b"\xaa" * 2048
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def remove(path: Path) -> None:
    path.unlink()


def drop_a_table(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE steps")
    db.commit()
    db.close()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("harm", [damage_header, damage_middle, cut_short, empty, remove, drop_a_table])
def test_a_damaged_index_is_put_aside_and_made_again(state: Path, harm: object, read_only: bool) -> None:
    with Index(state) as index:
        runs = fill(index, 30)
        folder = index.folder(runs[0].id)
        event = {
            "v": 1,
            "kind": "step.finished",
            "ts": iso(5),
            "step": "launch",
            "seconds": 0.5,
            "skipped": False,
        }
        folder.events.write_text(json.dumps(event) + "\n")
    file = state / "index.sqlite"
    harm(file)  # type: ignore[operator]
    before = file.read_bytes() if file.exists() else None
    notices: list[str] = []
    with Index(state, notice=notices.append, read_only=read_only) as index:
        assert index.steps(runs[0].id) == [StepTime(runs[0].id, "launch", "here", 0.5, True, False, iso(5))]
        assert [row["id"] for row in index.runs()] == [run.id for run in reversed(runs)]
        assert index.get(runs[3].name) == runs[3]
    aside = [path.name for path in state.glob("index.sqlite.broken-*")]
    if read_only:
        assert aside == []
        assert (file.read_bytes() if file.exists() else None) == before
    elif harm in (empty, remove):
        assert (aside, notices) == ([], [])
    else:
        assert len(aside) == len(notices) == 1
        assert aside[0] in notices[0]
        assert "30" in notices[0]
        assert (state / aside[0]).read_bytes() == before


def test_two_clients_that_find_the_damage_mend_it_once(state: Path) -> None:
    with Index(state) as index:
        fill(index, 20)
    damage_header(state / "index.sqlite")
    both = [writer(state, 1000 + n, 1) for n in range(3)]
    outputs = [process.communicate()[0] for process in both]
    assert all("ended" in text for text in outputs)
    assert sum("notice" in text for text in outputs) == 1
    assert len(list(state.glob("index.sqlite.broken-*"))) == 1
    with Index(state) as index:
        assert index.count() == 23


def test_a_newer_schema_is_left_alone(state: Path) -> None:
    with Index(state) as index:
        fill(index, 1)
    db = sqlite3.connect(state / "index.sqlite")
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    for read_only in (False, True):
        with Index(state, read_only=read_only) as index, pytest.raises(RunctlError) as error:
            index.runs()
        assert error.value.code == "state-newer"
        assert str(VERSION + 1) in error.value.why
    assert list(state.glob("*.broken-*")) == []


def test_an_older_schema_is_migrated_by_one_of_many(state: Path) -> None:
    """Version 0 is an empty file with the runs of an older state folder beside it."""
    with Index(state) as index:
        runs = fill(index, 10)
    (state / "index.sqlite").unlink()
    (state / "index.sqlite").touch(0o600)
    both = [writer(state, 1000 + n, 1) for n in range(3)]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    with Index(state) as index:
        assert index.count() == 13
        assert index.get(runs[0].id) == runs[0]


def test_a_lock_that_does_not_go_away_is_said(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runctl.engine.database.BUSY_SECONDS", 0.1)
    with Index(state) as index:
        fill(index, 1)
        other = sqlite3.connect(state / "index.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunctlError) as error:
            index.add(a_run(2))
        assert error.value.code == "state-busy"
        assert error.value.transient
        assert len(index.runs()) == 1, "readers do not wait"
        other.execute("ROLLBACK")
        other.close()
        index.add(a_run(3))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KiB of its own; mounting it takes root."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k,mode=0700", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_said_and_breaks_nothing(disk: Path) -> None:
    added = []
    with Index(disk) as index:
        with pytest.raises(RunctlError) as error:
            for number in range(10_000):
                run = ended(number, args=("x" * 2000,))
                index.add(run)
                added.append(run)
        assert error.value.code == "state-unwritable"
        assert error.value.exit_code == 3
        assert added
        with pytest.raises(RunctlError) as again:
            while True:  # until not even a small record finds room
                index.update(replace(added[0], args=("y" * len(added), *added[0].args), attempt=len(added)))
                added.append(added[0])
                os.write(os.open(disk / "filler", os.O_CREAT | os.O_WRONLY | os.O_APPEND), b"x" * 500)
        assert again.value.code == "state-unwritable"
    (disk / "filler").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    with Index(disk) as index:
        assert {row["id"] for row in index.runs()} >= {run.id for run in added}
        index.add(ended(20_000))
    for record in disk.glob("runs/*/run.json"):
        json.loads(record.read_bytes())


def test_a_disk_that_may_not_be_written_can_still_be_read(disk: Path) -> None:
    with Index(disk) as index:
        runs = fill(index, 3)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with Index(disk) as index, pytest.raises(RunctlError) as error:
        index.add(ended(9))
    assert error.value.code == "state-unwritable"
    assert str(disk) in error.value.what
    with Index(disk, read_only=True) as index:
        assert index.get("latest") == runs[-1]


def test_a_state_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Index(tmp_path / "file" / "state") as index, pytest.raises(RunctlError) as error:
        index.add(a_run())
    assert error.value.code == "state-unwritable"
    with Index(tmp_path / "file" / "state", read_only=True) as index:
        assert index.runs() == []


def test_a_running_record_stays_readable_while_it_is_replaced(index: Index) -> None:
    run = a_run()
    index.add(run)
    path = index.folder(run.id).record
    for attempt in range(2, 30):
        index.update(replace(run, state=RunState.RUNNING, attempt=attempt))
        assert json.loads(path.read_bytes())["attempt"] == attempt
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]
