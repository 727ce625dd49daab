"""The SQLite file of the index: made, opened, migrated, and put aside when it is broken. Knows no run."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runctl.engine.folders import unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# One script per schema version, each applied once, in order, within one transaction. Never edit one that was released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL, outcome TEXT,
            created_at TEXT NOT NULL, project TEXT NOT NULL, record TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX runs_newest ON runs (created_at, id)",
        """CREATE TABLE steps (
            run TEXT NOT NULL, step TEXT NOT NULL, side TEXT NOT NULL, seconds REAL NOT NULL,
            ok INTEGER NOT NULL, skipped INTEGER NOT NULL, ended_at TEXT NOT NULL,
            PRIMARY KEY (run, side, step, ended_at)
        ) WITHOUT ROWID""",
    ),
)
VERSION = len(MIGRATIONS)
PROBES = (
    "SELECT id, name, state, outcome, created_at, project, record FROM runs LIMIT 1",
    "SELECT run, step, side, seconds, ok, skipped, ended_at FROM steps LIMIT 1",
)
BUSY_SECONDS = 15.0  # how long one writer waits for the others; each write takes milliseconds
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DISK = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
    }
)
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def open_for_writing(path: Path, *, fill: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open the file, making or migrating it where needed; ``fill`` puts the rows into one that is new.

    Raises:
        AccessError: ``state-unwritable``.
        UsageError: ``state-newer``, a newer runctl has migrated the file.
        sqlite3.DatabaseError: the file is broken (``is_broken``).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite gives its -wal and -shm files the mode of the database itself
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise unwritable(path, error) from error
    db = _connect(str(path))
    try:
        if _version(db, path) < VERSION:
            with locked(path):
                _migrate(db, path, fill)
    except BaseException:
        db.close()
        raise
    return db


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """Open without writing a byte, not even a lock file; None where that is not possible just now.

    A file whose write-ahead log is empty is complete by itself and is read as immutable. Otherwise somebody is
    writing it, or died writing it, and the caller reads the run folders instead.

    Raises:
        UsageError: ``state-newer``.
        sqlite3.DatabaseError: the file is broken (``is_broken``).
    """
    from urllib.parse import quote  # noqa: PLC0415 - only for reading without traces

    try:
        if not path.is_file() or not path.stat().st_size:
            return None
        if path.with_name(path.name + "-wal").stat().st_size:
            return None
    except (FileNotFoundError, NotADirectoryError):
        if not path.exists():
            return None
    db = _connect(f"file:{quote(str(path))}?immutable=1", uri=True)
    try:
        if _version(db, path) < VERSION:
            db.close()
            return None
    except BaseException:
        db.close()
        raise
    return db


def in_memory(*, fill: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """A database of this version that is nowhere on disk, filled by ``fill``."""
    db = _connect(":memory:")
    _apply(db, 0)
    fill(db)
    return db


def put_aside(path: Path) -> Path | None:
    """Rename a broken file to ``index.sqlite.broken-<seconds>``; where to. None: somebody else has mended it already.

    Raises ``state-unwritable``.
    """
    with locked(path):
        if _sound(path):
            return None
        aside = path.with_name(f"{path.name}.broken-{int(time.time())}")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.name}.broken-{int(time.time())}-{number}")
        try:
            for suffix in ("-wal", "-shm"):
                beside = path.with_name(path.name + suffix)
                if beside.exists():
                    beside.rename(aside.with_name(aside.name + suffix))
            path.rename(aside)
        except OSError as error:
            raise unwritable(path, error) from error
        return aside


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``index.lock``: one process at a time makes, migrates or replaces the file. Raises ``state-unwritable``."""
    try:
        fd = os.open(path.with_name("index.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(path.with_name("index.lock"), error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: all of the block or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has rolled it back already
            db.execute("ROLLBACK")
        raise


def is_broken(error: sqlite3.Error) -> bool:
    """Whether ``error`` means that the file is no good: not a database, damaged, cut short, or not our tables."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_ERROR:
        return str(error).startswith(("no such table", "no such column"))
    return code & 0xFF in _BROKEN or code == sqlite3.SQLITE_IOERR_SHORT_READ


def said(error: sqlite3.Error, path: Path) -> BaseException:
    """The error in our words; one that only a bug explains is given back as it is."""
    from runctl.core.catalogue import known  # noqa: PLC0415 - only for an error

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return known("state-busy", path=str(path), seconds=int(BUSY_SECONDS))
    if code in _DISK:
        return known("state-unwritable", path=str(path), detail=str(error))
    return error


def _connect(target: str, *, uri: bool = False) -> sqlite3.Connection:
    # isolation_level None: transactions begin where the code says BEGIN, nowhere else
    return sqlite3.connect(
        target, uri=uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _version(db: sqlite3.Connection, path: Path) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        from runctl.core.catalogue import known  # noqa: PLC0415 - only for an error

        raise known("state-newer", path=str(path), found=version, known=VERSION)
    return int(version)


def _migrate(db: sqlite3.Connection, path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    version = _version(db, path)
    if version == VERSION:
        return  # another process was first
    db.execute("PRAGMA journal_mode = WAL")  # lasts; readers and the one writer do not wait for each other
    with transaction(db):
        _apply(db, version)
        if version == 0:
            fill(db)


def _apply(db: sqlite3.Connection, version: int) -> None:
    for script in MIGRATIONS[version:]:
        for statement in script:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _sound(path: Path) -> bool:
    try:
        db = _connect(str(path))
        try:
            for probe in PROBES:
                db.execute(probe).fetchall()
            return bool(db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
        finally:
            db.close()
    except sqlite3.Error:
        return False
