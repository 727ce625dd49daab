"""The index of runs: what ``runctl runs`` reads. A cache in SQLite over the run folders, which hold the truth.

Any number of clients may use it at once. A run's record is written to its folder and to the index in one
transaction; what a crash leaves in only one of the two is mended by the next reader. A broken file is put aside
and made again from the folders. Reading rows takes sqlite3 and json only, so that a list costs no start-up time.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from runctl.engine import database, folders
from runctl.engine.folders import RunFolder
from runctl.engine.index_file import IndexFile, as_text, column, insert_run, insert_steps
from runctl.engine.records import StepTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from runctl.core.errors import RunctlError
    from runctl.core.model import Run

LATEST = "latest"  # stands for the newest run wherever a run is named
SHOWN_MATCHES = 5  # candidates an error lists


class Index:
    """The runs of a state folder. Opened on first use; usable from several threads.

    Args:
        state_dir: the folder; ``index.sqlite`` and ``runs/`` are in it.
        notice: is told, in a sentence, when the file had to be made again.
        read_only: write nothing at all, for a dry run; the methods that write must not be called then.

    Every method raises ``state-unwritable`` (no permission, full disk), ``state-busy`` (other clients kept it
    locked for 15 s) or ``state-newer`` (migrated by a newer runctl).
    """

    def __init__(
        self, state_dir: Path, *, notice: Callable[[str], None] = lambda _text: None, read_only: bool = False
    ) -> None:
        self._state_dir = state_dir
        self._file = IndexFile(state_dir, notice=notice, read_only=read_only)

    def __enter__(self) -> Index:  # noqa: PYI034 - final in practice
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; a later call opens it again. Safe to repeat."""
        self._file.close()

    def folder(self, run_id: str) -> RunFolder:
        """Where the run's own files are."""
        return RunFolder(self._state_dir, run_id)

    # --- writing

    def add(self, run: Run) -> None:
        """Record a new run, in its folder and here. Raises ``run-exists`` when its id or name is taken."""
        record = run.to_json()

        def work(db: sqlite3.Connection) -> None:
            with database.transaction(db):
                try:
                    insert_run(db, record)
                except sqlite3.IntegrityError as error:
                    raise _known("run-exists", run=run.name, id=run.id) from error
                folders.write_record(self.folder(run.id), record)

        self._file.do(work, writes=True)

    def update(self, run: Run) -> bool:
        """Replace the record of a run that is here; whether anything changed. Safe to repeat.

        Nothing happens for a run that was deleted meanwhile, and an attempt that ended never becomes alive again:
        a client that comes late with what it saw earlier changes nothing.
        """
        record = run.to_json()
        text = as_text(record)

        def work(db: sqlite3.Connection) -> bool:
            with database.transaction(db):
                row = db.execute("SELECT record FROM runs WHERE id = ?", (run.id,)).fetchone()
                if row is None or row[0] == text or _is_late(json.loads(row[0]), record):
                    return False
                folders.write_record(self.folder(run.id), record)
                db.execute(
                    "UPDATE runs SET name = ?, state = ?, outcome = ?, project = ?, record = ? WHERE id = ?",
                    (run.name, record["state"], record["outcome"], column(run.project), text, run.id),
                )
            return True

        return self._file.do(work, writes=True)

    def delete(self, run_id: str) -> int:
        """Forget a run: its row, its steps and its folder; the bytes freed. Safe to repeat."""

        def work(db: sqlite3.Connection) -> int:
            freed = folders.delete_folder(self._state_dir, run_id)
            with database.transaction(db):
                db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
                db.execute("DELETE FROM steps WHERE run = ?", (run_id,))
            return freed

        return self._file.do(work, writes=True)

    def add_steps(self, steps: Iterable[StepTime]) -> None:
        """Record step timings. Safe to repeat: a step that ended at that moment is there once."""
        rows = list(steps)

        def work(db: sqlite3.Connection) -> None:
            with database.transaction(db):
                insert_steps(db, rows)

        if rows:
            self._file.do(work, writes=True)

    # --- reading

    def runs(
        self,
        *,
        limit: int | None = None,
        project: str | None = None,
        state: str | None = None,
        since: str | None = None,
    ) -> list[dict[str, Any]]:
        """Records as ``Run.to_json`` gives them, newest first; ``since`` is the oldest ``created_at`` wanted.

        ``state`` is a state or an outcome (``running``, ``failed``); ``active`` is every state but ``ended``.
        """
        where, values = _conditions(project=project, state=state, since=since)

        def work(db: sqlite3.Connection) -> list[dict[str, Any]]:
            db = self._file.complete(db)
            rows = db.execute(
                f"SELECT record FROM runs {where} ORDER BY created_at DESC, id DESC LIMIT ?",  # noqa: S608 - constants
                (*values, -1 if limit is None else limit),
            )
            return json.loads("[" + ",".join(record for (record,) in rows) + "]")  # type: ignore[no-any-return]

        return self._file.do(work)

    def codes(self) -> set[str]:
        """The digest of every code tree that a run had."""

        def work(db: sqlite3.Connection) -> set[str]:
            db = self._file.complete(db)
            return {
                code for (code,) in db.execute("SELECT DISTINCT json_extract(record, '$.code') FROM runs")
            }

        return self._file.do(work)

    def count(self, *, project: str | None = None, state: str | None = None) -> int:
        """How many runs ``runs`` would give without a limit."""
        where, values = _conditions(project=project, state=state)
        query = f"SELECT count(*) FROM runs {where}"  # noqa: S608 - constants
        return int(self._file.do(lambda db: db.execute(query, values).fetchone()[0]))

    def names(self) -> list[str]:
        """The names of all runs, newest first; for completion and for did-you-mean."""
        query = "SELECT name FROM runs ORDER BY created_at DESC, id DESC"
        return self._file.do(lambda db: [name for (name,) in self._file.complete(db).execute(query)])

    def taken(self, name: str) -> bool:
        """Whether a run is called ``name``."""
        return self._file.do(
            lambda db: db.execute("SELECT 1 FROM runs WHERE name = ?", (name,)).fetchone() is not None
        )

    def get(self, reference: str) -> Run:
        """The run of that name, id, or beginning of either that fits one run only; ``latest`` is the newest.

        Raises:
            UsageError: ``run-not-found``, with the names most like it; ``run-ambiguous``, with those that fit.
        """
        from runctl.core.model import run_from_json  # noqa: PLC0415 - dataclasses, 15 ms that a list must not pay

        return run_from_json(
            self._file.do(lambda db: self._find(self._file.complete(db), reference.strip().lower()))
        )

    def steps(
        self, run_id: str | None = None, *, since: str | None = None, project: str | None = None
    ) -> list[StepTime]:
        """Step timings in the order they ended: of one run, or of the runs created at ``since`` or later."""
        where, values = _conditions(project=project, since=since, run_id=run_id)
        query = (
            "SELECT run, step, side, seconds, ok, skipped, ended_at FROM steps JOIN runs ON runs.id = steps.run "  # noqa: S608 - constants
            f"{where} ORDER BY ended_at, step"
        )
        return self._file.do(
            lambda db: [
                StepTime(row[0], row[1], row[2], row[3], bool(row[4]), bool(row[5]), row[6])
                for row in db.execute(query, values)
            ]
        )

    def _find(self, db: sqlite3.Connection, reference: str) -> dict[str, Any]:
        if not reference:
            raise _known("run-not-found", run=reference, near="")
        if reference == LATEST:
            query = "SELECT name, record FROM runs ORDER BY created_at DESC, id DESC LIMIT 1"
            rows = db.execute(query).fetchall()
        else:
            query = "SELECT name, record FROM runs WHERE name = ? OR id = ?"
            rows = db.execute(query, (reference, reference)).fetchall() or self._beginning(db, reference)
        if len(rows) > 1:
            shown = [name for name, _ in rows[:SHOWN_MATCHES]]
            listed = ", ".join(shown) + (", …" if len(rows) > SHOWN_MATCHES else "")
            raise _known("run-ambiguous", run=reference, matches=listed)
        if not rows:
            raise _not_found(reference, [name for (name,) in db.execute("SELECT name FROM runs")])
        return json.loads(rows[0][1])  # type: ignore[no-any-return]

    @staticmethod
    def _beginning(db: sqlite3.Connection, reference: str) -> list[tuple[str, str]]:
        return db.execute(
            "SELECT name, record FROM runs WHERE substr(name, 1, ?1) = ?2 OR substr(id, 1, ?1) = ?2 "
            "ORDER BY created_at DESC, id DESC LIMIT ?3",
            (len(reference), reference, SHOWN_MATCHES + 1),
        ).fetchall()


