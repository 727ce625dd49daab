"""Every store passes the same suite; S3 also in bad weather, and whoever is killed leaves nothing that can be seen."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aws.aws_world import Heard, blow, environment
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

from runctl.core.cancel import CancelToken
from runctl.core.errors import AccessError, Cancelled, RunctlError, UsageError
from runctl.core.ports import Store
from runctl.registry import store as store_at
from runctl.stores.directory import DirectoryStore
from runctl.testing.clock import FakeClock
from runctl.testing.stores import LARGE, StoreSuite, content, keys
from runctl.testing.surroundings import surroundings


class TestDirectory(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return store_at((tmp_path / "a store").as_uri(), surroundings())

    def test_no_key_leads_out_of_it(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "outside").write_bytes(b"mine")
        for key in ("../outside", "/outside", "a/../../outside", "a//b", ".", "", "a/\0", ".incoming/x"):
            with pytest.raises(UsageError) as caught:
                store.put(key, b"yours", cancel=CancelToken())
            assert caught.value.code == "store-key"
            with pytest.raises(UsageError):
                store.get(key, cancel=CancelToken())
            with pytest.raises(UsageError):
                store.delete([key], CancelToken())
        assert (tmp_path / "outside").read_bytes() == b"mine"

    def test_a_name_that_is_taken_by_a_folder_is_refused(self, store: Store) -> None:
        store.put("a/b", b"1", cancel=CancelToken())
        for key in ("a", "a/b/c"):
            with pytest.raises(AccessError) as caught:
                store.put(key, b"2", cancel=CancelToken())
            assert caught.value.code == "store-unwritable"
        assert keys(store, "") == ["a/b"]

    def test_what_a_killed_writer_left_is_swept_a_day_later(self, store: Store, tmp_path: Path) -> None:
        store.put("a", b"1", cancel=CancelToken())
        old, young = (tmp_path / "a store" / ".incoming" / name for name in ("1.old", "1.young"))
        for part in (old, young):
            part.write_bytes(b"half")
        import os

        os.utime(old, (1, 1))
        store.put("b", b"1", cancel=CancelToken())
        assert not old.exists()
        assert young.exists()

    @pytest.mark.parametrize("url", ["file://host/path", "file:relative", "s3:///x", "s3:x"])
    def test_an_address_that_means_nothing_is_refused(self, url: str) -> None:
        with pytest.raises(UsageError) as caught:
            store_at(url, surroundings())
        assert caught.value.code == "store-url"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("aws"), "--plain") as box:
        yield box


@pytest.fixture
def aws(cloud: SandboxBox, tmp_path: Path) -> Iterator[SandboxBox]:
    with environment(cloud, tmp_path):
        yield cloud
    blow(cloud, "clear")


BUCKETS = iter(range(1000))


@pytest.fixture
def bucket(aws: SandboxBox) -> str:
    name = f"bucket-{next(BUCKETS)}"
    aws.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def s3(bucket: str, heard: Heard) -> Iterator[Store]:
    around = surroundings(emit=heard, clock=FakeClock())  # nobody waits for a retry
    store = store_at(f"s3://{bucket}/some/prefix", around)
    yield store
    store.close()


def uploads(aws: SandboxBox, bucket: str) -> list[Any]:
    found: list[Any] = aws.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return found


class TestS3(StoreSuite):
    @pytest.fixture
    def store(self, s3: Store) -> Store:
        return s3

    def test_it_stays_below_its_prefix(self, store: Store, aws: SandboxBox, bucket: str) -> None:
        client = aws.client("s3")
        client.put_object(Bucket=bucket, Key="some/prefixed", Body=b"not ours")
        store.put("a", b"1", cancel=CancelToken())
        assert keys(store, "") == ["a"]
        assert client.get_object(Bucket=bucket, Key="some/prefix/a")["Body"].read() == b"1"

    def test_nothing_is_left_of_a_large_file_that_was_not_kept(
        self, store: Store, aws: SandboxBox, bucket: str, tmp_path: Path
    ) -> None:
        (tmp_path / "source").write_bytes(content(LARGE))
        store.put("k", b"first", cancel=CancelToken())
        store.put("k", tmp_path / "source", if_absent=True, cancel=CancelToken())
        blow(aws, "denied", service="s3", action="UploadPart", skip=1)
        with pytest.raises(AccessError):
            store.put("other", tmp_path / "source", cancel=CancelToken())
        assert uploads(aws, bucket) == []
        assert keys(store, "") == ["k"]


STORMS = [
    ("unavailable", {"times": 3}),
    ("throttle", {"times": 3}),
    ("error", {"times": 3}),
    ("cut", {"times": 3, "after_bytes": 0}),
]


@pytest.mark.parametrize(("kind", "rule"), STORMS, ids=[kind for kind, _ in STORMS])
def test_a_storm_passes(aws: SandboxBox, s3: Store, heard: Heard, kind: str, rule: dict[str, Any]) -> None:
    s3.put("before", b"x", cancel=CancelToken())
    blow(aws, kind, service="s3", **rule)
    assert s3.put("k", b"data", cancel=CancelToken())
    blow(aws, kind, service="s3", **rule)
    assert s3.get("k", cancel=CancelToken()) == b"data"
    blow(aws, kind, service="s3", **rule)
    assert keys(s3, "") == ["before", "k"]
    assert len(heard.retries) >= 8  # an answer without a body cannot be cut in it


def test_a_body_that_is_cut_goes_on_where_it_was_cut(
    aws: SandboxBox, s3: Store, heard: Heard, tmp_path: Path
) -> None:
    data = content(LARGE)
    s3.put("big", data, cancel=CancelToken())
    blow(aws, "cut", service="s3", action="GetObject", after_bytes=2_000_000, times=9)
    told: list[int] = []
    s3.fetch("big", tmp_path / "copy", cancel=CancelToken(), on_bytes=told.append)
    assert (tmp_path / "copy").read_bytes() == data
    assert sum(told) == len(data)  # no byte twice
    assert (
        heard.attempts.count("s3:GetObject") > 9
    )  # it goes forward each time: more than one call's patience


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    aws: SandboxBox, s3: Store, tmp_path: Path
) -> None:
    s3.put("big", content(LARGE, 1), cancel=CancelToken())
    blow(aws, "cut", service="s3", action="GetObject", after_bytes=2_000_000, times=1)
    replaced = threading.Event()

    def on_bytes(_count: int) -> None:
        if not replaced.is_set():
            replaced.set()
            s3.put("big", content(LARGE, 2), cancel=CancelToken())

    s3.fetch("big", tmp_path / "copy", cancel=CancelToken(), on_bytes=on_bytes)
    assert (tmp_path / "copy").read_bytes() in (content(LARGE, 1), content(LARGE, 2))
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy"]


def test_bytes_that_rot_in_the_bucket_are_refused(
    aws: SandboxBox, s3: Store, bucket: str, tmp_path: Path
) -> None:
    s3.put("k", content(3_000_000, 77), cancel=CancelToken())
    files = [path for path in (aws.base / aws.name).rglob("*") if path.is_file()]
    stored = [path for path in files if path.read_bytes().startswith(content(100, 77))]
    assert len(stored) == 1
    rotten = bytearray(stored[0].read_bytes())
    rotten[1234] ^= 1
    stored[0].chmod(0o600)
    stored[0].write_bytes(rotten)
    with pytest.raises(RunctlError) as caught:
        s3.fetch("k", tmp_path / "copy", cancel=CancelToken())
    assert caught.value.code == "store-corrupt"
    assert list(tmp_path.glob("copy*")) == []


def test_a_storm_that_does_not_pass_is_one_clear_error(aws: SandboxBox, bucket: str) -> None:
    around = surroundings(retries__attempts=2.0, retries__deadline_seconds=2)
    store = store_at(f"s3://{bucket}", around)
    blow(aws, "unavailable", service="s3")
    with pytest.raises(RunctlError) as caught:
        store.put("k", b"data", cancel=CancelToken())
    assert caught.value.transient
    blow(aws, "clear")
    assert keys(store, "") == []
    store.close()


@pytest.mark.parametrize(("kind", "code"), [("expired", "aws-credentials-expired"), ("denied", "aws-denied")])
def test_what_somebody_has_to_act_on_is_not_repeated(
    aws: SandboxBox, s3: Store, heard: Heard, kind: str, code: str
) -> None:
    blow(aws, kind, service="s3")
    for call in (
        lambda: s3.put("k", b"data", cancel=CancelToken()),
        lambda: s3.get("k", cancel=CancelToken()),
        lambda: keys(s3, ""),
        lambda: s3.delete(["k"], CancelToken()),
    ):
        with pytest.raises(AccessError) as caught:
            call()
        assert caught.value.code == code
    assert heard.retries == []


def test_a_bucket_that_is_not_there_is_said(aws: SandboxBox) -> None:
    around = surroundings()
    with pytest.raises(RunctlError) as caught:
        store_at("s3://never-made", around).put("k", b"", cancel=CancelToken())
    assert caught.value.code == "aws-bucket-missing"


def cancelled_after(seconds: float) -> CancelToken:
    cancel = CancelToken()
    threading.Timer(seconds, cancel.cancel).start()
    return cancel


@pytest.mark.parametrize("what", ["put", "put parts", "get", "fetch", "list", "delete"])
def test_a_cancel_is_heard_within_a_second(
    aws: SandboxBox, s3: Store, bucket: str, tmp_path: Path, what: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(content(LARGE))
    s3.put("big", source, cancel=CancelToken())
    if what in ("get", "fetch"):
        blow(aws, "slow", service="s3", rate=100_000)
    else:
        blow(aws, "slow", service="s3", delay=8, action="UploadPart" if what == "put parts" else "")
    calls: dict[str, Callable[[CancelToken], object]] = {
        "put": lambda cancel: s3.put("new", b"data", cancel=cancel),
        "put parts": lambda cancel: s3.put("new", source, cancel=cancel),
        "get": lambda cancel: s3.get("big", cancel=cancel),
        "fetch": lambda cancel: s3.fetch("big", tmp_path / "copy", cancel=cancel),
        "list": lambda cancel: keys_with(s3, cancel),
        "delete": lambda cancel: s3.delete(["big"], cancel),
    }
    cancel = cancelled_after(1.0)
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        calls[what](cancel)
    took = time.monotonic() - begun
    assert 0.9 < took < 2.0
    assert list(tmp_path.glob("copy*")) == []
    blow(aws, "clear")
    until(lambda: not uploads(aws, bucket), lambda: "an upload is left")


def keys_with(store: Store, cancel: CancelToken) -> list[str]:
    return [stored.key for stored in store.list("", cancel=cancel)]


WRITER = """
import sys
from pathlib import Path
from runctl.core.cancel import CancelToken
from runctl.registry import store
from runctl.testing.surroundings import surroundings
there = store(sys.argv[1], surroundings())
print("ready", flush=True)
n = 0
while True:
    n += 1
    there.put("k", Path(sys.argv[2]), cancel=CancelToken())
    print(n, flush=True)
"""


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_writer_that_is_killed_leaves_a_whole_object_or_none(
    aws: SandboxBox, bucket: str, tmp_path: Path, kind: str
) -> None:
    url = f"s3://{bucket}/x" if kind == "s3" else (tmp_path / "store").as_uri()
    store = store_at(url, surroundings())
    source = tmp_path / "source"
    source.write_bytes(content(LARGE))
    for round_ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(source)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.02 + 0.05 * round_)  # somewhere within the writing; where exactly does not matter
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if found := keys(store, ""):
            assert found == ["k"]
            assert store.get("k", cancel=CancelToken()) == content(LARGE)
    store.close()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    from dataclasses import replace

    store = DirectoryStore((tmp_path / "store").as_uri(), replace(surroundings(), read_only=True))
    for call in (
        lambda: store.put("k", b"", cancel=CancelToken()),
        lambda: store.delete(["k"], CancelToken()),
    ):
        with pytest.raises(AccessError):
            call()
    assert not (tmp_path / "store").exists()
