"""What every store must do: subclass ``StoreSuite`` in a test module and say how to make one.

class TestFolder(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path): return DirectoryStore(tmp_path.as_uri(), surroundings())
"""

from __future__ import annotations

import hashlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from runctl.core.cancel import CancelToken, together
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runctl.core.ports import Store

RACERS = 32
LARGE = 20 * 1024 * 1024 + 7  # bytes: more than one part of any store


def content(size: int, seed: int = 0) -> bytes:
    """``size`` bytes that no compression and no shift leaves equal."""
    return hashlib.shake_256(b"%d" % seed).digest(size)


def keys(store: Store, prefix: str, *, after: str = "") -> list[str]:
    """The keys of a listing."""
    return [stored.key for stored in store.list(prefix, after=after, cancel=CancelToken())]


def refused(call: Callable[[], object]) -> str:
    """The code of the error that ``call`` has to raise."""
    try:
        call()
    except RunctlError as error:
        return error.code
    raise AssertionError("it was not refused")


class StoreSuite:
    """Inherited tests; each takes the fixture ``store``, an empty one."""

    def test_what_is_put_comes_back(self, store: Store) -> None:
        """Empty, small, large and repeated."""
        for name, data in (("a/empty", b""), ("a/small", b"\0\r\n\xff"), ("a/large", content(LARGE))):
            assert store.put(name, data, cancel=CancelToken())
            assert store.get(name, cancel=CancelToken()) == data
        assert store.put("a/small", b"other", cancel=CancelToken())
        assert store.get("a/small", cancel=CancelToken()) == b"other"

    def test_a_stretch_of_an_object(self, store: Store) -> None:
        """Cut short at the end, empty behind it."""
        store.put("k", b"0123456789", cancel=CancelToken())
        for start, length, expected in (
            (0, 4, b"0123"),
            (3, None, b"3456789"),
            (8, 5, b"89"),
            (10, 5, b""),
            (25, None, b""),
            (2, 0, b""),
        ):
            assert store.get("k", start=start, length=length, cancel=CancelToken()) == expected

    def test_files_travel_whole(self, store: Store, tmp_path: Path) -> None:
        """Both ways, with every byte told, and no part is left beside the target."""
        (tmp_path / "source").write_bytes(content(LARGE))
        assert store.put("big", tmp_path / "source", cancel=CancelToken())
        told: list[int] = []
        (tmp_path / "there").mkdir()
        store.fetch("big", tmp_path / "there" / "copy", cancel=CancelToken(), on_bytes=told.append)
        assert (tmp_path / "there" / "copy").read_bytes() == content(LARGE)
        assert sum(told) == LARGE
        assert [path.name for path in (tmp_path / "there").iterdir()] == ["copy"]

    def test_what_is_not_there_is_said(self, store: Store, tmp_path: Path) -> None:
        """``store-missing``, whoever asks, and no file is made."""
        store.put("folder/file", b"x", cancel=CancelToken())
        for key in ("nothing", "folder", "folder/file/below", "folder/other"):
            assert refused(partial(store.get, key, cancel=CancelToken())) == "store-missing"
            assert (
                refused(partial(store.fetch, key, tmp_path / "copy", cancel=CancelToken())) == "store-missing"
            )
        assert list(tmp_path.glob("copy*")) == []

    def test_listings_are_in_the_order_of_their_bytes(self, store: Store) -> None:
        """By prefix, which may end within a name, and behind a key; nothing but what was put."""
        names = ["b/1", "b/10", "b/2", "b-", "b/x/y", "b/x-z", "a", "ü/é", "b0"]
        for name in names:
            store.put(name, name.encode(), cancel=CancelToken())
        ordered = sorted(names, key=str.encode)
        assert keys(store, "") == ordered
        assert keys(store, "b/") == [name for name in ordered if name.startswith("b/")]
        assert keys(store, "b/1") == ["b/1", "b/10"]
        assert keys(store, "b", after="b/10") == ["b/2", "b/x-z", "b/x/y", "b0"]
        assert keys(store, "zzz") == []
        found = next(iter(store.list("b/10", cancel=CancelToken())))
        assert found.size == 4
        assert abs(found.modified - time.time()) < 3600
        assert found.etag

    def test_long_listings_are_complete(self, store: Store) -> None:
        """More than any page of a vendor holds."""

        def put(worker: int, cancel: CancelToken) -> None:
            for number in range(worker, 1100, 8):
                store.put(f"many/{number:04}", b"", cancel=cancel)

        with together(CancelToken()) as scope:
            for worker in range(8):
                scope.start("put", partial(put, worker, scope.cancel))
        assert keys(store, "many/") == [f"many/{n:04}" for n in range(1100)]
        store.delete(keys(store, "many/"), CancelToken())
        assert keys(store, "") == []

    def test_deleting_what_is_not_there_is_a_success(self, store: Store) -> None:
        """And what is there goes."""
        store.put("a/b", b"1", cancel=CancelToken())
        store.put("a/c", b"2", cancel=CancelToken())
        store.delete(["a/b", "a/none", "none"], CancelToken())
        assert keys(store, "") == ["a/c"]

    def test_one_of_many_wins_if_absent(self, store: Store) -> None:
        """Exactly one, and the object is the winner's."""
        with together(CancelToken()) as scope:
            racers = [
                scope.start(
                    f"racer-{n}", partial(store.put, "lock", b"%d" % n, if_absent=True, cancel=scope.cancel)
                )
                for n in range(RACERS)
            ]
            won = [n for n, racer in enumerate(racers) if racer.result()]
        assert len(won) == 1
        assert store.get("lock", cancel=CancelToken()) == b"%d" % won[0]

    def test_a_large_file_replaces_nothing_if_absent(self, store: Store, tmp_path: Path) -> None:
        """Also where it goes in parts."""
        (tmp_path / "source").write_bytes(content(LARGE))
        store.put("k", b"first", cancel=CancelToken())
        assert not store.put("k", tmp_path / "source", if_absent=True, cancel=CancelToken())
        assert store.get("k", cancel=CancelToken()) == b"first"
        assert store.put("free", tmp_path / "source", if_absent=True, cancel=CancelToken())

    def test_a_token_that_is_set_already_stops_everything(self, store: Store, tmp_path: Path) -> None:
        """No call, no side effect."""
        store.put("k", b"1", cancel=CancelToken())
        cancel = CancelToken()
        cancel.cancel()
        for call in (
            lambda: store.put("new", b"1", cancel=cancel),
            lambda: store.get("k", cancel=cancel),
            lambda: store.fetch("k", tmp_path / "copy", cancel=cancel),
            lambda: list(store.list("", cancel=cancel)),
            lambda: store.delete(["k"], cancel),
        ):
            assert refused(call) == "cancelled"
        assert keys(store, "") == ["k"]
        assert list(tmp_path.glob("copy*")) == []

    def test_a_file_that_changes_while_it_is_put_is_not_kept(self, store: Store, tmp_path: Path) -> None:
        """No mixture of two contents ever gets a name."""
        source = tmp_path / "source"
        source.write_bytes(content(LARGE))
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                with source.open("r+b") as file:
                    file.write(content(100, time.monotonic_ns()))
                time.sleep(0.001)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            code = refused(partial(store.put, "torn", source, cancel=CancelToken()))
            assert code == "file-changed", code
        finally:
            stop.set()
            writer.join()
        assert keys(store, "") == []
