"""A run's keeper over a store in a folder: what it writes there, what it survives, what it hears."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, AgentError, alive, until
from tests.storebox import PYTHONS

MAKE_CHECKPOINT = """
import json, os, struct, time
def save(name, step, size=1000):
    folder = os.environ["RUNCTL_CHECKPOINT_DIR"]
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
                         "__metadata__": {"step": str(step)}}).encode()
    with open(folder + "/part", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes([step % 256]) * size)
    os.replace(folder + "/part", folder + "/" + name)
"""


class Kept:
    """A run with a keeper, and its part of the store."""

    def __init__(self, box: AgentBox, store: Path, run: str, attempt: int = 1) -> None:
        self.box, self.store, self.run = box, store, run
        self.folder = store / "runs" / run / str(attempt)
        self.request: dict[str, Any] = {
            "v": 1,
            "run": run,
            "attempt": attempt,
            "store": {"kind": "directory", "path": str(store)},
            "lease_seconds": None,
            "release": "keep",
        }

    def keep(self) -> dict[str, Any]:
        return self.box.call("keep", self.request)

    def start(self, source: str, **more: Any) -> Kept:
        self.box.launch(self.run, source, **more)
        assert self.keep() == {"run": self.run, "keeping": True}
        return self

    def json(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / name).read_text()))
        except FileNotFoundError:
            return {}

    def grown(self, kind: str) -> bytes:
        data = b""
        for path in sorted((self.folder / kind).iterdir()) if (self.folder / kind).exists() else ():
            assert int(path.name) == len(data)
            data += path.read_bytes()
        return data

    def says(self, text: bytes) -> None:
        """It is in the store, and so is, a moment later, the status."""
        until(lambda: text in self.grown("output"), f"{text!r} in the store")
        until(lambda: self.json("status.json").get("state") in ("running", "ended"), "the status")

    def done(self) -> dict[str, Any]:
        """All is in the store; the status."""
        until(lambda: self.json("heartbeat.json").get("phase") == "done", "the keeper is done")
        return self.json("status.json")

    def note(self) -> dict[str, Any]:
        """The keeper's own note, once it has written one."""
        path = self.box.folder(self.run) / "keeper.json"
        return dict(until(lambda: path.exists() and json.loads(path.read_text()), "the keeper's note"))

    def checkpoints(self) -> list[dict[str, Any]]:
        return list(self.json("checkpoints.json").get("checkpoints", []))

    def verified(self) -> list[str]:
        """The paths of the listed checkpoints, newest first, each of which is in the store as it was listed."""
        for each in self.checkpoints():
            for file in each["files"]:
                data = (self.folder / file["key"]).read_bytes()
                assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["digest"])
        return [each["path"] for each in self.checkpoints()]


@pytest.fixture
def kept(box: AgentBox, tmp_path: Path) -> Kept:
    return Kept(box, tmp_path / "store", "r1")


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_what_a_run_leaves_is_in_the_store(python: str, tmp_path: Path) -> None:
    box = AgentBox(tmp_path / "machine", python)
    kept = Kept(box, tmp_path / "store", "r1").start(
        MAKE_CHECKPOINT
        + "print('one', flush=True)\n"
        + "save('a.safetensors', 1)\n"
        + "os.makedirs(os.environ['RUNCTL_OUTPUT_DIR'] + '/deep')\n"
        + "open(os.environ['RUNCTL_OUTPUT_DIR'] + '/deep/result.txt', 'w').write('42')\n"
        + "print('two')\n"
    )
    status = kept.done()
    assert (status["outcome"], status["attempt"]) == ("succeeded", 1)
    assert status == box.status("r1")
    assert kept.grown("output") == b"one\ntwo\n"
    events = [json.loads(line) for line in kept.grown("events").splitlines()]
    assert kept.grown("events") == (box.folder("r1") / "events.jsonl").read_bytes()
    assert [each["step"] for each in events if each["kind"] == "checkpoint.stored"] == [1]
    assert kept.verified() == ["a.safetensors"]
    assert (kept.folder / "outputs/deep/result.txt").read_text() == "42"
    (file,) = kept.json("outputs.json")["files"]
    assert file == {"path": "deep/result.txt", "size": 2, "digest": hashlib.sha256(b"42").hexdigest()}
    until(lambda: kept.note().get("over"), "the keeper has noted here what the store was told before")
    assert kept.keep() == {"run": "r1", "keeping": False}
    box.check_nothing_left()


