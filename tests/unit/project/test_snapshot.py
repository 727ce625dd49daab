"""Content by digest: the same tree gives the same digest, unchanged files are not read, changing ones are noticed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.core.cancel import CancelToken
from runctl.core.errors import Cancelled, RunctlError
from runctl.project.files import list_files
from runctl.project.memory import ScanMemory
from runctl.project.root import Root
from runctl.project.snapshot import Snapshot, take, tree_digest

if TYPE_CHECKING:
    from runctl.project.listing import Listing

LONG_AGO = 3_000_000_000  # ns; older than any file system's tick


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "p"
    for name, data in {
        "train.py": b"print(1)\n",
        "pkg/a.py": b"",
        "pkg/b.py": b"",
        "data.bin": b"\0\1" * 5000,
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("train.py")
    (top / "empty").mkdir()
    return top


def root(top: Path) -> Root:
    return Root(top, "", None)


def listed(top: Path, memory: ScanMemory | None = None) -> Listing:
    return list_files(root(top), env={"HOME": "/nonexistent"}, memory=memory)


def taken(top: Path, memory: ScanMemory | None = None) -> Snapshot:
    return take(root(top), listed(top, memory), memory=memory)


def old_enough(memory: ScanMemory) -> ScanMemory:
    """The memory as it would be had the files been written long before they were looked at."""
    memory.looked_at += LONG_AGO
    return memory


def test_entries_have_the_documented_shape(top: Path) -> None:
    found = {entry["path"]: entry for entry in taken(top).entries}
    digest = hashlib.sha256(b"print(1)\n").hexdigest()
    assert found["train.py"] == {
        "path": "train.py",
        "type": "file",
        "digest": digest,
        "size": 9,
        "exec": False,
    }
    assert found["run.sh"]["exec"] is True
    assert found["link"] == {"path": "link", "type": "link", "target": "train.py", "exec": False}
    assert found["empty"] == {"path": "empty", "type": "dir", "exec": False}
    assert list(found) == sorted(found)


def test_counts(top: Path) -> None:
    found = taken(top)
    assert (found.files, found.bytes, found.hashed, found.reused) == (7, 10019, 5, 0)


def plain_digest(entries: list[dict[str, Any]]) -> str:
    """The definition of docs/architecture.md, word for word."""
    state = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: os.fsencode(entry["path"])):
        kind = {"link": b"l", "dir": b"d"}.get(entry["type"], b"x" if entry["exec"] else b"f")
        value = os.fsencode(entry.get("digest") or entry.get("target", ""))
        state.update(kind + b"\0" + os.fsencode(entry["path"]) + b"\0" + value + b"\0")
    return state.hexdigest()


NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(
    st.dictionaries(st.one_of(NAMES, st.binary(min_size=1, max_size=4).map(os.fsdecode)), st.integers(0, 3))
)
def test_the_tree_digest_is_the_documented_one(names: dict[str, int]) -> None:
    entries: list[dict[str, Any]] = [
        {"path": name, "type": ("file", "file", "link", "dir")[kind], "exec": kind == 1}
        for name, kind in names.items()
    ]
    for entry in entries:
        if entry["type"] == "file":
            entry |= {"digest": "ab" * 32, "size": 1}
        elif entry["type"] == "link":
            entry["target"] = "t\udcff"
    assert tree_digest(entries) == plain_digest(entries)
    assert tree_digest(entries[::-1]) == tree_digest(entries)


def test_every_change_that_matters_changes_the_digest_and_no_other(top: Path) -> None:
    before = taken(top).digest
    os.utime(top / "train.py", ns=(1, 1))
    assert taken(top).digest == before
    seen = {before}

    def changed() -> bool:
        digest = taken(top).digest
        new = digest not in seen
        seen.add(digest)
        return new

    (top / "train.py").chmod(0o755)
    assert changed()
    (top / "train.py").write_text("print(2)\n")
    assert changed()
    (top / "link").unlink()
    (top / "link").symlink_to("run.sh")
    assert changed()
    (top / "empty").rmdir()
    assert changed()
    (top / "pkg/a.py").rename(top / "pkg/c.py")
    assert changed()


# --- the stat cache


def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}


def test_an_unchanged_file_is_not_read_again(top: Path, tmp_path: Path) -> None:
    cache = ScanMemory.load(top, env=env(tmp_path))
    first = taken(top, cache)
    assert not (tmp_path / "cache").exists()  # nothing is written before it is asked for
    assert old_enough(first.memory).save() == ""
    again = taken(top, ScanMemory.load(top, env=env(tmp_path)))
    assert (again.hashed, again.reused, again.digest) == (0, 5, first.digest)
    assert [path.parent.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["stat"]


def test_a_fresh_file_is_not_trusted(top: Path, tmp_path: Path) -> None:
    first = taken(top, ScanMemory.load(top, env=env(tmp_path)))
    first.memory.save()
    again = taken(top, ScanMemory.load(top, env=env(tmp_path)))
    assert (
        again.hashed == 5
    )  # written moments before they were read: they may have changed within the same tick


@pytest.mark.parametrize("how", ["content", "same size", "same size and time", "replaced", "mode"])
def test_a_changed_file_is_read_again(top: Path, tmp_path: Path, how: str) -> None:
    first = taken(top, ScanMemory.load(top, env=env(tmp_path)))
    old_enough(first.memory).save()
    script = top / "train.py"
    before = script.stat()
    if how == "content":
        script.write_text("print(22)\n")
    elif how == "replaced":
        (top / "new").write_text("print(3)\n")
        (top / "new").rename(script)
    elif how == "mode":
        script.chmod(0o755)
    else:
        script.write_text("print(4)\n")
    if how == "same size and time":
        os.utime(script, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = taken(top, ScanMemory.load(top, env=env(tmp_path)))
    assert again.hashed == 1
    found = {entry["path"]: entry for entry in again.entries}["train.py"]
    assert found["digest"] == hashlib.sha256(script.read_bytes()).hexdigest()
    assert again.digest != first.digest


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "other header", "folder"])
def test_a_damaged_cache_is_no_cache(top: Path, tmp_path: Path, damage: str) -> None:
    update = old_enough(taken(top, ScanMemory.load(top, env=env(tmp_path))).memory)
    update.save()
    assert update.file is not None
    data = update.file.read_bytes()
    if damage == "folder":
        update.file.unlink()
        update.file.mkdir()
    else:
        update.file.write_bytes(
            {
                "truncated": data[:-7],
                "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
                "empty": b"",
                "text": b"hello\n",
                "other header": data.replace(b"runctl-stat 2", b"runctl-stat 9"),
            }[damage]
        )
    again = taken(top, ScanMemory.load(top, env=env(tmp_path)))
    assert again.hashed == 5


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(top: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    update = old_enough(taken(top, ScanMemory.load(top, env=env(tmp_path))).memory)
    assert str(tmp_path / "cache") in update.save()


def test_projects_do_not_share_a_cache(tmp_path: Path) -> None:
    one, two = (ScanMemory.load(tmp_path / name, env=env(tmp_path)).file for name in ("a", "b"))
    assert one != two


def test_a_deleted_file_leaves_the_cache(top: Path, tmp_path: Path) -> None:
    old_enough(taken(top, ScanMemory.load(top, env=env(tmp_path))).memory).save()
    (top / "data.bin").unlink()
    update = taken(top, ScanMemory.load(top, env=env(tmp_path))).memory
    assert update.save() == ""
    names = {
        name for folder in ScanMemory.load(top, env=env(tmp_path)).folders.values() for name in folder.names
    }
    assert names == {"train.py", "a.py", "b.py", "run.sh"}


# --- reading


def test_large_files_are_read_side_by_side_and_right(tmp_path: Path) -> None:
    top = tmp_path / "p"
    top.mkdir()
    contents = {f"f{n}.bin": os.urandom(1 << 16) * (20 + n) for n in range(6)} | {"small": b"x"}
    for name, data in contents.items():
        (top / name).write_bytes(data)
    told: list[tuple[int, int, str]] = []
    found = take(root(top), listed(top), on_progress=lambda *step: told.append(step))
    assert {e["path"]: e["digest"] for e in found.entries} == {
        name: hashlib.sha256(data).hexdigest() for name, data in contents.items()
    }
    assert told[-1][:2] == (7, 7)
    assert all(total == 7 for _, total, _ in told)


def test_a_cancel_ends_the_reading(top: Path) -> None:
    cancel = CancelToken()
    cancel.cancel("enough")
    with pytest.raises(Cancelled):
        take(root(top), listed(top), cancel=cancel)
    for name in ("one", "two"):
        (top / name).write_bytes(b"x" * (3 << 20))
    with pytest.raises(Cancelled):
        take(root(top), listed(top), cancel=cancel)


def test_a_file_that_was_replaced_since_the_listing_counts_as_it_is_now(top: Path) -> None:
    before = listed(top)
    (top / "train.py").write_text("print('longer than before')\n")
    (top / "train.py").chmod(0o755)
    entry = {e["path"]: e for e in take(root(top), before).entries}["train.py"]
    assert entry["digest"] == hashlib.sha256((top / "train.py").read_bytes()).hexdigest()
    assert (entry["size"], entry["exec"]) == (28, True)


def failing(top: Path, before: Listing) -> RunctlError:
    with pytest.raises(RunctlError) as caught:
        take(root(top), before)
    assert caught.value.exit_code == 2
    return caught.value


def test_a_file_that_is_gone_since_the_listing(top: Path) -> None:
    before = listed(top)
    (top / "train.py").unlink()
    assert failing(top, before).code == "file-changing"
    (top / "train.py").symlink_to("run.sh")  # never followed when a file was listed
    assert failing(top, before).code == "project-unreadable"
    (top / "train.py").unlink()
    os.mkfifo(top / "train.py")  # never waited for
    assert failing(top, before).code == "file-changing"


def test_a_file_that_never_stands_still(top: Path) -> None:
    size = 40 << 20  # reading takes much longer than appending
    with (top / "growing.log").open("wb") as file:
        file.truncate(size)
    before = listed(top)
    stop = threading.Event()

    def grow() -> None:
        with (top / "growing.log").open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"x")
                stop.wait(0.0005)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        error = failing(top, before)
    finally:
        stop.set()
        writer.join()
    assert (error.code, error.transient) == ("file-changing", True)
    assert "growing.log" in error.what


def test_a_fatal_problem_of_the_listing_stops_it(top: Path) -> None:
    (top / ".gitignore").symlink_to("nowhere")
    error = failing(top, listed(top))
    assert error.code == "project-unreadable"
    assert ".gitignore" in error.what


def test_blobs_are_read_back_and_verified(top: Path) -> None:
    found = taken(top)
    for entry in found.entries:
        if entry["type"] == "file":
            assert b"".join(found.read_blob(entry["digest"])) == (top / entry["path"]).read_bytes()
    (top / "big").write_bytes(os.urandom(3 << 20))
    found = taken(top)
    digest = hashlib.sha256((top / "big").read_bytes()).hexdigest()
    assert [len(chunk) for chunk in found.read_blob(digest)] == [1 << 20] * 3
    with pytest.raises(KeyError):
        next(found.read_blob("0" * 64))


@pytest.mark.parametrize("how", ["grown", "shrunk", "same state", "gone", "link"])
def test_a_blob_that_changed_is_never_passed_off(
    top: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = taken(top)
    script = top / "train.py"
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    if how in ("gone", "link"):
        script.unlink()
    if how == "link":
        script.symlink_to("run.sh")
    if how in ("grown", "shrunk"):
        script.write_text("print(12345)\n" if how == "grown" else "p")
    if how == "same state":  # as if the change had fallen into one tick of the clock
        source = found.sources[digest]
        script.write_text("print(7)\n")
        status = script.stat()
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        monkeypatch.setitem(found.sources, digest, source._replace(state=state))
    with pytest.raises(RunctlError) as caught:
        b"".join(found.read_blob(digest))
    assert caught.value.code == "file-changed"


def test_no_file_descriptor_is_left_open(top: Path) -> None:
    def count() -> int:
        return len(os.listdir("/dev/fd"))

    before = count()
    found = taken(top)
    digest = found.entries[0]["digest"]
    stream = found.read_blob(digest)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert count() == before


def test_sha256sum_agrees(top: Path) -> None:
    entry = {e["path"]: e for e in taken(top).entries}["data.bin"]
    out = subprocess.run(["sha256sum", str(top / "data.bin")], capture_output=True, check=True).stdout
    assert out.split()[0].decode() == entry["digest"]
