"""What a copy has to do: which names count, which are safe, which contents are the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.core.cancel import CancelToken
from runctl.engine.etag import is_content
from runctl.engine.mirror_items import Item, Left, Side, Wanted, files_below, without_unsafe
from runctl.engine.mirroring import compare, fetched, placeable, storable, up_to_date
from runctl.project.wildmatch import BadPatternError

MIB = 1 << 20


def side(*names: str, size: int = 1, modified: float = 0.0, etag: str = "") -> Side:
    return Side({name: Item(name, size, modified, etag) for name in names})


@pytest.mark.parametrize(
    ("rules", "wanted", "not_wanted"),
    [
        ("", "a.pt b/c.txt", ""),
        ("-*.tmp", "a.pt x/y", "a.tmp x/y/b.tmp"),
        ("+*.pt", "a.pt x/y/b.pt", "a.txt x/a.pt.txt"),
        ("-logs/", "a/logs.txt logs", "logs/a a/b/logs/c/d"),
        ("-/data/*.csv", "data/a/b.csv x/data/a.csv", "data/a.csv"),
        ("-* +*.pt", "a.pt x/b.pt", "a.txt x/b"),
        ("-*.pt +best.pt", "best.pt x/best.pt a.txt", "a.pt x/last.pt"),
        ("+*.pt -old/", "a.pt new/a.pt", "old/a.pt a.txt"),
        ("-a/**/z", "a/b a/bz", "a/z a/b/z a/b/c/z a/z/inside"),
    ],
)
def test_the_last_pattern_that_matches_decides(rules: str, wanted: str, not_wanted: str) -> None:
    asked = Wanted([(rule[0] == "+", rule[1:]) for rule in rules.split()])
    assert [name for name in wanted.split() if not asked(name)] == []
    assert [name for name in not_wanted.split() if asked(name)] == []


@pytest.mark.parametrize("pattern", ["", "!*.pt", "[a", "/"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadPatternError):
        Wanted([(True, pattern)])


def test_names_that_lead_elsewhere_never_reach_the_disk() -> None:
    bad = ["../a", "a/../../b", "/etc/passwd", "a//b", "./a", "a/./b", "a/b/..", "x\0y", "..", "/"]
    found = side(*bad, "good", "also/good", "..fine", "a...b/c")
    without_unsafe(found)
    assert list(found.items) == ["good", "also/good", "..fine", "a...b/c"]
    assert {each.name for each in found.left} == set(bad)


def test_an_object_cannot_be_a_file_and_a_folder() -> None:
    found = side("a", "a/b", "a/b/c", "a.txt")
    without_unsafe(found)
    assert list(found.items) == ["a", "a.txt"]
    assert [each.name for each in found.left] == ["a/b", "a/b/c"]


@given(st.lists(st.text(alphabet="ab./\0", min_size=1, max_size=8), unique=True))
def test_whatever_the_keys_are_what_is_left_stays_below_the_folder(names: list[str]) -> None:
    found = side(*names)
    without_unsafe(found)
    for name in found.items:
        assert os.path.normpath(os.path.join("/root/x", name)) == f"/root/x/{name}"
    paths = {f"{name}/" for name in found.items}
    assert not [(one, other) for one in paths for other in paths if one != other and one.startswith(other)]


def test_nothing_is_written_through_a_link_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "in" / "real").mkdir(parents=True)
    (tmp_path / "in" / "file").write_text("x")
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    (tmp_path / "in" / "within").symlink_to("real")
    (tmp_path / "in" / "link").symlink_to(
        tmp_path / "elsewhere"
    )  # a file's link: it is replaced, not followed
    found = side("out/a", "out/b/c", "within/a", "real/a", "file/a", "real", "new/a", "link")
    placeable(found, tmp_path / "in")
    assert set(found.items) == {"within/a", "real/a", "new/a", "link"}
    reasons = {each.name: each.why for each in found.left}
    assert "leads out" in reasons["out/a"]
    assert "leads out" in reasons["out/b/c"]
    assert "a file is here" in reasons["file/a"]
    assert "a folder has its name" in reasons["real"]


def test_what_lies_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    (tmp_path / "sub" / "odd\n'\" name").write_text("22")
    (tmp_path / "linked").symlink_to("sub/a")
    (tmp_path / "sub" / "loop").symlink_to("..")
    (tmp_path / "nowhere").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff", os.O_CREAT))
    (tmp_path / "half.part").write_text("cut")
    (tmp_path / "half.part.done").write_text("notes")
    (tmp_path / "song.part").write_text("somebody's own")
    (tmp_path / "list.part.done").write_text("and this")
    found = files_below(tmp_path, Wanted(), CancelToken())
    assert {name: item.size for name, item in found.items.items()} == {
        "linked": 1, "list.part.done": 8, "song.part": 14, "sub/a": 1, "sub/odd\n'\" name": 2,
    }  # fmt: skip
    assert sorted(each.name for each in found.left) == [
        "half.part", "half.part.done", "nowhere", "pipe", "sub/loop", "\udcff",
    ]  # fmt: skip


def test_a_tree_with_two_ways_to_one_folder_has_both(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "other").symlink_to("real")
    assert set(files_below(tmp_path, Wanted(), CancelToken()).items) == {"real/a", "other/a"}


def test_deleting_spares_what_could_not_be_looked_at() -> None:
    source = side("kept")
    source.left += [Left("closed", "Permission denied"), Left("odd", "a link to nothing")]
    target = side("kept", "gone", "closed/a", "closed/b/c", "odd", "oddly")
    found = compare(source, target, lambda _one, _other: True, delete=True, cancel=CancelToken())
    assert [item.name for item in found.delete] == ["gone", "oddly"]
    assert compare(source, target, lambda *_: True, delete=False, cancel=CancelToken()).delete == ()


def test_a_source_that_cannot_be_read_at_all_deletes_nothing(tmp_path: Path) -> None:
    source = files_below(tmp_path / "gone", Wanted(), CancelToken())
    found = compare(source, side("a", "b/c"), lambda *_: True, delete=True, cancel=CancelToken())
    assert found.delete == ()


def test_a_key_that_is_too_long_stays_here() -> None:
    found = side("a" * 1000, "ü" * 500)
    storable(found, "prefix/" * 4)
    assert [len(each.name) for each in found.left] == [500, 1000][::-1]
    assert found.items == {}


def stored(data: bytes, part: int | None) -> str:
    """The ETag of an object with this content."""
    if part is None:
        return hashlib.md5(data).hexdigest()
    parts = [hashlib.md5(data[at : at + part]).digest() for at in range(0, len(data), part)]
    return f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"


@pytest.mark.parametrize("part", [None, 5 * MIB, 8 * MIB, 16 * MIB], ids=str)
@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 21 * MIB])
def test_a_file_is_known_by_its_etag(tmp_path: Path, part: int | None, size: int) -> None:
    data = hashlib.shake_128(b"x").digest(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    if size or part is None:
        assert is_content(path, size, stored(data, part), CancelToken())
    if size:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert not is_content(path, size, stored(data, part), CancelToken())
    assert not is_content(path, size, "an encrypted one's", CancelToken())


def test_a_touched_file_is_not_sent_and_a_changed_one_is_however_the_clocks_go(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    there = Item("file", 7, 1_000_000.0, stored(b"content", None))
    same = up_to_date(tmp_path.joinpath, CancelToken())
    for modified in (
        0.0,
        999_999.0,
        1_000_000.0,
        2_000_000.0,
    ):  # long before, just before, at once, long after
        assert same(Item("file", 7, modified), there)
    path.write_bytes(b"changed")
    for modified in (999_500.0, 1_000_000.0, 2_000_000.0):  # a clock that is 500 s late looks like "before"
        assert not same(Item("file", 7, modified), there)


def test_a_file_edited_after_it_was_fetched_is_fetched_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    source = Item("file", 7, 1_000_000.0, stored(b"content", None))
    same = fetched(tmp_path.joinpath, CancelToken())
    assert same(source, Item("file", 7, 1_000_000.0))
    assert same(source, Item("file", 7, 1_234_567.0))  # the same content
    path.write_bytes(b"edited!")
    assert not same(source, Item("file", 7, 1_234_567.0))
