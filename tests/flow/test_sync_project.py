"""A project's tree on a machine is kept as it is here: by what differs, atomically, and nothing that was made there is lost."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.agentbox import AgentBox

from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.errors import RunctlError
from runctl.core.events import Event
from runctl.core.model import Endpoint
from runctl.core.ports import Store
from runctl.engine.project_sync import Receipt, sync_project
from runctl.engine.remote import RemoteAgent
from runctl.project.files import list_files
from runctl.project.root import Root
from runctl.project.snapshot import Snapshot, take
from runctl.registry import store as store_at
from runctl.testing.stores import content
from runctl.testing.surroundings import surroundings
from runctl.transports.local import LocalTransport

MIB = 1 << 20


@dataclass
class Pair:
    """A project here and a machine."""

    top: Path
    machine: AgentBox
    env: dict[str, str]
    store: Store | None = None
    events: list[Event] = field(default_factory=list)
    transport: type[LocalTransport] = LocalTransport

    def write(self, path: str, data: bytes) -> None:
        target = self.top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def read(self, _cancel: CancelToken) -> Snapshot:
        root = Root(self.top, "", None)
        return take(root, list_files(root, env={"HOME": "/nonexistent"}))

    def sync(self) -> Receipt:
        transport = self.transport(Endpoint("local"), surroundings())
        endpoint = Endpoint("local", python=sys.executable, home=str(self.machine.home))
        agent = RemoteAgent(transport, endpoint, clock=SystemClock(), emit=self.events.append)
        return sync_project(
            self.read,
            agent,
            project="demo",
            store=self.store,
            env=self.env,
            emit=self.events.append,
            clock=SystemClock(),
            cancel=CancelToken(),
        )

    @property
    def there(self) -> Path:
        return self.machine.home / "projects" / "demo" / "current"

    def through(self) -> Receipt:
        """Sync, and compare both trees in everything that travels."""
        receipt = self.sync()
        assert receipt.tree == self.read(CancelToken()).digest
        here = {entry["path"]: entry for entry in self.read(CancelToken()).entries}
        for path, entry in here.items():
            one, two = self.top / path, self.there / path
            if entry["type"] == "link":
                assert os.readlink(two) == entry["target"]
            elif entry["type"] == "dir":
                assert two.is_dir()
            else:
                assert two.read_bytes() == one.read_bytes(), path
                assert bool(two.stat().st_mode & 0o100) == entry["exec"]
        found = {
            os.path.relpath(os.path.join(base, name), self.there)
            for base, _, names in os.walk(self.there)
            for name in names
        }
        assert {path for path, entry in here.items() if entry["type"] == "file"} <= found
        return receipt

    def found(self) -> set[str]:
        """Every file in the tree there."""
        return {
            os.path.relpath(os.path.join(base, name), self.there)
            for base, _, names in os.walk(self.there)
            for name in names
        }


@pytest.fixture(params=["stream", "store"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, box: AgentBox) -> Pair:
    (tmp_path / "project").mkdir()
    store = store_at((tmp_path / "store").as_uri(), surroundings()) if request.param == "store" else None
    pair = Pair(tmp_path / "project", box, {"HOME": str(tmp_path)}, store)
    for number in range(30):
        pair.write(f"pkg{number % 4}/m{number}.py", b"# %d\n" % number * 50)
    (pair.top / "run.sh").write_text("#!/bin/sh\n")
    (pair.top / "run.sh").chmod(0o755)
    (pair.top / "link").symlink_to("run.sh")
    (pair.top / "hollow").mkdir()
    return pair


def test_everything_then_nothing_then_what_changed(pair: Pair) -> None:
    first = pair.through()
    assert (first.sent_files, first.written) == (31, 32)
    second = pair.through()
    assert (second.wire, second.written, second.sent_files) == (0, 0, 0)
    pair.write("pkg1/m1.py", b"changed\n")
    (pair.top / "pkg2" / "m2.py").unlink()
    (pair.top / "pkg3" / "m3.py").rename(pair.top / "moved.py")
    third = pair.through()
    assert third.sent_files == 1
    assert third.wire < 1500
    assert not (pair.there / "pkg2" / "m2.py").exists()
    assert not (pair.there / "pkg3" / "m3.py").exists()
    fourth = pair.through()
    assert (fourth.wire, fourth.written) == (0, 0)


class FirstWord(LocalTransport):
    """The machine is not heard before something was said to it: an answer that takes its time."""

    said: ClassVar[list[bytes]] = []

    def exec(self, argv: Any, *, stdin: Any = (), on_output: Any = None, **more: Any) -> Any:
        spoken = threading.Event()

        def feed() -> Iterator[bytes]:
            for number, chunk in enumerate(stdin):
                self.said.append(bytes(chunk[:1]))
                if number:  # the first one is the request
                    spoken.set()
                yield chunk

        def hear(chunk: bytes) -> None:
            spoken.wait(20)
            on_output(chunk)

        return super().exec(argv, stdin=feed(), on_output=hear, **more)


def test_little_is_said_without_waiting_for_a_question(pair: Pair, tmp_path: Path) -> None:
    pair.through()
    pair.transport = FirstWord
    FirstWord.said.clear()
    pair.write("new.py", b"new\n")
    assert pair.through().sent_files == 1
    assert FirstWord.said[1:] == [b"G", b"B", b"E"]
    FirstWord.said.clear()
    assert pair.through().wire == 0
    assert FirstWord.said[1:] == [b"G", b"E"]


def test_whoever_counted_on_another_tree_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    pair.through()
    other = Pair(tmp_path / "other", pair.machine, {"HOME": str(tmp_path / "elsewhere")}, pair.store)
    other.write("only/here.py", b"another client\n")
    other.through()
    pair.transport = FirstWord
    pair.through()  # nothing has changed here, and everything there
    assert not (pair.there / "only").exists()
    other.through()
    pair.write("new.py", b"new\n")
    pair.through()
    assert (pair.there / "new.py").read_bytes() == b"new\n"
    assert not (pair.there / "only").exists()


def test_every_version_costs_what_changed(pair: Pair) -> None:
    for number in range(400):
        pair.write(f"many/d{number % 20}/f{number}", b"%d" % number)
    pair.through()
    pair.write("many/d1/f1", b"one")
    assert pair.through().written <= 432  # the second tree is made for the first time, by links
    for number in range(5):
        pair.write("many/d1/f1", b"again %d" % number)
        assert pair.through().written <= 2  # what changed now, and what changed when the other tree was made


def test_kinds_may_change(pair: Pair) -> None:
    pair.through()
    (pair.top / "link").unlink()
    pair.write("link", b"now a file")
    (pair.top / "run.sh").unlink()
    pair.write("run.sh/inside", b"now a folder")
    for name in list((pair.top / "pkg0").iterdir()):
        name.unlink()
    (pair.top / "pkg0").rmdir()
    (pair.top / "pkg0").symlink_to("pkg1")
    pair.write("hollow/full", b"x")
    pair.through()
    (pair.top / "run.sh" / "inside").unlink()
    (pair.top / "run.sh").rmdir()
    pair.write("run.sh", b"a file again")
    (pair.top / "pkg1" / "m1.py").chmod(0o755)
    pair.through()
    pair.through()


def test_what_was_made_there_is_kept(pair: Pair) -> None:
    pair.through()
    (pair.there / "outputs").mkdir()
    (pair.there / "outputs" / "model.pt").write_bytes(b"precious")
    (pair.there / "pkg1" / "cache.bin").write_bytes(b"cached")
    for number in range(4):
        pair.write("pkg1/m1.py", b"%d" % number)
        pair.through()
        assert (pair.there / "outputs" / "model.pt").read_bytes() == b"precious"
        assert (pair.there / "pkg1" / "cache.bin").read_bytes() == b"cached"
    for name in list((pair.top / "pkg1").iterdir()):
        name.unlink()
    (pair.top / "pkg1").rmdir()
    pair.through()
    assert (pair.there / "pkg1" / "cache.bin").read_bytes() == b"cached"
    pair.write("outputs", b"the project has a file of that name now")
    pair.through()
    kept = list((pair.machine.home / "projects" / "demo" / "left").rglob("model.pt"))
    assert [path.read_bytes() for path in kept] == [b"precious"]


@pytest.mark.parametrize("how", ["edited", "deleted", "replaced by a folder", "replaced by a link"])
def test_what_was_changed_there_is_put_right(pair: Pair, how: str) -> None:
    pair.through()
    pair.write("pkg2/m2.py", b"2")
    pair.through()
    victim = pair.there / "pkg1" / "m1.py"
    if how == "edited":
        victim.write_bytes(b"edited in place")
    else:
        victim.unlink()
    if how == "replaced by a folder":
        victim.mkdir()
        (victim / "mine").write_bytes(b"mine")
    if how == "replaced by a link":
        victim.symlink_to("/etc/hosts")
    pair.through()
    pair.write("pkg2/m2.py", b"3")
    pair.through()
    pair.write("pkg2/m2.py", b"4")
    pair.through()
    if how == "replaced by a folder":
        kept = list((pair.machine.home / "projects" / "demo").rglob("mine"))
        assert [path.read_bytes() for path in kept] == [b"mine"]


def test_nothing_is_written_through_a_link_that_was_put_there(pair: Pair, tmp_path: Path) -> None:
    pair.through()
    pair.write("pkg2/m2.py", b"2")
    pair.through()
    outside = tmp_path / "outside"
    outside.mkdir()
    for tree in ("one", "two"):
        folder = pair.machine.home / "projects" / "demo" / tree / "pkg1"
        folder.rename(tmp_path / f"taken-{tree}")
        folder.symlink_to(outside)
    pair.write("pkg1/m1.py", b"new")
    pair.through()
    pair.write("pkg1/m1.py", b"newer")
    pair.through()
    assert list(outside.iterdir()) == []


def test_a_reader_sees_the_old_tree_or_the_new_one(pair: Pair) -> None:
    names = [f"pkg0/same{number}" for number in range(20)]
    for name in names:
        pair.write(name, b"0")
    pair.through()
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCHER, str(pair.there), *names], stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "watching\n"
    for number in range(1, 6):
        for name in names:
            pair.write(name, b"%d" % number)
        pair.through()
    watcher.terminate()
    out, _ = watcher.communicate()
    assert "torn" not in out


WATCHER = """
import os, sys
current, *names = sys.argv[1:]
print("watching", flush=True)
while True:
    tree = os.path.realpath(current)
    seen = set()
    try:
        for name in names:
            with open(os.path.join(tree, name)) as file: seen.add(file.read())
    except OSError as error:
        seen = {str(error)}
    if os.path.realpath(current) == tree and len(seen) > 1:
        print("torn", seen, flush=True)
