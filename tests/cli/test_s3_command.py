"""``runctl s3`` as it is typed, on a bucket of the sandbox."""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import World
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox

BUCKETS = (f"data-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("cloud"), "--plain") as box:
        yield box


@pytest.fixture
def user(cloud: SandboxBox, world: World) -> World:
    world.env |= cloud.values
    return world


@pytest.fixture
def bucket(cloud: SandboxBox) -> str:
    name = next(BUCKETS)
    cloud.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def data(user: World) -> Path:
    folder = user.root / "data"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "b.pt").write_bytes(b"weights")
    (folder / "sub" / "c.txt").write_text("c" * 1000)
    (folder / "sub" / "deep" / "odd \n'ü'.txt").write_text("odd")
    (folder / "large.bin").write_bytes(hashlib.shake_128(b"x").digest(20_000_000))
    return folder


def keys(cloud: SandboxBox, bucket: str) -> list[str]:
    found = cloud.client("s3").list_objects_v2(Bucket=bucket.removeprefix("s3://"))
    return [each["Key"] for each in found.get("Contents", [])]


def test_a_folder_goes_up_and_comes_down(user: World, data: Path, bucket: str) -> None:
    up = user.runctl("s3", "upload", "data", f"{bucket}/there", "--json")
    assert up.code == 0, up.err
    said = up.json()
    assert (said["copied"], said["bytes"], said["same"], said["left_out"]) == (5, 20_001_011, 0, [])
    again = user.runctl("s3", "upload", "data/", f"{bucket}/there/")
    assert again.out.startswith(f"copied    0 files, 0 B, to {bucket}/there/\nsame      5 files\n"), again.out
    down = user.runctl("s3", "download", f"{bucket}/there", "back", "--json").json()
    assert down["copied"] == 5
    assert tree(user.root / "back") == tree(data)
    assert (user.root / "back" / "large.bin").stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o22))
    assert user.runctl("s3", "download", f"{bucket}/there", "back", "--json").json()["same"] == 5
    forced = user.runctl("s3", "download", f"{bucket}/there", "back", "--force", "--json").json()
    assert forced["copied"] == 5


def test_one_file_gets_the_name_one_would_expect(
    user: World, data: Path, bucket: str, cloud: SandboxBox
) -> None:
    for target in ("", "/", "/folder/", "/folder/named"):
        assert user.runctl("s3", "upload", "data/a.txt", f"{bucket}{target}").code == 0
    assert keys(cloud, bucket) == ["a.txt", "folder/a.txt", "folder/named"]
    user.runctl("s3", "download", f"{bucket}/folder/named", ".")
    user.runctl("s3", "download", f"{bucket}/folder/named", "new")
    user.runctl("s3", "download", f"{bucket}/folder/named", "some/where/")
    assert [(user.root / path).read_text() for path in ("named", "new", "some/where/named")] == ["a"] * 3
    (user.root / "new").write_text("b")  # the same size, another content
    assert user.runctl("s3", "download", f"{bucket}/folder/named", "new", "--json").json()["copied"] == 1
    assert (user.root / "new").read_text() == "a"


def test_patterns_choose(user: World, data: Path, bucket: str, cloud: SandboxBox) -> None:
    words = ("--include", "*.txt", "--exclude", "deep/", "--include", "*.pt")
    done = user.runctl("s3", "upload", "data", bucket, *words)
    assert done.code == 0, done.err
    assert keys(cloud, bucket) == ["a.txt", "b.pt", "sub/c.txt"]
    refused = user.runctl("s3", "upload", "data", bucket, "--exclude", "[x")
    assert (refused.code, "error[objects-pattern]" in refused.err) == (2, True)


def test_sync_deletes_only_when_told_and_asked(
    user: World, data: Path, bucket: str, cloud: SandboxBox
) -> None:
    s3 = cloud.client("s3")
    for key in ("old.txt", "old/deeper.txt", "kept.log"):
        s3.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=b"old")
    assert user.runctl("s3", "sync", "data", bucket).code == 0
    assert "old.txt" in keys(cloud, bucket)
    words = ("s3", "sync", "data", bucket, "--delete", "--exclude", "*.log")
    would = user.runctl(*words, "--dry-run")
    assert "- delete old.txt  3 B\n- delete old/deeper.txt  3 B\n" in would.out
    assert "kept.log" not in would.out
    asked = user.runctl(*words)
    assert (asked.code, "error[confirmation-needed]" in asked.err) == (2, True)
    assert "old.txt" in keys(cloud, bucket)
    done = user.runctl(*words, "--yes", "--json").json()
    assert (done["copied"], done["deleted"]) == (0, 2)
    assert sorted(keys(cloud, bucket)) == sorted([*tree(data), "kept.log"])

    back = user.root / "back"
    back.mkdir()
    (back / "extra").write_text("goes")
    (back / "empty-later").mkdir()
    (back / "empty-later" / "x").write_text("goes")
    done = user.runctl("s3", "sync", bucket, "back", "--delete", "--yes", "--json").json()
    assert (done["copied"], done["deleted"]) == (6, 2)
    assert tree(back) == tree(data) | {"kept.log": b"old"}
    assert not (back / "empty-later").exists()