def test_output_is_stored_while_it_grows_in_segments_of_a_mebibyte(kept: Kept) -> None:
    kept.start(
        "import os, time\n"
        "print('begun', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
        "os.write(1, bytes(range(256)) * 14000)\n"
        "print('over')\n"
    )
    kept.says(b"begun")
    assert kept.json("status.json")["state"] == "running"
    (kept.box.folder("r1") / "code" / "go").touch()
    kept.done()
    assert kept.grown("output") == b"begun\n" + bytes(range(256)) * 14000 + b"over\n"
    sizes = [path.stat().st_size for path in sorted((kept.folder / "output").iterdir())]
    assert sizes[:-1] == [1 << 20] * 3
    assert 0 < sizes[-1] < 1 << 20


def test_output_that_somebody_empties_goes_on_behind_what_is_stored(kept: Kept) -> None:
    kept.start(
        "import os, time\n"
        "print('first', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
        "print('x', flush=True)\n"
        "while not os.path.exists('go2'): time.sleep(0.02)\n"
        "print('second')\n"
    )
    kept.says(b"first")
    code = kept.box.folder("r1") / "code"
    os.truncate(kept.box.folder("r1") / "output.log", 0)
    (code / "go").touch()
    kept.says(b"x\n")
    (code / "go2").touch()
    kept.done()
    assert kept.grown("output") == b"first\nx\nsecond\n"


def test_checkpoints_are_stored_whole_newest_first_and_stay_when_the_script_deletes_them(kept: Kept) -> None:
    kept.start(
        MAKE_CHECKPOINT
        + "for step in range(1, 5):\n"
        + "    save('step-%d.safetensors' % step, step)\n"
        + "print('saved', flush=True)\n"
        + "while not os.path.exists('go'): time.sleep(0.02)\n"
        + "os.unlink(os.environ['RUNCTL_CHECKPOINT_DIR'] + '/step-1.safetensors')\n"
        + "save('step-5.safetensors', 5)\n"
    )
    kept.says(b"saved")
    until(lambda: len(kept.checkpoints()) == 4, "four are stored")
    (kept.box.folder("r1") / "code" / "go").touch()
    kept.done()
    assert kept.verified() == [f"step-{step}.safetensors" for step in (5, 4, 3, 2, 1)]
    stored = [each["stored_at"] for each in kept.checkpoints()]
    assert stored[1] <= stored[2] <= stored[3] <= stored[4] <= stored[0]


def test_a_checkpoint_that_is_replaced_stays_whole_until_the_new_one_is(kept: Kept) -> None:
    kept.start(
        MAKE_CHECKPOINT
        + "for step in range(1, 5):\n"
        + "    save('latest.safetensors', step)\n"
        + "    print('saved', step, flush=True)\n"
        + "    while not os.path.exists('go%d' % step): time.sleep(0.02)\n"
    )
    keys = []

    def stored(step: int) -> bool:
        return bool(kept.checkpoints()) and kept.checkpoints()[0]["step"] == step

    for step in range(1, 5):
        until(functools.partial(stored, step), f"step {step} is stored")
        assert kept.verified() == ["latest.safetensors"]
        keys.append(kept.checkpoints()[0]["files"][0]["key"])
        (kept.box.folder("r1") / "code" / f"go{step}").touch()
    kept.done()
    first, second = "checkpoints/latest.safetensors", "checkpoints.2/latest.safetensors"
    assert keys == [first, second, first, second]


def test_half_a_checkpoint_is_never_stored(kept: Kept) -> None:
    kept.start(
        MAKE_CHECKPOINT
        + "save('good.safetensors', 1)\n"
        + "open(os.environ['RUNCTL_CHECKPOINT_DIR'] + '/bad.safetensors', 'wb').write(b'\\x10' + bytes(7) + b'{')\n"
    )
    kept.done()
    assert kept.verified() == ["good.safetensors"]
    assert not (kept.folder / "checkpoints/bad.safetensors").exists()


WAITS = "import os, time\nprint('begun', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.02)\nprint('over')\n"


def test_whichever_of_the_two_is_killed_the_other_brings_it_back(kept: Kept) -> None:
    kept.start(WAITS)
    kept.says(b"begun")
    seen = {kept.note()["pid"], kept.note()["guardian"]}

    def another(pid: int) -> bool:
        return bool(kept.note()["pid"] != pid)

    for name in ("pid", "guardian", "pid", "guardian"):
        before = kept.note()
        os.kill(before[name], signal.SIGKILL)
        until(functools.partial(another, before["pid"]), f"a new {name}")
        now = kept.note()
        assert alive(now["pid"])
        assert alive(now["guardian"])
        seen |= {now["pid"], now["guardian"]}
    assert len(seen) >= 6
    (kept.box.folder("r1") / "code" / "go").touch()
    assert kept.done()["outcome"] == "succeeded"
    assert kept.grown("output") == b"begun\nover\n"