"""


def test_whoever_works_in_a_tree_keeps_it(pair: Pair) -> None:
    pair.through()
    inside = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read(); print(open('pkg1/m1.py').read())"],
        cwd=pair.there,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    before = (pair.there / "pkg1" / "m1.py").read_text()
    for number in range(4):
        pair.write("pkg1/m1.py", b"%d" % number)
        pair.through()
    out, _ = inside.communicate("")
    assert out.strip() == before.strip()
    pair.write("pkg1/m1.py", b"last")
    pair.through()
    names = sorted(path.name for path in (pair.machine.home / "projects" / "demo").iterdir())
    assert [name for name in names if "." in name and "manifest" not in name] == []


def test_killed_at_any_moment_it_converges(pair: Pair) -> None:
    for number in range(300):
        pair.write(f"many/f{number}", content(3000, number))
    pair.through()
    for turn in range(8):
        for number in range(0, 300, 3):
            pair.write(f"many/f{number}", content(3000, number + turn + 1))
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(pair.top), str(pair.machine.home), pair.env["HOME"]]
        )
        time.sleep(0.15 + 0.04 * turn)  # somewhere within; where exactly does not matter
        for child in children(client.pid):
            os.kill(child, 9)
        client.kill()
        client.wait()
        pair.through()
    left = [p.name for p in (pair.machine.home / "projects" / "demo").iterdir()]
    assert sorted(left) == ["current", "lock", "one", "one.manifest", "two", "two.manifest"]


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


CLIENT = """
import sys
from pathlib import Path
from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.model import Endpoint
from runctl.engine.project_sync import sync_project
from runctl.engine.remote import RemoteAgent
from runctl.project.files import list_files
from runctl.project.root import Root
from runctl.project.snapshot import take
from runctl.testing.surroundings import surroundings
from runctl.transports.local import LocalTransport
top, home, own = sys.argv[1:]
root = Root(Path(top), "", None)
endpoint = Endpoint("local", python=sys.executable, home=home)
agent = RemoteAgent(LocalTransport(endpoint, surroundings()), endpoint, clock=SystemClock(), emit=lambda event: None)
sync_project(lambda cancel: take(root, list_files(root, env={"HOME": "/nonexistent"})), agent, project="demo",
    store=None, env={"HOME": own}, emit=lambda event: None, clock=SystemClock(), cancel=CancelToken())
