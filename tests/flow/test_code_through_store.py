"""A project goes through a store to a machine: whole, little at a time, whoever is killed or sends at the same time."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, AgentError
from tests.s3box import S3Box, s3_in

from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.events import Event
from runctl.core.ports import Store
from runctl.engine import tree_object
from runctl.engine.code_store import Sent, missing_in_store, send_code
from runctl.engine.plan import CodePlan
from runctl.project.files import list_files
from runctl.project.root import Root
from runctl.project.snapshot import Snapshot, take
from runctl.registry import store as store_at
from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY
from runctl.testing.stores import content
from runctl.testing.surroundings import surroundings

MIB = 1 << 20


@dataclass
class Line:
    """A project, a store and a machine."""

    top: Path
    store: Store
    machine: AgentBox
    env: dict[str, str]
    events: list[Event] = field(default_factory=list)

    def write(self, path: str, data: bytes) -> None:
        target = self.top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def snapshot(self) -> Snapshot:
        root = Root(self.top, "", None)
        return take(root, list_files(root, env={"HOME": "/nonexistent"}))

    def send(self, snapshot: Snapshot | None = None) -> Sent:
        code = CodePlan(self.top, "", snapshot or self.snapshot(), (), ())
        return send_code(
            code,
            self.store,
            env=self.env,
            emit=self.events.append,
            clock=SystemClock(),
            cancel=CancelToken(),
        )

    def fetch(self, tree: str) -> dict[str, Any]:
        return self.machine.call("fetch", {"tree": tree, "store": dict(self.store.access())})

    def through(self) -> tuple[Sent, dict[str, Any]]:
        """Send, fetch, and compare every byte."""
        snapshot = self.snapshot()
        sent = self.send(snapshot)
        fetched = self.fetch(snapshot.digest)
        for entry in snapshot.entries:
            if entry["type"] == "file":
                blob = self.machine.home / "blobs" / entry["digest"][:2] / entry["digest"]
                assert blob.read_bytes() == (self.top / entry["path"]).read_bytes(), entry["path"]
        left = [path.name for path in (self.machine.home / "blobs" / "incoming").glob("*")]
        assert left == []
        return sent, fetched

    def keys(self, prefix: str = "") -> list[str]:
        return [stored.key for stored in self.store.list(prefix, cancel=CancelToken())]

    def missing(self) -> int:
        return len(missing_in_store(self.snapshot(), self.store, env=self.env, cancel=CancelToken()))


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Box]:
    with s3_in(tmp_path / "s3") as box:
        box.client().create_bucket(Bucket="bucket")
        yield box


@pytest.fixture(params=["file", "s3"])
def line(request: pytest.FixtureRequest, tmp_path: Path, box: AgentBox) -> Iterator[Line]:
    around = surroundings(aws__region="us-east-1")
    url = (tmp_path / "store").as_uri()
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3":
            found = {
                "AWS_ENDPOINT_URL": request.getfixturevalue("s3").server.url,
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            }
            for name, value in found.items():
                patch.setenv(name, value)
                box.env[name] = value
            url = "s3://bucket/team"
        (tmp_path / "project").mkdir()
        line = Line(tmp_path / "project", store_at(url, around), box, {"HOME": str(tmp_path)})
        yield line
        line.store.close()


@pytest.fixture
def typical(line: Line) -> Line:
    for number in range(60):
        line.write(f"pkg{number % 7}/module_{number}.py", b"# %d\n" % number * number * 40)
    line.write("empty.py", b"")
    line.write("twice.py", b"# 9\n" * 360)
    line.write("data/noise.bin", content(300_000))
    (line.top / "run.sh").write_text("#!/bin/sh\n")
    (line.top / "run.sh").chmod(0o755)
    (line.top / "link").symlink_to("run.sh")
    (line.top / "hollow").mkdir()
    return line


def test_a_project_travels_whole_and_then_only_what_changes(typical: Line) -> None:
    assert typical.missing() == 62
    sent, fetched = typical.through()
    assert (sent.files, fetched["files"]) == (62, 62)
    assert sent.sent < sent.content
    assert typical.missing() == 0
    again, nothing = typical.through()
    assert (again.objects, nothing["files"], nothing["read"]) == (0, 0, 0)
    typical.write("pkg1/module_1.py", b"changed\n")
    assert typical.missing() == 1
    little, one = typical.through()
    assert (little.objects, little.files, one["files"]) == (1, 1, 1)  # it rides in the tree object
    assert little.sent < 8_000


def test_a_machine_that_has_nothing_needs_no_earlier_tree(typical: Line, tmp_path: Path) -> None:
    for number in range(5):
        typical.write("pkg1/module_1.py", b"%d\n" % number * 5)
        typical.send()
    typical.machine.home = tmp_path / "other machine"
    typical.through()


def test_a_tree_object_is_what_it_says_to_any_machine(typical: Line) -> None:
    """The client's own reader agrees with the agent's."""
    snapshot = typical.snapshot()
    typical.send(snapshot)
    data = typical.store.get(f"trees/{snapshot.digest}", cancel=CancelToken())
    assert tree_object.decode(data).entries == snapshot.entries


def test_a_large_tree_is_told_by_what_differs(line: Line) -> None:
    for number in range(1500):
        line.write(f"d{number % 30}/f{number}.txt", b"%d" % number)
    whole, _ = line.through()
    line.write("d3/f33.txt", b"new content")
    (line.top / "d4" / "f34.txt").unlink()
    (line.top / "d5" / "f35.txt").rename(line.top / "moved.txt")
    delta, fetched = line.through()
    assert delta.objects == 1
    assert delta.sent < whole.sent / 50
    assert fetched["files"] == 1
    line.write("d6/f36.txt", b"one more")
    second, _ = line.through()  # against the same base: it tells both changes
    assert second.objects == 1
    assert len(line.keys("trees/")) == 3
    line.machine.home = line.top.parent / "fresh"
    line.through()


def test_what_is_appended_to_a_large_file_travels_alone(line: Line) -> None:
    data = content(30 * MIB + 12345)
    line.write("big.bin", data)
    first, _ = line.through()
    assert first.sent >= len(data)
    line.write("big.bin", data + content(300_000, 5))
    more, fetched = line.through()
    assert more.sent < 300_000 + MIB + 20_000  # what was appended, and the piece it was appended to
    assert fetched["read"] < 300_000 + MIB + 20_000
    changed = bytearray(data)
    changed[7 * MIB] ^= 1
    line.write("big.bin", bytes(changed))
    line.write("copy.bin", data + content(300_000, 5))
    third, _ = line.through()
    assert third.sent < MIB + 20_000


def test_packs_are_small_enough_that_little_is_lost_with_one(line: Line) -> None:
    for number in range(40):
        line.write(f"part{number}.bin", content(700_000, number))
    line.through()
    sizes = [stored.size for stored in line.store.list("packs/", cancel=CancelToken())]
    assert len(sizes) > 20
    assert max(sizes) < 2 * MIB


SENDER = """
import json, sys
from pathlib import Path
from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.events import StepProgress
from runctl.engine.code_store import send_code
from runctl.engine.plan import CodePlan
from runctl.project.files import list_files
from runctl.project.root import Root
from runctl.project.snapshot import take
from runctl.registry import store
from runctl.testing.surroundings import surroundings
top, url, home = sys.argv[1:]
def say(event):
    if isinstance(event, StepProgress) and event.total:
        print(event.done, flush=True)
