"""A file that was cut off on its way to or from a bucket is not sent again from its beginning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aws.aws_world import Heard, blow, environment
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

from runctl.core.cancel import CancelToken
from runctl.core.errors import Cancelled, RunctlError
from runctl.core.ports import Store
from runctl.registry import store as store_at
from runctl.testing.clock import FakeClock
from runctl.testing.stores import content
from runctl.testing.surroundings import surroundings

PART = 8 << 20  # bytes: what the uploads here are cut into
DATA = content(6 * PART - 1000)
B = {"Bucket": "large"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("aws"), "--plain") as box:
        box.client("s3").create_bucket(Bucket="large")
        yield box


@pytest.fixture
def aws(cloud: SandboxBox, tmp_path: Path) -> Iterator[SandboxBox]:
    with environment(cloud, tmp_path):
        yield cloud
        blow(cloud, "clear")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def s3(aws: SandboxBox, heard: Heard) -> Iterator[Store]:
    store = store_at("s3://large", surroundings(emit=heard, clock=FakeClock()))
    yield store
    store.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def uploads(aws: SandboxBox) -> list[Any]:
    found: list[Any] = aws.client("s3").list_multipart_uploads(**B).get("Uploads", [])
    return found


def parts(aws: SandboxBox, upload: Any) -> dict[int, float]:
    found = aws.client("s3").list_parts(**B, Key=upload["Key"], UploadId=upload["UploadId"])
    return {part["PartNumber"]: part["LastModified"].timestamp() for part in found.get("Parts", [])}


def cut_off(s3: Store, aws: SandboxBox, key: str, source: Path, notes: Path, *, parts_sent: int = 3) -> None:
    """An upload that S3 leaves after some parts, for good."""
    blow(aws, "unavailable", service="s3", action="UploadPart", skip=parts_sent)
    with pytest.raises(RunctlError) as caught:
        s3.put(key, source, notes=notes, cancel=CancelToken())
    assert caught.value.transient
    blow(aws, "clear")


def test_an_upload_that_was_cut_off_goes_on(
    s3: Store, aws: SandboxBox, heard: Heard, source: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    cut_off(s3, aws, "cut", source, notes)
    (upload,) = uploads(aws)
    there = parts(aws, upload)
    assert len(there) == 3
    before = heard.attempts.count("s3:PutObject")
    told: list[int] = []
    s3.put("cut", source, notes=notes, on_bytes=told.append, cancel=CancelToken())
    assert heard.attempts.count("s3:PutObject") - before == 3 + 2  # three parts, the list, the end
    assert sum(told) == len(DATA)
    assert s3.get("cut", cancel=CancelToken()) == DATA
    assert (uploads(aws), notes.exists()) == ([], False)


def test_a_file_that_is_another_one_now_begins_anew(
    s3: Store, aws: SandboxBox, source: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    cut_off(s3, aws, "changed", source, notes)
    source.write_bytes(DATA[::-1])
    s3.put("changed", source, notes=notes, cancel=CancelToken())
    assert s3.get("changed", cancel=CancelToken()) == DATA[::-1]
    assert uploads(aws) == []  # the first one, too


def test_an_upload_that_is_gone_begins_anew(s3: Store, aws: SandboxBox, source: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    cut_off(s3, aws, "gone", source, notes)
    (upload,) = uploads(aws)
    aws.client("s3").abort_multipart_upload(**B, Key="gone", UploadId=upload["UploadId"])
    s3.put("gone", source, notes=notes, cancel=CancelToken())
    assert s3.get("gone", cancel=CancelToken()) == DATA


@pytest.mark.parametrize("noted", ["", "half a line", "a\nb\nc\nd\n", "\0" * 100])
def test_notes_that_say_nothing_are_passed_over(
    s3: Store, aws: SandboxBox, source: Path, tmp_path: Path, noted: str
) -> None:
    notes = tmp_path / "notes"
    notes.write_text(noted)
    s3.put("plain", source, notes=notes, cancel=CancelToken())
    assert s3.get("plain", cancel=CancelToken()) == DATA
    assert uploads(aws) == []


def test_whoever_cancels_leaves_no_upload(s3: Store, aws: SandboxBox, source: Path, tmp_path: Path) -> None:
    notes, cancel = tmp_path / "notes", CancelToken()
    with pytest.raises(Cancelled):
        s3.put("stopped", source, notes=notes, on_bytes=lambda _: cancel.cancel(), cancel=cancel)
    until(lambda: uploads(aws) == [])
    until(lambda: not notes.exists())


def test_two_at_once_with_the_same_notes_do_not_share_an_upload(
    s3: Store, aws: SandboxBox, source: Path, tmp_path: Path
) -> None:
    notes, one = tmp_path / "notes", threading.Lock()

    def during(_count: int) -> None:
        if one.acquire(blocking=False):
            assert s3.put("both", source, notes=notes, cancel=CancelToken())

    s3.put("both", source, notes=notes, on_bytes=during, cancel=CancelToken())
    assert one.locked()
    assert s3.get("both", cancel=CancelToken()) == DATA
    assert uploads(aws) == []


WORKER = """
import os, sys
from pathlib import Path
from runctl.core.cancel import CancelToken
from runctl.registry import store
from runctl.testing.surroundings import surroundings
path, done = Path(sys.argv[2]), 0
def told(count):
    global done
    done += count
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), 9)
there = store("s3://large", surroundings())
if sys.argv[1] == "put":
    there.put("killed", path, notes=path.parent / "notes", on_bytes=told, cancel=CancelToken())
