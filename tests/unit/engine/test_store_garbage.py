"""Garbage is what nobody used for long: a tree that lives keeps its packs and its base, and a running sync loses nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.events import Event
from runctl.engine.code_store import Sent, send_code
from runctl.engine.plan import CodePlan
from runctl.engine.store_garbage import Garbage, find_garbage, remove_garbage
from runctl.project.files import list_files
from runctl.project.root import Root
from runctl.project.snapshot import take
from runctl.stores.directory import DirectoryStore
from runctl.testing.stores import content, keys
from runctl.testing.surroundings import surroundings

NOW = datetime.now(UTC)


class Shelf:
    """A store in a folder whose objects can be made old, and a project that is sent there."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.top = base / "project"
        self.top.mkdir()
        self.store = DirectoryStore((base / "store").as_uri(), surroundings())

    def write(self, name: str, data: bytes) -> None:
        (self.top / name).parent.mkdir(parents=True, exist_ok=True)
        (self.top / name).write_bytes(data)

    def send(self) -> Sent:
        root = Root(self.top, "", None)
        found = take(root, list_files(root, env={"HOME": "/nonexistent"}))
        deaf: list[Event] = []
        return send_code(
            CodePlan(self.top, "", found, (), ()), self.store, env={"HOME": str(self.base)}, emit=deaf.append,
            clock=SystemClock(), cancel=CancelToken(),
        )  # fmt: skip

    def age(self, days: float, prefix: str = "") -> None:
        for key in keys(self.store, prefix):
            path = self.base / "store" / key
            then = path.stat().st_mtime - days * 86400
            os.utime(path, (then, then))

    def garbage(self, days: float = 60) -> Garbage:
        return find_garbage(self.store, days=days, now=NOW, cancel=CancelToken())

    def collect(self) -> None:
        remove_garbage(self.store, self.garbage(), CancelToken())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    for number in range(20):
        shelf.write(f"data{number}.bin", content(60_000, number))
    return shelf


def test_what_is_young_stays_and_what_is_old_goes(shelf: Shelf) -> None:
    shelf.send()
    before = keys(shelf.store, "")
    shelf.age(59)
    assert (shelf.garbage().trees, shelf.garbage().packs) == ((), ())
    shelf.age(2)
    found = shelf.garbage()
    assert sorted([*found.trees, *found.packs]) == before
    assert (found.kept_objects, found.kept_bytes) == (0, 0)
    shelf.collect()
    assert keys(shelf.store, "") == []
    assert shelf.send().files == 20


def test_a_tree_that_lives_keeps_its_old_packs(shelf: Shelf) -> None:
    shelf.send()
    shelf.age(10)
    shelf.write("data0.bin", content(60_000, 77))
    second = shelf.send()
    assert second.files == 1  # it counts on the packs of the first
    shelf.age(55)  # the first tree and its packs are 65 days old, the second tree 55
    found = shelf.garbage()
    assert len(found.trees) == 1
    assert found.packs == ()
    shelf.collect()
    assert [key.partition("/")[2] for key in keys(shelf.store, "trees/")] == [second.tree]


def test_a_base_lives_as_long_as_what_is_based_on_it(shelf: Shelf) -> None:
    for number in range(1100):
        shelf.write(f"many/f{number}", b"%d" % number)
    base = shelf.send()
    shelf.age(10)
    shelf.write("many/f7", b"changed")
    delta = shelf.send()
    assert delta.objects == 1
    shelf.age(55)
    assert shelf.garbage().trees == ()
    shelf.age(10)
    assert len(shelf.garbage().trees) == 2
    assert base.tree != delta.tree


def test_what_is_too_old_to_count_on_is_sent_anew(shelf: Shelf) -> None:
    """A sync that begins just before something turns to garbage does not count on it."""
    shelf.send()
    shelf.age(16)
    again = shelf.send()
    assert again.files == 20
    assert keys(shelf.store, "packs/")
    found = find_garbage(shelf.store, days=30, now=NOW + timedelta(days=29), cancel=CancelToken())
    assert (found.trees, found.packs) == ((), ())


def test_packs_of_a_sync_that_goes_on_are_no_garbage(shelf: Shelf) -> None:
    shelf.send()
    shelf.store.delete(keys(shelf.store, "trees/"), CancelToken())  # as if the tree were still to come
    assert shelf.garbage().packs == ()
    shelf.age(61)
    assert len(shelf.garbage().packs) == len(keys(shelf.store, "packs/"))


def test_fewer_days_than_a_sync_counts_on_are_refused(shelf: Shelf) -> None:
    with pytest.raises(ValueError, match="30 days"):
        shelf.garbage(days=29)


def test_other_objects_are_left_alone(shelf: Shelf) -> None:
    for key in ("runs/r/run.json", "agent/x.py", "envs/y", "treesnot", "packs-of-mine/z"):
        shelf.store.put(key, b"mine", cancel=CancelToken())
    shelf.send()
    shelf.age(100)
    shelf.collect()
    assert keys(shelf.store, "") == ["agent/x.py", "envs/y", "packs-of-mine/z", "runs/r/run.json", "treesnot"]