"""


def test_a_large_file_is_sent_by_what_changed_of_it(pair: Pair) -> None:
    data = content(20 * MIB)
    pair.write("big.bin", data)
    first = pair.through()
    assert first.wire > 20 * MIB
    pair.write("big.bin", data + content(50_000, 3))
    assert pair.through().wire < 1.2 * MIB
    pair.write("big.bin", data[: 5 * MIB] + b"x" + data[5 * MIB + 1 :] + content(50_000, 3))
    assert pair.through().wire < 1.2 * MIB


def test_a_large_file_whose_old_copy_has_rotted_is_said_once_and_then_sent(pair: Pair) -> None:
    data = content(6 << 20, 5)
    pair.write("big.bin", data)
    pair.through()
    digest = hashlib.sha256(data).hexdigest()
    blob = pair.machine.home / "blobs" / digest[:2] / digest
    rotten = bytearray(data)
    rotten[3_000_000] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(rotten)
    pair.write("big.bin", data + b"more")
    with pytest.raises(RunctlError) as caught:
        pair.sync()
    assert caught.value.code == "blob-corrupt"
    assert (pair.there / "big.bin").read_bytes() == data  # the old tree
    assert pair.through().wire < 2 << 20  # what was sound is not sent again


def test_what_the_machine_had_from_elsewhere_is_not_sent(pair: Pair, tmp_path: Path) -> None:
    for number in range(40):
        pair.write(f"data/d{number}", content(20_000, number))
    pair.through()
    pair.env["HOME"] = str(tmp_path / "another computer")
    pair.write("new.py", b"new")
    receipt = pair.through()
    assert receipt.sent_files == 1


def test_blobs_that_were_cleaned_away_are_sent_again(pair: Pair) -> None:
    pair.through()
    pair.write("pkg1/m1.py", b"changed\n")
    pair.through()
    (pair.there / "pkg3" / "m3.py").write_bytes(b"damaged")
    for blob in (pair.machine.home / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    pair.write("pkg1/m1.py", b"again\n")
    pair.through()
    pair.through()


def test_a_file_that_changes_between_looking_and_sending_is_said(pair: Pair) -> None:
    pair.write("data.bin", content(600_000))
    before = pair.read

    def read(cancel: CancelToken) -> Snapshot:
        found = before(cancel)
        _ = found.entries
        pair.write("data.bin", content(600_000, 2))
        return found

    pair.read = read  # type: ignore[method-assign,assignment]
    with pytest.raises(RunctlError) as caught:
        pair.sync()
    assert caught.value.code == "file-changed"
    pair.read = before  # type: ignore[method-assign]
    pair.through()


def test_two_at_once_end_well(pair: Pair) -> None:
    for number in range(200):
        pair.write(f"many/f{number}", content(2000, number))
    argv = [sys.executable, "-c", CLIENT, str(pair.top), str(pair.machine.home), pair.env["HOME"]]
    both = [subprocess.Popen(argv) for _ in range(2)]
    assert [each.wait(timeout=60) for each in both] == [0, 0]
    assert pair.through().wire == 0


def test_odd_names(pair: Pair) -> None:
    names: list[Any] = [b"with space", b"new\nline", b"quo'te\"", b"latin-\xe9", b"-dash", "ünï".encode()]
    for name in names:
        with open(os.path.join(os.fsencode(pair.top), name), "wb") as file:
            file.write(name)
    pair.through()
    pair.write("pkg1/m1.py", b"changed\n")
    pair.through()
    assert set(map(os.fsdecode, names)) <= pair.found()
