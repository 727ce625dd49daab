"""What is looked at on this computer: each check, made to stand badly, says so with what mends it."""

from __future__ import annotations

import os
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from runctl.core.checks import CheckState
from runctl.core.clock import SystemClock
from runctl.core.errors import AccessError
from runctl.core.model import Offer
from runctl.engine import doctor
from runctl.engine.ledger import Ledger


def ledger_in(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.jsonl", SystemClock())


def test_a_folder_that_is_not_there_yet_is_fine_and_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    found = doctor.state_folder(folder)
    assert (found.state, found.what) == (CheckState.OK, f"{folder}, made at the first run")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = doctor.state_folder(tmp_path)
    assert (found.state, found.fix) == (CheckState.WARN, (f"  chmod 700 {tmp_path}",))
    tmp_path.chmod(0o700)
    assert doctor.state_folder(tmp_path).state is CheckState.OK


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = tmp_path / "locked"
    refused.mkdir(mode=0o500)
    if os.geteuid() == 0:  # whom no mode stops; what the system says is all there is to ask
        monkeypatch.setattr(os, "access", lambda place, _mode: Path(place) != refused)
    with pytest.raises(AccessError) as caught:
        doctor.state_folder(refused / "runctl")
    assert caught.value.code == "state-unwritable"
    assert str(refused) in caught.value.why


@pytest.mark.parametrize(
    ("point", "inside"),
    [("/", True), ("/home", True), ("/home/a", True), ("/home/ab", False), ("/srv", False)],
)
def test_a_network_file_system_is_found_by_the_deepest_mount(
    point: str, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"/dev/sda / ext4 rw 0 0\nserver:/x {point} nfs4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda _self: lines)
    assert doctor._file_system(Path("/home/a/state")) == ("nfs4" if inside else "ext4")


@pytest.mark.parametrize(
    ("free", "files", "state"),
    [
        (50 << 30, 10**6, "ok"),
        (2 << 30, 10**6, "warn"),
        (50 << 30, 100, "warn"),
        (50 << 30, 0, "warn"),
    ],
)
def test_room_on_the_disk(
    free: int, files: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    made = os.statvfs_result((*real[:5], 10**7, files, files, *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda _place: made)
    usage = shutil._ntuple_diskusage(100 << 30, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    assert doctor.disk(tmp_path / "new").state == state


def test_no_room_at_all_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(100 << 30, 0, 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    with pytest.raises(AccessError) as caught:
        doctor.disk(tmp_path)
    assert caught.value.code == "disk-short"
    assert "1.0 MB are free" in caught.value.why


def test_a_ledger_that_cannot_be_read_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessError) as caught:
        doctor.debts(ledger_in(tmp_path / "file"))
    assert caught.value.code == "state-unwritable"
    with pytest.raises(AccessError) as caught:
        doctor.state_folder(tmp_path / "file" / "runctl")
    assert caught.value.why == f"{tmp_path / 'file'} is no folder"


def test_what_may_be_owed_is_warned_of(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    assert doctor.debts(ledger).what == "nothing is owed"
    for run in ("run-1", "run-2", "run-3", "run-4"):
        ledger.owe(run, Offer("fake", "small", price_per_hour=Decimal("0.5")))
    found = doctor.debts(ledger)
    assert (found.state, found.fix, found.facts) == (CheckState.WARN, ("  runctl clean",), {"owed": 4})
    assert found.what == "4 machines may still be billed: run-1, run-2, run-3, ..."