root = Root(Path(top), "", None)
code = CodePlan(root.path, "", take(root, list_files(root, env={"HOME": "/nonexistent"})), (), ())
sent = send_code(code, store(url, surroundings(aws__region="us-east-1")), env={"HOME": home}, emit=say,
    clock=SystemClock(), cancel=CancelToken())
print(json.dumps([sent.content, sent.sent]), flush=True)
"""


def sender(line: Line) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", SENDER, str(line.top), line.store.url, line.env["HOME"]]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_a_client_killed_half_way_has_half_of_it_behind_it(line: Line) -> None:
    for number in range(60):
        line.write(f"part{number:02}.bin", content(900_000, number))
    total = 60 * 900_000
    first = sender(line)
    assert first.stdout is not None
    while int(first.stdout.readline()) < total / 2:
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert line.keys("trees/") == []  # nothing claims to be complete
    second = sender(line)
    out, _ = second.communicate(timeout=60)
    _content, sent = json.loads(out.splitlines()[-1])
    assert sent < total * 0.55
    line.through()


def test_two_clients_at_once_disturb_nothing(line: Line) -> None:
    for number in range(20):
        line.write(f"part{number:02}.bin", content(500_000, number))
    both = [sender(line), sender(line)]
    for each in both:
        each.communicate(timeout=60)
        assert each.returncode == 0
    assert line.send().was_there
    line.through()


def test_what_vanished_from_the_store_is_sent_again(typical: Line, tmp_path: Path) -> None:
    typical.through()
    typical.store.delete(typical.keys(), CancelToken())
    assert typical.missing() == 62
    typical.machine.home = tmp_path / "other machine"
    sent, _ = typical.through()
    assert sent.files == 62


def test_a_memory_that_is_damaged_is_no_memory(typical: Line) -> None:
    typical.send()
    typical.write("pkg1/module_1.py", b"changed\n")
    for file in (Path(typical.env["HOME"]) / ".cache").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\xff" + file.read_bytes()[1:])
    sent, _ = typical.through()
    assert sent.files == 62


def test_a_file_that_changes_after_the_plan_is_never_sent_torn(typical: Line) -> None:
    snapshot = typical.snapshot()
    typical.write("data/noise.bin", content(300_000, 2))
    with pytest.raises(Exception, match="changed") as caught:
        typical.send(snapshot)
    assert getattr(caught.value, "code", "") == "file-changed"
    assert typical.keys("trees/") == []


def damaged(line: Line, key: str) -> None:
    data = bytearray(line.store.get(key, cancel=CancelToken()))
    data[len(data) // 2] ^= 1
    line.store.put(key, bytes(data), cancel=CancelToken())


def test_a_rotten_pack_is_refused_and_what_was_good_stays(line: Line) -> None:
    for number in range(8):
        line.write(f"part{number}.bin", content(900_000, number))
    snapshot = line.snapshot()
    line.send(snapshot)
    packs = line.keys("packs/")
    good = line.store.get(packs[0], cancel=CancelToken())
    damaged(line, packs[0])
    with pytest.raises(AgentError) as caught:
        line.fetch(snapshot.digest)
    assert caught.value.code == "blob-corrupt"
    line.store.put(packs[0], good, cancel=CancelToken())
    line.fetch(snapshot.digest)
    line.through()


def test_a_rotten_tree_is_refused(typical: Line) -> None:
    snapshot = typical.snapshot()
    typical.send(snapshot)
    damaged(typical, f"trees/{snapshot.digest}")
    with pytest.raises(AgentError) as caught:
        typical.fetch(snapshot.digest)
    assert caught.value.code in ("tree-object", "tree-digest", "blob-corrupt")


def test_a_tree_that_is_not_there_is_said(line: Line) -> None:
    with pytest.raises(AgentError) as caught:
        line.fetch("0" * 64)
    assert caught.value.code == "store-missing"


def test_a_machine_killed_within_a_large_file_goes_on_there(line: Line) -> None:
    data = content(60 * MIB)
    line.write("big.bin", data)
    snapshot = line.snapshot()
    line.send(snapshot)
    machine = line.machine
    request = {"tree": snapshot.digest, "store": dict(line.store.access())}
    process = subprocess.Popen(
        machine.argv("fetch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=machine.env
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(machine.stdin(request))
    process.stdin.close()
    part = machine.home / "blobs" / "incoming" / f"whole.{hashlib.sha256(data).hexdigest()}"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_blocks * 512 > 15 * MIB) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    process.stdout.close()
    assert part.exists(), "it was faster than the test"
    fetched = line.fetch(snapshot.digest)
    assert fetched["read"] < len(data) - 8 * MIB
    line.through()


def test_odd_names_travel_as_they_are(line: Line) -> None:
    names = [b"with space", b"new\nline", b"quo'te\"", b"latin-\xe9", b"-dash", "ünï".encode()]
    for number, name in enumerate(names):
        place = os.path.join(os.fsencode(line.top), name)
        with open(place, "wb") as file:
            file.write(b"%d" % number)
    snapshot = line.snapshot()
    line.send(snapshot)
    line.fetch(snapshot.digest)
    kept = (line.machine.home / "trees" / snapshot.digest).read_bytes().partition(b"\n")[2]
    assert tree_object.decode(kept).entries == snapshot.entries
    assert len(snapshot.entries) == len(names)


def test_two_commands_that_want_the_same_large_file_bring_it_once(line: Line) -> None:
    line.write("big.bin", content(40 * MIB))
    snapshot = line.snapshot()
    line.send(snapshot)
    machine = line.machine
    request = {"tree": snapshot.digest, "store": dict(line.store.access())}
    both = [
        subprocess.Popen(
            machine.argv("fetch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=machine.env
        )
        for _ in range(2)
    ]
    for each in both:
        assert each.stdin is not None
        each.stdin.write(machine.stdin(request))
        each.stdin.close()
    answers = []
    for each in both:
        assert each.stdout is not None
        answers.append(json.loads(each.stdout.read()))
        each.stdout.close()
        assert each.wait() == 0
    assert sorted(answer["read"] > 0 for answer in answers) == [False, True]
    line.through()
