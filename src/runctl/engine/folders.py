"""The folder a client keeps for each run: where its files are, and how one is replaced whole.

``<state folder>/runs/<run id>/`` holds the truth; the index beside it can always be made again from it::

    run.json                  the record, ``Run.to_json`` with a schema version, replaced atomically
    plan.json                 the plan that was applied
    events.jsonl              what this machine did, one event a line
    machine-events-1.jsonl    the machine's own events of attempt 1: a copy, byte for byte, at the same offsets
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runctl.core.errors import RunctlError

SCHEMA = 1  # of run.json
REMOVED = ".removed-"  # before the id of a folder that is being deleted


class RunFolder:
    """The paths of one run's record. Nothing is created here but by ``create``."""

    def __init__(self, state_dir: Path, run_id: str) -> None:
        self.path = state_dir / "runs" / run_id
        self.record = self.path / "run.json"
        self.plan = self.path / "plan.json"
        self.events = self.path / "events.jsonl"

    def machine_events(self, attempt: int) -> Path:
        """The copy of the machine's events; every attempt has a machine, and a file, of its own."""
        return self.path / f"machine-events-{attempt}.jsonl"

    def create(self) -> None:
        """Make the folder, for the owner only. Safe to repeat. Raises ``state-unwritable``."""
        try:
            for folder in (
                self.path.parent.parent,
                self.path.parent,
                self.path,
            ):  # the mode is for the last one only
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise unwritable(self.path, error) from error


def hold(folder: RunFolder) -> int:
    """Make the folder and hold it while its run is handed over to a machine; closing the descriptor lets go.

    The kernel lets go when the process dies, however it dies: that is how others tell a run that is on its way from
    one whose client is gone. Raises ``state-unwritable``.
    """
    folder.create()
    try:
        fd = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError as error:
        raise unwritable(folder.path, error) from error
    return fd


def is_held(folder: RunFolder) -> bool:
    """Whether a living client is handing this run over; true also where the file system cannot tell."""
    try:
        fd = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def write_record(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Replace ``run.json``; on disk when this returns. Raises ``state-unwritable``, and then the old one is whole."""
    folder.create()
    replace_file(folder.record, json.dumps({"v": SCHEMA, **record}, indent=1).encode() + b"\n")


def write_plan(folder: RunFolder, plan: Mapping[str, Any]) -> None:
    """Replace ``plan.json``. Raises ``state-unwritable``."""
    folder.create()
    replace_file(folder.plan, json.dumps(plan, indent=1, default=str).encode() + b"\n")


def read_record(folder: RunFolder) -> dict[str, Any] | None:
    """The record as ``Run.to_json`` wrote it; None where there is none, or one this version cannot understand."""
    value = _read(folder.record)
    if value is None or value.pop("v", None) != SCHEMA:
        return None
    return (
        value
        if all(isinstance(value.get(key), str) for key in ("id", "name", "state", "created_at"))
        else None
    )


def read_plan(folder: RunFolder) -> dict[str, Any] | None:
    """The plan that was applied; None where there is none."""
    return _read(folder.plan)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def recorded_ids(state_dir: Path) -> set[str]:
    """The ids that have a folder; of a state folder that is not there, none."""
    try:
        return {name for name in os.listdir(state_dir / "runs") if not name.startswith(".")}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise unwritable(state_dir / "runs", error) from error


def delete_folder(state_dir: Path, run_id: str) -> int:
    """Delete a run's folder; the bytes it held. Safe to repeat, and finishes what an interrupted one left.

    The folder is renamed first, so a record is there whole or not at all. Raises ``state-unwritable``.
    """
    import shutil  # noqa: PLC0415 - 8 ms, only to delete

    folder = RunFolder(state_dir, run_id).path
    freed = 0
    try:
        if folder.exists():
            freed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            folder.rename(folder.with_name(REMOVED + run_id))
        for left in folder.parent.glob(REMOVED + "*"):
            shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return freed


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path`` and rename: a reader sees the old or the new, whatever dies in between.

    Mode 0600; on disk when this returns. Raises ``state-unwritable``.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def write_all(fd: int, data: bytes, offset: int | None = None) -> None:
    """Write every byte, at ``offset`` where one is given; raises ``OSError``."""
    view = memoryview(data)
    while view:
        if offset is None:
            view = view[os.write(fd, view) :]
        else:
            written = os.pwrite(fd, view, offset)
            offset += written
            view = view[written:]


def unwritable(path: Path, error: OSError) -> RunctlError:
    """The error ``state-unwritable`` for an operating system error at ``path``."""
    from runctl.core.catalogue import known  # noqa: PLC0415 - only for an error

    return known("state-unwritable", path=str(path), detail=error.strerror or str(error))
