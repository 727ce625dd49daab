"""What can be wrong with a stored environment, or on the way: it is said, built instead, and never half there."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.lineproxy import Line
from tests.s3box import s3_in
from tests.unit.environment.env_machine import Machine, until
from tests.unit.environment.env_world import LINES, World, changed, same, world

from runctl.agent import env_parts
from runctl.agent.failure import AgentFailure
from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["world"]


def flipped(world: World, key: str) -> None:
    path = world.parts(key)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def missing(world: World, key: str) -> None:
    world.parts(key)[-1].unlink()


def cut_short(world: World, key: str) -> None:
    path = world.folder / "envs" / key / "manifest.json"
    path.write_bytes(path.read_bytes()[:-200])


def with_part(world: World, key: str, raw: bytes) -> None:
    """Replace everything by one part, consistently: what somebody could do who may write to the store."""
    data = zlib.compress(raw)
    digest = sha256(data).hexdigest()
    (world.folder / "envs" / key / digest).write_bytes(data)
    part = {"digest": digest, "size": len(data), "bytes": len(raw), "content": 1, "codec": "zlib"}
    changed(world, key, parts=[part])


def climbing(world: World, key: str) -> None:
    with_part(world, key, b'[["../../escaped", 420, 1, 1, 0, 1]]\nx')


def climbing_link(world: World, key: str) -> None:
    changed(world, key, links={**world.manifest(key)["links"], "../../escaped": "/etc"})


def broken_index(world: World, key: str) -> None:
    with_part(world, key, b"[[[[ \nx")


def longer_than_its_files(world: World, key: str) -> None:
    with_part(world, key, b'[["a", 420, 1, 1, 0, 1]]\nxyz')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (flipped, "a part of it is damaged"),
        (missing, "a part of it is missing"),
        (cut_short, "its manifest cannot be read"),
        (climbing, "leads out of"),
        (climbing_link, "leads out of"),
        (broken_index, "a part of it is damaged"),
        (longer_than_its_files, "2 bytes behind its last file"),
    ],
)
def test_a_damaged_archive_is_said_rebuilt_and_replaced(damage, says, world) -> None:
    first, key = world.built("first", *LINES)
    world.deposit(first, key)
    damage(world, key)
    second = world.machine("second")
    found = second.ensure(second.request(*LINES), store=world.access)
    assert says in second.notices()
    assert "building it" in second.notices()
    assert second.run(found, "import alpha, big, fast._heapq").returncode == 0
    assert second.complete() == [key]
    assert not list(world.root.rglob("escaped"))
    assert not list((second.home / "envs").glob("*.state.json"))

    assert world.deposit(second, key) is not None  # what was damaged is replaced by who built it anew
    third = world.machine("third")
    third.ensure(third.request(*LINES), store=world.access)
    assert "restored" in third.events("step.finished")[0]["summary"]
    assert world.deposit(second, key) is None  # and is not replaced again


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"checks": [["import", "alpha"], ["import", "not_there"]]}, "not_there fails: ModuleNotFoundError"),
        ({"checks": [["extension", "alpha.no_such"], ["import", "alpha"]]}, "alpha.no_such fails"),
        ({"bound": ["lib/libx.so"]}, "lib/libx.so holds the path"),
    ],
)
def test_what_does_not_work_here_is_built(more, says, world) -> None:
    first, key = world.built("first", "alpha")
    world.deposit(first, key)
    changed(world, key, **more)
    second = world.machine("second")
    found = second.ensure(second.request("alpha"), store=world.access)
    assert says in second.notices()
    assert second.run(found, "import alpha").returncode == 0
    assert world.deposit(second, key) is None  # it may work elsewhere: it stays as it is


def test_killed_half_way_nothing_of_it_is_used(world) -> None:
    first, key = world.built("first", *LINES)
    world.deposit(first, key)
    part = world.parts(key)[-1]
    content = part.read_bytes()
    part.unlink()
    os.mkfifo(part)  # whoever opens it waits: the download never ends
    second = world.machine("second")
    request = second.request(*LINES)
    process = second.start(request, store=world.access)
    until(lambda: second.events("step.progress"))
    until((second.home / "envs" / key).is_dir)
    process.kill()
    process.communicate()
    assert second.complete() == []
    (second.home / "envs" / key / "half-made").write_text("left by the first try")
    part.unlink()
    part.write_bytes(content)
    second.ensure(request, store=world.access)
    assert "restored" in second.events("step.finished")[-1]["summary"]
    same(first.home / "envs" / key, second.home / "envs" / key)


def test_cancelled_half_way_it_ends_at_once(world, monkeypatch) -> None:
    monkeypatch.setattr(env_parts, "PART", 1 << 18)
    first, key = world.built("first", "big")
    world.deposit(first, key)
    second = world.machine("second")
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 4

    with pytest.raises(AgentFailure) as caught:
        second.ensure(second.request("big"), store=world.access, cancelled=cancelled)
    assert caught.value.code == "cancelled"
    assert second.complete() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a small file system")
def test_a_full_disk_is_named(world) -> None:
    first, key = world.built("first", "big")
    world.deposit(first, key)
    second = world.machine("second")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not allow new mount name spaces")
    mount = f'mount -t tmpfs -o size=2m tmpfs {second.home} && exec "$@"'
    request = second.request("big")

    def said() -> dict[str, Any]:
        process = second.start(request, store=world.access, prefix=("unshare", "-m", "sh", "-c", mount, "sh"))
        answer: dict[str, Any] = json.loads(process.communicate(timeout=60)[0])
        assert second.events("step.failed")[-1]["code"] == "disk-full"
        return answer

    assert said()["code"] == "disk-full"
    assert not [event for event in second.events("step.progress") if event["done"]]  # nothing was fetched
    changed(world, key, bytes=1)  # and where that could not be foreseen
    assert said()["code"] == "disk-full"


@pytest.mark.parametrize(("away", "restored"), [(0.0, True), (600.0, False)])
def test_a_download_that_is_cut_goes_on_or_is_given_up_for_a_build(
    away, restored, world, monkeypatch
) -> None:
    monkeypatch.setattr(env_parts, "PART", 1 << 18)
    first, key = world.built("first", "big")
    world.deposit(first, key)
    with s3_in(world.root / "s3") as box:
        s3 = box.client()
        s3.create_bucket(Bucket=box.bucket)
        for path in (path for path in world.folder.rglob("*") if path.is_file()):
            s3.upload_file(str(path), box.bucket, "runctl/" + str(path.relative_to(world.folder)))
        line = Line(urlsplit(box.server.url).port or 0)
        for name, value in {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{line.port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }.items():
            monkeypatch.setenv(name, value)
        access = {"kind": "s3", "bucket": box.bucket, "prefix": "runctl", "region": "us-east-1"}
        second = world.machine("second")
        asked: list[int] = []

        def cancelled() -> bool:
            asked.append(1)
            if len(asked) == 3:  # early: a fast machine would be done before
                line.cut(away=away)
            return False

        found = second.ensure(second.request("big"), store=access, cancelled=cancelled)
        assert len(asked) > 3
        assert second.run(found, "import big").returncode == 0
        assert ("restored" in second.events("step.finished")[0]["summary"]) is restored
        assert ("cannot be taken from the store" in second.notices()) is not restored


def test_of_two_machines_that_store_at_once_one_is_first_and_it_can_be_restored(world) -> None:
    first, key = world.built("first", *LINES)
    second, other = world.built("second", *LINES)
    assert key == other
    meet = threading.Barrier(2, timeout=30)
    answers: list[Any] = []

    def push(machine: Machine) -> None:
        told: list[int] = []

        def wait(count: int) -> None:
            told.append(count)
            if len(told) == 1:
                meet.wait()  # both have found that the store lacks it, and write their parts

        answers.append(world.deposit(machine, key, told=wait))

    threads = [threading.Thread(target=push, args=(machine,)) for machine in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answer is None for answer in answers) == [False, True]
    third = world.machine("third")
    found = third.ensure(third.request(*LINES), store=world.access)
    assert "restored" in third.events("step.finished")[0]["summary"]
    assert third.run(found, "import alpha, big").returncode == 0


class KilledError(Exception):
    """Stands for the end of the process."""


def test_storing_that_was_killed_is_no_environment_and_its_parts_are_used_again(world, monkeypatch) -> None:
    monkeypatch.setattr(env_parts, "PART", 1 << 20)
    first, key = world.built("first", "big")
    there: Path = world.folder / "envs" / key

    def stopped() -> None:
        if there.exists() and len(list(there.iterdir())) >= 2:
            raise KilledError

    with pytest.raises(KilledError):
        world.deposit(first, key, stopped=stopped, workers=1)
    kept = {path: path.stat().st_mtime_ns for path in there.iterdir()}
    assert kept
    assert there / "manifest.json" not in kept
    second = world.machine("second")
    second.ensure(second.request("big"), store=world.access)
    assert "restored" not in second.events("step.finished")[0]["summary"]
    assert world.deposit(first, key) is not None
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