def test_sync_deletes_nothing_behind_a_link(user: World, data: Path, bucket: str) -> None:
    photos, back = user.root / "photos", user.root / "back"
    photos.mkdir()
    (photos / "mine.jpg").write_text("precious")
    user.runctl("s3", "upload", "data", bucket)
    user.runctl("s3", "download", bucket, "back")
    (back / "link").symlink_to(photos)
    (back / "inner").symlink_to("sub")
    done = user.runctl("s3", "sync", bucket, "back", "--delete", "--yes", "--json").json()
    assert done["deleted"] == 0
    assert (photos / "mine.jpg").read_text() == "precious"
    assert tree(back) == tree(data)


def test_a_dry_run_changes_nothing(user: World, data: Path, bucket: str, cloud: SandboxBox) -> None:
    before = sorted(str(path) for path in user.root.rglob("*"))
    would = user.runctl("s3", "upload", "data", bucket, "--dry-run")
    assert would.code == 0
    assert f"> copy 5 files, 20.0 MB, to {bucket}\n>   a.txt  1 B\n" in would.out
    assert ">   sub/deep/odd  'ü'.txt  3 B" in would.out
    assert keys(cloud, bucket) == []
    assert sorted(str(path) for path in user.root.rglob("*")) == before


def test_a_bucket_goes_to_another_one(user: World, data: Path, bucket: str, cloud: SandboxBox) -> None:
    other = next(BUCKETS)
    cloud.client("s3").create_bucket(Bucket=other)
    user.runctl("s3", "upload", "data", f"{bucket}/x")
    first = user.runctl("s3", "sync", f"{bucket}/x", f"s3://{other}/y", "--json")
    assert first.json()["copied"] == 5, first.err
    assert user.runctl("s3", "sync", f"{bucket}/x", f"s3://{other}/y", "--json").json()["same"] == 5
    folder = (user.root / "store").as_uri()
    assert user.runctl("s3", "sync", f"s3://{other}/y", folder, "--json").json()["copied"] == 5
    assert tree(user.root / "store") == tree(data)


def test_names_that_lead_out_are_refused_and_the_others_come(
    user: World, bucket: str, cloud: SandboxBox
) -> None:
    s3, name = cloud.client("s3"), bucket.removeprefix("s3://")
    for key in ("p/good", "p/../../evil", "p//abs", "p/good/below"):
        s3.put_object(Bucket=name, Key=key, Body=b"x")
    done = user.runctl("s3", "download", f"{bucket}/p", "in/here")
    assert done.code == 1
    assert "left out  ../../evil: its key leads out of the folder" in done.out
    assert tree(user.root / "in") == {"here/good": b"x"}
    assert not (user.root / "evil").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("upload", "nothing", "BUCKET"), "objects-none"),
        (("download", "BUCKET/nothing", "."), "objects-none"),
        (("sync", "BUCKET/nothing", "."), "objects-none"),
        (("upload", "BUCKET", "."), "objects-ends"),
        (("upload", ".", "elsewhere"), "objects-ends"),
        (("sync", ".", "elsewhere"), "objects-ends"),
        (("download", ".", "BUCKET"), "objects-ends"),
        (("list", "s3://"), "store-url"),
        (("list", "s3://never-made-bucket"), "aws-bucket-missing"),
    ],
)
def test_what_cannot_be_is_said(user: World, bucket: str, words: tuple[str, ...], code: str) -> None:
    done = user.runctl("s3", *(word.replace("BUCKET", bucket) for word in words))
    assert done.code != 0
    assert f"error[{code}]" in done.err, done.err