def test_both_killed_are_brought_back_by_the_command(kept: Kept) -> None:
    kept.start(WAITS)
    kept.says(b"begun")
    note = kept.note()
    for name in ("guardian", "pid"):
        os.kill(note[name], signal.SIGSTOP)
    for name in ("guardian", "pid"):
        os.kill(note[name], signal.SIGKILL)
    until(lambda: not alive(note["pid"]), "it is gone")
    assert kept.keep() == {"run": "r1", "keeping": True}
    assert kept.keep() == {"run": "r1", "keeping": True}
    (kept.box.folder("r1") / "code" / "go").touch()
    kept.done()
    assert kept.grown("output") == b"begun\nover\n"


def test_a_supervisor_that_is_killed_does_not_keep_the_output_from_the_store(kept: Kept) -> None:
    kept.start(WAITS)
    kept.says(b"begun")
    os.kill(kept.box.status("r1")["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: kept.json("status.json").get("reason") == "unsupervised", "it is said")
    (kept.box.folder("r1") / "code" / "go").touch()
    status = kept.done()
    assert (status["outcome"], status["reason"]) == ("failed", "the agent died")
    assert kept.grown("output") == b"begun\nover\n"


@pytest.mark.parametrize("supervised", [True, False])
def test_a_cancel_in_the_store_is_heard(kept: Kept, supervised: bool) -> None:
    kept.start(WAITS)
    kept.says(b"begun")
    if not supervised:
        os.kill(kept.box.status("r1")["supervisor"]["pid"], signal.SIGKILL)
    (kept.store / "runs/r1/cancel.json").write_text(json.dumps({"grace": 2, "reason": "enough"}))
    status = kept.done()
    assert (status["outcome"], status["reason"]) == ("cancelled", "enough")


def test_a_cancel_of_an_earlier_attempt_is_not_meant(box: AgentBox, tmp_path: Path) -> None:
    kept = Kept(box, tmp_path / "store", "r1", attempt=2)
    kept.folder.mkdir(parents=True)
    (kept.store / "runs/r1/cancel.json").write_text(
        json.dumps({"grace": 2, "reason": "enough", "attempt": 1})
    )
    kept.start("import time; time.sleep(1); print('over')", attempt=2)
    assert kept.done()["outcome"] == "succeeded"


STORED = {
    "kind": "directory",
    "path": "/nowhere",
}  # that a run has a store is what its supervisor has to know


def test_outputs_go_where_the_request_says(kept: Kept, tmp_path: Path) -> None:
    source = "import os; open(os.environ['RUNCTL_OUTPUT_DIR'] + '/r', 'w').write('1')"
    kept.start(source, output="results/best", store=STORED)
    kept.done()
    assert (kept.store / "results/best/r").read_text() == "1"
    other = Kept(kept.box, kept.store, "r2")
    other.start(source, output=f"file://{tmp_path}/elsewhere", store=STORED)
    other.done()
    assert (tmp_path / "elsewhere/r").read_text() == "1"
    assert other.json("outputs.json")["to"] == f"file://{tmp_path}/elsewhere"


def test_a_run_that_is_removed_ends_its_keeper(kept: Kept) -> None:
    kept.start("print(1)")
    kept.done()
    kept.box.call("remove", {"run": "r1"})
    assert kept.grown("output") == b"1\n"


@pytest.mark.parametrize(
    "change",
    [
        {"store": 1},
        {"attempt": "1"},
        {"release": "later"},
        {"lease_seconds": "x"},
        {"release": "terminate"},
        {"run": "../x"},
    ],
)
def test_a_request_that_is_none_is_refused(kept: Kept, change: dict[str, Any]) -> None:
    with pytest.raises(AgentError) as refused:
        kept.box.call("keep", {**kept.request, **change})
    assert refused.value.code == "agent-request"


def test_a_keeper_is_small_and_quiet(kept: Kept) -> None:
    kept.start(
        MAKE_CHECKPOINT
        + "os.write(1, b'x' * (100 << 20))\n"
        + "save('big.safetensors', 1, 80 << 20)\n"
        + "print('begun', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.02)\n"
    )
    kept.says(b"begun")
    until(kept.checkpoints, "the checkpoint is stored")
    pid = kept.note()["pid"]
    peak = int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    assert peak < 40, f"{peak:.0f} MiB"
    (kept.box.folder("r1") / "code" / "go").touch()
    kept.done()
    assert (
        hashlib.sha256(kept.grown("output")).digest()
        == hashlib.sha256(b"x" * (100 << 20) + b"begun\n").digest()
    )
