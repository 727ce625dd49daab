"""The index's file and the run folders behind it: what is missing in the one is made again from the others."""

from __future__ import annotations

import json
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from runctl.core.errors import RunctlError
from runctl.engine import database, folders
from runctl.engine.folders import RunFolder
from runctl.engine.records import StepTime, recorded_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FILE = "index.sqlite"
T = TypeVar("T")


class IndexFile:
    """``index.sqlite`` of a state folder, opened on first use, made again when it is broken. Safe from threads.

    Args:
        state_dir: the state folder.
        notice: is told, in a sentence, when the file had to be made again.
        read_only: write nothing at all; what the file lacks is then read from the folders into memory.
    """

    def __init__(self, state_dir: Path, *, notice: Callable[[str], None], read_only: bool) -> None:
        self._path = state_dir / FILE
        self._state_dir = state_dir
        self._notice = notice
        self._read_only = read_only
        self._unwritable: BaseException | None = None  # why it was opened for reading although not asked to
        self._db: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of the file; a later call opens it again. Safe to repeat."""
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def do(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        """Give the open file to ``work``; once more, made again, when it turns out to be broken.

        Raises ``state-unwritable`` (of a file that cannot even be opened for writing, only when ``work`` ``writes``:
        reading goes on without), ``state-busy``, ``state-newer``, and what ``work`` raises.
        """
        with self._lock:
            try:
                try:
                    db = self._connection()
                    if writes and self._unwritable is not None:
                        raise self._unwritable
                    return work(db)
                except sqlite3.DatabaseError as error:
                    if not database.is_broken(error):
                        raise
                self._mend()
                return work(self._connection())
            except sqlite3.Error as error:
                raise database.said(error, self._path) from error

    def complete(self, db: sqlite3.Connection) -> sqlite3.Connection:
        """``db`` with the runs that have a folder and no row: their client died between the two writes."""
        missing = folders.recorded_ids(self._state_dir) - {
            run for (run,) in db.execute("SELECT id FROM runs")
        }
        records = self._readable(missing)
        if not records:
            return db
        if self._read_only:
            self.close()
            self._db = database.in_memory(fill=self._fill)
            return self._db
        with database.transaction(db):
            self._insert_recorded(db, records)
        return db

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            if not self._read_only:
                try:
                    self._db = database.open_for_writing(self._path, fill=self._fill)
                except (sqlite3.Error, RunctlError) as error:
                    said = database.said(error, self._path) if isinstance(error, sqlite3.Error) else error
                    if getattr(said, "code", "") != "state-unwritable":
                        raise
                    self._unwritable, self._read_only = said, True
            if self._db is None:
                self._db = database.open_for_reading(self._path) or database.in_memory(fill=self._fill)
        return self._db

    def _mend(self) -> None:
        self.close()
        if self._read_only:
            self._db = database.in_memory(fill=self._fill)
            return
        aside = database.put_aside(self._path)
        count = self._connection().execute("SELECT count(*) FROM runs").fetchone()[0]
        if aside is not None:
            self._notice(
                f"the index of runs was damaged; made again from {count} recorded runs (the old file: {aside})"
            )

    def _fill(self, db: sqlite3.Connection) -> None:
        self._insert_recorded(db, self._readable(folders.recorded_ids(self._state_dir)))

    def _readable(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        records = ((run_id, folders.read_record(RunFolder(self._state_dir, run_id))) for run_id in ids)
        return [record for run_id, record in records if record is not None and record["id"] == run_id]

    def _insert_recorded(self, db: sqlite3.Connection, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            insert_run(db, record, conflict="OR IGNORE")
            insert_steps(db, recorded_steps(RunFolder(self._state_dir, record["id"]), record["id"]))


def insert_run(db: sqlite3.Connection, record: dict[str, Any], *, conflict: str = "") -> None:
    """Insert a record; raises ``sqlite3.IntegrityError`` when its id or name is there, unless ``conflict`` says else."""
    db.execute(
        f"INSERT {conflict} INTO runs (id, name, state, outcome, created_at, project, record) "  # noqa: S608 - constants
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record["id"],
            record["name"],
            record["state"],
            record.get("outcome"),
            record["created_at"],
            column(record.get("project", "")),
            as_text(record),
        ),
    )


def insert_steps(db: sqlite3.Connection, steps: Iterable[StepTime]) -> None:
    """Insert step timings; those that are there stay as they are."""
    db.executemany(
        "INSERT OR IGNORE INTO steps (run, step, side, seconds, ok, skipped, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        steps,
    )


def column(path: str) -> str:
    """A path as a column holds it: SQLite takes no bytes that are not UTF-8. The record has it as it is."""
    return path.encode("utf-8", "backslashreplace").decode()


def as_text(record: dict[str, Any]) -> str:
    """A record as it stands in its row."""
    return json.dumps(record, separators=(",", ":"))