def test_listings_and_sums(user: World, bucket: str, cloud: SandboxBox) -> None:
    s3, name = cloud.client("s3"), bucket.removeprefix("s3://")
    for key, size in (("a", 10), ("b/1", 1000), ("b/2/x", 2000), ("b-c", 5), ("bb/1", 1)):
        s3.put_object(Bucket=name, Key=key, Body=b"x" * size)

    def listed(*words: str) -> list[str]:
        return user.runctl("s3", "list", *words, "-q").out.split()

    assert listed(bucket) == listed(f"{bucket}/") == ["a", "b-c", "b/", "bb/"]
    assert listed(f"{bucket}/b/") == ["1", "2/"]
    assert listed(f"{bucket}/b") == ["b-c", "b/", "bb/"]
    assert listed(bucket, "-r") == ["a", "b-c", "b/1", "b/2/x", "bb/1"]
    rows = user.runctl("s3", "list", bucket, "--json").json()
    assert rows[0]["name"] == "a"
    assert rows[0]["bytes"] == 10
    assert rows[2] == {"folder": "b/"}
    assert "nothing begins with" in user.runctl("s3", "list", f"{bucket}/zzz").err
    sums = user.runctl("s3", "du", bucket)
    assert [line.split() for line in sums.out.splitlines()] == [
        ["3.0", "kB", "2", "objects", "b/"],
        ["10", "B", "1", "object", "a"],
        ["5", "B", "1", "object", "b-c"],
        ["1", "B", "1", "object", "bb/"],
        ["3.0", "kB", "5", "objects", "in", "all"],
    ]
    assert user.runctl("s3", "du", f"{bucket}/a", "--json").json()["bytes"] == 10


def checkpoint(folder: Path, name: str, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / name, weights=np.zeros(10), step=np.array(step))


def test_cleanup_takes_old_checkpoints_and_nothing_else(user: World, bucket: str, cloud: SandboxBox) -> None:
    work = user.root / "work"
    for step in (1, 2, 3, 4):
        checkpoint(work / "exp", f"step-{step}.npz", step)
    checkpoint(work / "exp", "best.npz", 0)
    checkpoint(work / "exp", "step-0-final.npz", 0)
    checkpoint(work / "other", "step-1.npz", 1)
    (work / "exp" / "latest").write_text("checkpoints/step-2.npz\n")
    (work / "exp" / "step-9.npz").write_bytes(b"half a file")
    (work / "exp" / "notes.txt").write_text("not a checkpoint")
    checkpoint(work / "runs" / "r1" / "1", "step-1.npz", 1)
    checkpoint(work / "runs" / "r1" / "1", "step-2.npz", 2)
    assert user.runctl("s3", "upload", "work", bucket).code == 0
    before = keys(cloud, bucket)
    would = user.runctl("s3", "cleanup", bucket, "--dry-run")
    assert would.code == 0, would.err
    lines = {line.split()[1]: line for line in would.out.splitlines()}
    assert {name for name, line in lines.items() if line[0] == "-"} == {"exp/step-1.npz", "exp/step-3.npz"}
    assert "among the newest" in lines["exp/step-4.npz"]
    assert "called best" in lines["exp/best.npz"]
    assert "called last" in lines["exp/step-0-final.npz"]
    assert "named by exp/latest" in lines["exp/step-2.npz"]
    assert not any("runs/" in name for name in lines)
    assert keys(cloud, bucket) == before
    young = user.runctl("s3", "cleanup", bucket, "--older-than", "1h", "--yes", "--json").json()
    assert young.get("deleted") == [], str(young)
    kept = user.runctl("s3", "cleanup", bucket, "--keep", "2", "--dry-run", "--json").json()
    assert [each["path"] for each in kept["deleted"]] == ["exp/step-1.npz"]
    refused = user.runctl("s3", "cleanup", bucket)
    assert (refused.code, "error[confirmation-needed]" in refused.err) == (2, True)
    done = user.runctl("s3", "cleanup", bucket, "--yes")
    assert "deleted 2 checkpoints" in done.err, done.err
    assert set(before) - set(keys(cloud, bucket)) == {"exp/step-1.npz", "exp/step-3.npz"}


def test_cleanup_never_takes_data_for_checkpoints(user: World, bucket: str, cloud: SandboxBox) -> None:
    """Shards of a data set have the format of checkpoints, and numbers in their names."""
    work = user.root / "work"
    work.mkdir()
    for number in range(4):
        np.savez(work / f"shard-{number:05}.npz", images=np.zeros(3))
        (work / f"features_{number}.pkl").write_bytes(pickle.dumps([number]))
        (work / f"part.{number}.npz").write_bytes((work / f"shard-{number:05}.npz").read_bytes())
    assert user.runctl("s3", "upload", "work", f"{bucket}/data").code == 0
    found = user.runctl("s3", "cleanup", f"{bucket}/data", "--yes", "--json").json()
    assert found["deleted"] == []
    assert {each["why"] for each in found["kept"]} == {"says no step or epoch: it may be data"}
    assert len(keys(cloud, bucket)) == 12
    checkpoint(work, "step-1.npz", 1)  # older than the data beside it, and yet the newest checkpoint
    user.runctl("s3", "upload", "work/step-1.npz", f"{bucket}/data/")
    found = user.runctl("s3", "cleanup", f"{bucket}/data", "--yes", "--json").json()
    assert found["deleted"] == []
