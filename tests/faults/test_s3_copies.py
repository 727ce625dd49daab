"""Copies to and from a bucket on their bad days: killed, interrupted, a full disk, a store that stumbles."""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import World
from tests.unit.aws.aws_world import blow
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox, until

PART = 8 << 20
LARGE = hashlib.shake_128(b"large").digest(8 * PART)
BUCKETS = (f"bad-days-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("cloud"), "--plain") as box:
        yield box


@pytest.fixture
def user(cloud: SandboxBox, world: World) -> Iterator[World]:
    world.env |= cloud.values
    data = world.root / "data"
    (data / "small").mkdir(parents=True)
    (data / "large").write_bytes(LARGE)
    for number in range(40):
        (data / "small" / str(number)).write_text(f"content {number}\n")
    yield world
    blow(cloud, "clear")


@pytest.fixture
def bucket(cloud: SandboxBox) -> str:
    name = next(BUCKETS)
    cloud.client("s3").create_bucket(Bucket=name)
    return name


def uploads(cloud: SandboxBox, bucket: str) -> list[Any]:
    found: list[Any] = cloud.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return found


def keys(cloud: SandboxBox, bucket: str) -> list[str]:
    return [each["Key"] for each in cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def started(user: World, *words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        user.argv("s3", *words), cwd=user.root, env=user.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip


def parts_of(cloud: SandboxBox, bucket: str) -> int:
    """How many parts of its upload S3 has."""
    found = uploads(cloud, bucket)
    if not found:
        return 0
    asked = {"Bucket": bucket, "Key": found[0]["Key"], "UploadId": found[0]["UploadId"]}
    return len(cloud.client("s3").list_parts(**asked).get("Parts", []))


def downloads(folder: Path) -> int:
    """How many blocks of a half download are noted."""
    try:
        return len((folder / "large.part.done").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0


def test_after_a_kill_the_same_command_sends_the_rest(user: World, cloud: SandboxBox, bucket: str) -> None:
    blow(cloud, "slow", service="s3", delay=60, action="UploadPart", skip=5)
    client = started(user, "upload", "data", f"s3://{bucket}")
    until(lambda: parts_of(cloud, bucket) == 5)
    until(lambda: len(keys(cloud, bucket)) == 40)
    client.kill()
    client.communicate()
    assert "large" not in keys(cloud, bucket)
    blow(cloud, "clear")
    begun = len(cloud.log())
    done = user.runctl("s3", "upload", "data", f"s3://{bucket}", "--json")
    assert done.code == 0, done.err
    assert (done.json()["copied"], done.json()["same"]) == (1, 40)
    assert uploads(cloud, bucket) == []
    assert cloud.client("s3").get_object(Bucket=bucket, Key="large")["Body"].read() == LARGE
    assert not list((user.home / ".local/state/runctl/uploads").iterdir()), cloud.log()[begun:]


def test_an_upload_that_nobody_goes_on_with_is_told_and_given_up(
    user: World, cloud: SandboxBox, bucket: str
) -> None:
    blow(cloud, "slow", service="s3", delay=60, action="UploadPart", skip=2)
    client = started(user, "upload", "data", f"s3://{bucket}/x")
    until(lambda: parts_of(cloud, bucket) == 2)
    told = user.runctl("resources")
    assert "cut off" not in told.err  # it goes on
    client.kill()
    client.communicate()
    blow(cloud, "clear")
    told = user.runctl("resources")
    assert f"an upload was cut off: s3://{bucket}/x/large; its parts are billed" in told.err
    assert f"runctl s3 cleanup s3://{bucket}/x/large\n" in told.err
    for place in ("y", "x/lar"):  # the name of a neighbour may begin like it
        elsewhere = user.runctl("s3", "cleanup", f"s3://{bucket}/{place}", "--yes")
        assert elsewhere.code == 0, elsewhere.err
        assert len(uploads(cloud, bucket)) == 1
    would = user.runctl("s3", "cleanup", f"s3://{bucket}/x/large", "--dry-run")
    assert f"- s3://{bucket}/x/large  an upload that was cut off" in would.out
    assert len(uploads(cloud, bucket)) == 1
    done = user.runctl("s3", "cleanup", f"s3://{bucket}", "--yes", "--json").json()
    assert done["uploads"] == [f"s3://{bucket}/x/large"]
    assert uploads(cloud, bucket) == []
    assert "cut off" not in user.runctl("resources").err
    again = user.runctl("s3", "upload", "data", f"s3://{bucket}/x", "--json")
    assert again.json()["copied"] == 1


def test_after_a_kill_the_same_command_fetches_the_rest(user: World, cloud: SandboxBox, bucket: str) -> None:
    assert user.runctl("s3", "upload", "data", f"s3://{bucket}").code == 0
    blow(cloud, "slow", service="s3", rate=6_000_000, action="GetObject")
    client = started(user, "download", f"s3://{bucket}", "back")
    until(lambda: downloads(user.root / "back") >= 2)
    client.kill()
    client.communicate()
    assert not (user.root / "back" / "large").exists()
    blow(cloud, "clear")
    done = user.runctl("s3", "download", f"s3://{bucket}", "back", "--json")
    assert done.code == 0, done.err
    assert done.json()["copied"] + done.json()["same"] == 41
    assert (user.root / "back" / "large").read_bytes() == LARGE
    assert sorted(os.listdir(user.root / "back")) == ["large", "small"]


@pytest.mark.parametrize("way", ["upload", "download"])
def test_ctrl_c_leaves_nothing_half(user: World, cloud: SandboxBox, bucket: str, way: str) -> None:
    where = f"s3://{bucket}"
    if way == "upload":
        blow(cloud, "slow", service="s3", delay=60, action="UploadPart", skip=2)
        client = started(user, "upload", "data", where)
        until(lambda: parts_of(cloud, bucket) == 2)
    else:
        user.runctl("s3", "upload", "data", where)
        blow(cloud, "slow", service="s3", rate=6_000_000, action="GetObject")
        client = started(user, "download", where, "back")
        until(lambda: downloads(user.root / "back") >= 1)
    begun = time.monotonic()
    client.send_signal(signal.SIGINT)
    _, said = client.communicate(timeout=20)
    assert time.monotonic() - begun < 4
    assert client.returncode == 130, said
    blow(cloud, "clear")
    assert uploads(cloud, bucket) == []
    assert not (user.root / "back" / "large").exists()
    again = user.runctl("s3", way, *(("data", where) if way == "upload" else (where, "back")))
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("unavailable", {"times": 3}),
        ("throttle", {"times": 3}),
        ("cut", {"times": 4, "after_bytes": 100_000}),
    ],
)
def test_a_storm_passes(user: World, cloud: SandboxBox, bucket: str, kind: str, rule: dict[str, Any]) -> None:
    blow(cloud, kind, service="s3", **rule)
    assert user.runctl("s3", "upload", "data", f"s3://{bucket}").code == 0
    blow(cloud, kind, service="s3", **rule)
    assert user.runctl("s3", "download", f"s3://{bucket}", "back").code == 0
    assert (user.root / "back" / "large").read_bytes() == LARGE
    assert len(list((user.root / "back" / "small").iterdir())) == 40


def test_a_disk_that_is_full_is_said_and_what_arrived_stays(
    user: World, cloud: SandboxBox, bucket: str
) -> None:
    assert user.runctl("s3", "upload", "data", f"s3://{bucket}").code == 0

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (PART, PART))

    client = started(user, "download", f"s3://{bucket}", "back", preexec_fn=small)
    _, said = client.communicate(timeout=30)
    assert client.returncode != 0
    assert "error[objects-disk]: cannot go on at large" in said
    assert "df -h" in said
    again = user.runctl("s3", "download", f"s3://{bucket}", "back")
    assert again.code == 0, again.err
    assert (user.root / "back" / "large").read_bytes() == LARGE


def test_denied_is_said_once_with_what_to_do(user: World, cloud: SandboxBox, bucket: str) -> None:
    blow(cloud, "denied", service="s3", action="PutObject")
    done = user.runctl("s3", "upload", "data/small", f"s3://{bucket}")
    assert done.code != 0
    assert done.err.count("error[") == 1
    assert "error[aws-denied]" in done.err


def test_a_file_that_disappears_or_changes_does_not_stop_the_others(
    user: World, cloud: SandboxBox, bucket: str
) -> None:
    blow(cloud, "slow", service="s3", delay=2, action="CreateMultipartUpload", times=1)
    client = started(user, "upload", "data", f"s3://{bucket}")
    until(lambda: bool(keys(cloud, bucket)))
    with (user.root / "data" / "large").open("r+b") as file:
        file.write(b"changed")
    said, errors = client.communicate(timeout=30)
    assert client.returncode == 1, errors
    assert "left out  large: " in said
    assert len(keys(cloud, bucket)) == 40
    assert uploads(cloud, bucket) == []