def _conditions(
    *,
    project: str | None = None,
    state: str | None = None,
    since: str | None = None,
    run_id: str | None = None,
) -> tuple[str, tuple[str, ...]]:
    """A WHERE clause made of constants, and the values for its place-holders."""
    found: list[tuple[str, tuple[str, ...]]] = []
    if project is not None:
        found.append(("project = ?", (column(project),)))
    if state == "active":
        found.append(("state != 'ended'", ()))
    elif state is not None:
        found.append(("(state = ? OR outcome = ?)", (state, state)))
    if since is not None:
        found.append(("created_at >= ?", (since,)))
    if run_id is not None:
        found.append(("run = ?", (run_id,)))
    if not found:
        return "", ()
    return "WHERE " + " AND ".join(text for text, _ in found), tuple(v for _, values in found for v in values)


def _is_late(stored: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether ``record`` says less than what is stored: an earlier attempt, or a living state of an ended one."""
    if record["attempt"] != stored["attempt"]:
        return bool(record["attempt"] < stored["attempt"])
    return bool(stored["state"] == "ended" and record["state"] != "ended")


def _not_found(reference: str, names: list[str]) -> RunctlError:
    import difflib  # noqa: PLC0415 - only for an error

    near = difflib.get_close_matches(reference, names, n=3, cutoff=0.5)
    fix = [f"did you mean {' or '.join(near)}?"] if near else []
    return _known("run-not-found", run=reference, fix=[*fix, "  runctl runs --all"])


def _known(code: str, **facts: Any) -> RunctlError:
    from runctl.core.catalogue import known  # noqa: PLC0415 - dataclasses, 15 ms that a list must not pay

    return known(code, **facts)
