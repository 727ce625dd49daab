"""A look with a memory gives what a look without one gives, whatever happened in between; and it does not look twice."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runctl.project import walk
from runctl.project.files import list_files
from runctl.project.listing import Listing
from runctl.project.memory import ScanMemory
from runctl.project.root import Root
from runctl.project.snapshot import Snapshot, take

LONG = 10_000_000_000  # ns
TICK = 0.012  # seconds; more than a tick of the file system's clock


def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}


def look(top: Path, tmp_path: Path, **more: tuple[str, ...]) -> tuple[Listing, Snapshot]:
    """One look with what the last one left, as if that had been long ago."""
    memory = ScanMemory.load(top, env=env(tmp_path))
    listing = list_files(Root(top, "", None), env=env(tmp_path), memory=memory, **more)  # type: ignore[arg-type]
    found = take(Root(top, "", None), listing, memory=memory)
    found.memory.looked_at += LONG
    assert found.memory.save() == ""
    return listing, found


def fresh(top: Path, tmp_path: Path, **more: tuple[str, ...]) -> tuple[Listing, Snapshot]:
    listing = list_files(Root(top, "", None), env=env(tmp_path), **more)  # type: ignore[arg-type]
    return listing, take(Root(top, "", None), listing)


def same(top: Path, tmp_path: Path, **more: tuple[str, ...]) -> None:
    """Both looks agree about everything."""
    (one, taken), (two, true) = look(top, tmp_path, **more), fresh(top, tmp_path, **more)
    assert one.files == two.files
    assert one.left_out == two.left_out
    assert one.secrets == two.secrets
    assert sorted(one.problems) == sorted(two.problems)
    assert taken.entries == true.entries
    assert taken.digest == true.digest
    assert (taken.files, taken.bytes) == (true.files, true.bytes)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "p"
    for number in range(40):
        place = top / f"d{number % 5}" / f"s{number % 3}" / f"f{number}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{number}\n")
    (top / "train.py").write_text("print(1)\n")
    (top / ".gitignore").write_text("*.log\nbuild/\n")
    (top / "build").mkdir()
    (top / "build" / "x").write_text("x")
    (top / "notes.log").write_text("x")
    (top / "link").symlink_to("train.py")
    (top / "hollow").mkdir()
    return top


def test_a_second_look_reads_no_folder_and_no_file(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(top, tmp_path)

    def never(*_args: object, **_more: object) -> None:
        raise AssertionError("it was read again")

    monkeypatch.setattr(walk.Walk, "_read", never)
    monkeypatch.setattr("runctl.project.snapshot.tree_digest", never)
    _, found = look(top, tmp_path)
    assert (found.hashed, found.reused) == (0, 42)
    monkeypatch.undo()
    assert found.digest == fresh(top, tmp_path)[1].digest


def emptied(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()


def folder_gone(top: Path) -> None:
    emptied(top / "d3/s0")
    (top / "d3/s0").rmdir()


def file_became_link(top: Path) -> None:
    (top / "train.py").rename(top / "d1/t.py")
    (top / "train.py").symlink_to("d1/t.py")


def file_became_folder(top: Path) -> None:
    (top / "notes.log").unlink()
    (top / "notes.log").mkdir()


def code_in_checkpoints(top: Path) -> None:
    (top / "checkpoints").mkdir()
    (top / "checkpoints/__init__.py").write_text("")


CHANGES: dict[str, Callable[[Path], object]] = {
    "new file": lambda top: (top / "d1/s1/new.py").write_text("n"),
    "file gone": lambda top: os.unlink(top / "d1/s1/f16.py"),
    "file renamed": lambda top: os.rename(top / "d1/s1/f16.py", top / "d1/s1/g.py"),
    "content": lambda top: (top / "d2/s0/f12.py").write_text("changed"),
    "mode": lambda top: os.chmod(top / "d2/s0/f12.py", 0o755),
    "folder gone": folder_gone,
    "folder emptied": lambda top: emptied(top / "d3/s1"),
    "new folder": lambda top: os.mkdir(top / "d3/new"),
    "new ignore file": lambda top: (top / "d1/.gitignore").write_text("f1*.py\n"),
    "ignore file changed": lambda top: (top / ".gitignore").write_text("*.log\n"),
    "ignore file gone": lambda top: os.unlink(top / ".gitignore"),
    "own ignore file": lambda top: (top / ".runctlignore").write_text("d2/\n"),
    "file became link": file_became_link,
    "file became folder": file_became_folder,
    "link target gone": lambda top: os.unlink(top / "train.py"),
    "pipe": lambda top: os.mkfifo(top / "d1/pipe"),
    "environment": lambda top: (top / "d4/pyvenv.cfg").write_text(""),
    "code in checkpoints": code_in_checkpoints,
    "secret": lambda top: (top / "d1/.env").write_text("KEY=1"),
    "old times": lambda top: os.utime(top / "train.py", ns=(-5, -5)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(top: Path, tmp_path: Path, change: str) -> None:
    same(top, tmp_path)
    time.sleep(TICK)
    CHANGES[change](top)
    same(top, tmp_path)
    same(top, tmp_path)


def test_what_decides_inside_a_folder_is_seen_from_outside(top: Path, tmp_path: Path) -> None:
    (top / "checkpoints").mkdir()
    same(top, tmp_path)
    time.sleep(TICK)
    (top / "checkpoints/__init__.py").write_text("")  # now it is code; its parent's own state is the same
    same(top, tmp_path)


def test_a_file_that_becomes_a_key_is_seen(top: Path, tmp_path: Path) -> None:
    key = top / "d1" / "project-0123456789ab.json"
    key.write_text("{}")
    same(top, tmp_path)
    time.sleep(TICK)
    key.write_text('{"private_key": "x"}')
    same(top, tmp_path)
    time.sleep(TICK)
    key.write_text("{}")
    same(top, tmp_path)


def test_other_settings_are_other_rules(top: Path, tmp_path: Path) -> None:
    same(top, tmp_path)
    same(top, tmp_path, exclude=("d1/",))
    same(top, tmp_path, include=("build/x",))
    same(top, tmp_path)


def test_what_git_tracks_is_asked_again_when_its_index_changes(top: Path, tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(top), *words], check=True, capture_output=True)

    git("init", "-q")
    (top / "d1" / "kept.log").write_text("x")
    same(top, tmp_path)
    time.sleep(TICK)
    git("add", "-f", "d1/kept.log")
    same(top, tmp_path)
    time.sleep(TICK)
    git("rm", "-q", "--cached", "d1/kept.log")
    same(top, tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_of_changes_is_seen(top: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    places = [top / name for name in ("", "d0/s0", "d1/s1", "d2/s2", "deep/er", "d0")]
    for _ in range(25):
        for _ in range(chance.randint(0, 3)):
            place = chance.choice(places)
            place.mkdir(parents=True, exist_ok=True)
            files = [each for each in place.iterdir() if each.is_file() and not each.is_symlink()]
            what = chance.randrange(7)
            name = chance.choice(["a.py", "b.log", "c.json", ".gitignore", "x~", "__init__.py"])
            if what == 0 and files:
                chance.choice(files).unlink()
            elif what == 1 and files:
                chance.choice(files).chmod(chance.choice([0o644, 0o755]))
            elif what == 2 and files:
                chance.choice(files).rename(place / name)
            elif what == 3 and not (place / "l").is_symlink():
                (place / "l").symlink_to(chance.choice(["a.py", "../train.py", "nowhere", "/etc/hosts"]))
            elif name == ".gitignore":
                (place / name).write_text(chance.choice(["*.log\n", "!b.log\n", "s0/\n", "a.py\n", "er\n"]))
            else:
                (place / name).write_text(str(chance.random()))
        time.sleep(TICK)
        same(top, tmp_path)