else:
    there.fetch("killed", path, resume=True, on_bytes=told, cancel=CancelToken())
"""


def killed(way: str, path: Path) -> None:
    """One that is killed when it has half of it."""
    done = subprocess.run([sys.executable, "-c", WORKER, way, str(path), str(len(DATA) // 2)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_after_a_kill_at_half_the_rest_is_sent(
    s3: Store, aws: SandboxBox, source: Path, tmp_path: Path
) -> None:
    killed("put", source)
    (upload,) = uploads(aws)
    there = parts(aws, upload)
    assert len(there) >= 3
    seen: list[dict[int, float]] = []
    s3.put(
        "killed", source, notes=tmp_path / "notes", cancel=CancelToken(),
        on_bytes=lambda _: seen.append(parts(aws, upload)),
    )  # fmt: skip
    assert all(seen[0][number] == stamp for number, stamp in there.items())  # not one of them sent again
    assert s3.get("killed", cancel=CancelToken()) == DATA
    assert uploads(aws) == []


def test_after_a_kill_at_half_the_rest_is_fetched(s3: Store, source: Path, tmp_path: Path) -> None:
    s3.put("killed", source, cancel=CancelToken())
    (tmp_path / "there").mkdir()
    copy = tmp_path / "there" / "copy"
    killed("fetch", copy)
    assert not copy.exists()
    told: list[int] = []
    s3.fetch("killed", copy, resume=True, on_bytes=told.append, cancel=CancelToken())
    assert copy.read_bytes() == DATA
    assert sum(told) <= 0.8 * len(DATA)  # but for the block that each of three readers was in
    assert os.listdir(copy.parent) == ["copy"]


def test_an_object_that_is_another_one_now_is_fetched_anew(s3: Store, source: Path, tmp_path: Path) -> None:
    s3.put("killed", source, cancel=CancelToken())
    (tmp_path / "there").mkdir()
    copy = tmp_path / "there" / "copy"
    killed("fetch", copy)
    source.write_bytes(DATA[::-1])
    s3.put("killed", source, cancel=CancelToken())
    s3.fetch("killed", copy, resume=True, cancel=CancelToken())
    assert copy.read_bytes() == DATA[::-1]
    assert os.listdir(copy.parent) == ["copy"]


def test_a_fetch_beside_another_one_of_the_same_target_mixes_nothing(
    s3: Store, source: Path, tmp_path: Path
) -> None:
    s3.put("killed", source, cancel=CancelToken())
    (tmp_path / "there").mkdir()
    copy, one = tmp_path / "there" / "copy", threading.Lock()

    def during(_count: int) -> None:
        if one.acquire(blocking=False):
            s3.fetch("killed", copy, resume=True, cancel=CancelToken())

    s3.fetch("killed", copy, resume=True, on_bytes=during, cancel=CancelToken())
    assert one.locked()
    assert copy.read_bytes() == DATA
    assert os.listdir(copy.parent) == ["copy"]
