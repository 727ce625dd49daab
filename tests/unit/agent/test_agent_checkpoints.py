"""Checkpoints in a real folder: what is walked, what is refused, and what a watcher reports while files appear."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.agentbox import AgentBox

from runctl.agent.checkpoints import Watcher, find
from runctl.formats import folder as folder_module

PYTHONS = [sys.executable] + [
    str(path)
    for v in ("3.8", "3.13")
    for path in Path("~/.pyenv/versions").expanduser().glob(f"{v}.*/bin/python")
]
DATA = Path(__file__).parents[2] / "data" / "checkpoints"
NPZ = (DATA / "numpy" / "ckpt-00010.npz").read_bytes()
PT = (DATA / "torch" / "checkpoint_epoch_7.pt").read_bytes()
PLAIN = (DATA / "torch" / "state_dict.pt").read_bytes()


def paths(directory: Path) -> list[str]:
    return [each["path"] for each in find(str(directory))["checkpoints"]]


def test_the_answer_is_what_the_protocol_says(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(NPZ)
    (tmp_path / "b.npz").write_bytes(NPZ[:-1])
    answer = find(str(tmp_path))
    assert answer["directory"] == str(tmp_path)
    (one,) = answer["checkpoints"]
    assert {key: one[key] for key in ("path", "format", "size", "step", "epoch", "tensors")} == {
        "path": "a.npz",
        "format": "npz",
        "size": len(NPZ),
        "step": 500,
        "epoch": 10,
        "tensors": 5,
    }
    assert one["detail"]["dtypes"] == {"int64": 2, "float64": 1, "float32": 1, "str": 1}
    assert one["detail"]["metadata"] == {"epoch": 10, "step": 500}
    (other,) = answer["incomplete"]
    assert (other["path"], other["format"], other["kind"]) == ("b.npz", "npz", "damaged")


def test_a_folder_that_does_not_exist_has_no_checkpoints(tmp_path: Path) -> None:
    answer = find(str(tmp_path / "none"))
    assert (answer["checkpoints"], answer["incomplete"]) == ([], [])


def test_one_file_is_looked_at_alone(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(NPZ)
    (tmp_path / "b.npz").write_bytes(NPZ)
    assert paths(tmp_path / "b.npz") == ["b.npz"]


def test_links_and_pipes_are_passed_over_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "step-1.npz").write_bytes(NPZ)
    (tmp_path / "latest.npz").symlink_to("step-1.npz")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "gone.npz").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.npz")
    answer = find(str(tmp_path))
    assert [each["path"] for each in answer["checkpoints"]] == ["step-1.npz"]
    assert answer["incomplete"] == []


def test_the_newest_is_found_by_step_and_not_by_name_or_time(tmp_path: Path) -> None:
    for at, epoch in enumerate((10, 9, 100, 2)):
        (tmp_path / f"checkpoint_epoch_{epoch}.pt").write_bytes(PLAIN)
        os.utime(tmp_path / f"checkpoint_epoch_{epoch}.pt", (at, at))
    assert paths(tmp_path) == [f"checkpoint_epoch_{epoch}.pt" for epoch in (100, 10, 9, 2)]


def test_the_name_of_the_folder_itself_counts(tmp_path: Path) -> None:
    shutil.copytree(DATA / "dcp" / "step-30", tmp_path / "step-77")
    (one,) = find(str(tmp_path / "step-77"))["checkpoints"]
    assert (one["path"], one["step"]) == (".", 77)


def test_names_that_are_not_text_survive(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9-3.npz")).write_bytes(NPZ)
    assert paths(tmp_path) == [os.fsdecode(b"caf\xe9-3.npz")]


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.npz").write_bytes(NPZ)

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)  # a mode of 0 does not stop root, and tests may run as root
    (one,) = find(str(tmp_path))["incomplete"]
    assert one["why"] == "cannot be read: Permission denied"


def test_a_folder_of_too_many_files_is_said_and_not_searched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "MAX_FILES", 5)
    for at in range(9):
        (tmp_path / f"{at}.txt").touch()
    (one,) = find(str(tmp_path))["incomplete"]
    assert "more than 5 files" in one["why"]


def test_a_file_that_changes_while_it_is_read_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(NPZ)
    listing = folder_module.walk(str(tmp_path), [])
    os.utime(path, (1, 1))
    found = folder_module.look(str(tmp_path), listing)
    assert found.complete == []
    assert [item.kind for item in found.incomplete] == ["writing"]


def test_a_watcher_reports_each_checkpoint_once_when_it_has_settled(tmp_path: Path) -> None:
    watcher = Watcher(str(tmp_path / "checkpoints"))
    assert watcher.poll() == []
    (tmp_path / "checkpoints").mkdir()
    target = tmp_path / "checkpoints" / "step-1.pt"
    target.write_bytes(PT[: len(PT) // 2])
    assert watcher.poll() == []
    assert watcher.poll() == []
    target.write_bytes(PT)
    assert watcher.poll() == []  # complete, but it may still be growing
    assert [each["path"] for each in watcher.poll()] == ["step-1.pt"]
    assert watcher.poll() == []


def test_a_watcher_reports_a_replaced_checkpoint_again(tmp_path: Path) -> None:
    watcher = Watcher(str(tmp_path))
    (tmp_path / "last.pt").write_bytes(PT)
    assert [each["step"] for each in watcher.poll(last=True)] == [350]
    (tmp_path / "new.tmp").write_bytes(PLAIN)
    (tmp_path / "new.tmp").replace(tmp_path / "last.pt")
    assert [each["step"] for each in watcher.poll(last=True)] == [None]
    assert watcher.poll(last=True) == []


def test_the_last_look_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "b-2.npz").write_bytes(NPZ)
    (tmp_path / "step-9.pt").write_bytes(PLAIN)
    assert [each["path"] for each in Watcher(str(tmp_path)).poll(last=True)] == ["step-9.pt", "b-2.npz"]


def test_a_poll_without_changes_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(20):
        (tmp_path / f"step-{step}.pt").write_bytes(PLAIN)
    watcher = Watcher(str(tmp_path))
    assert watcher.poll() == []
    assert len(watcher.poll()) == 20
    opened: list[object] = []
    real_open = os.open

    def noting(path: str, flags: int) -> int:
        opened.append(path)
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", noting)
    assert watcher.poll() == []
    assert opened == []
    (tmp_path / "step-20.pt").write_bytes(PLAIN)
    watcher.poll()
    assert opened == [str(tmp_path / "step-20.pt")]


def test_parts_of_a_folder_that_is_finished_later_become_one_checkpoint(tmp_path: Path) -> None:
    watcher = Watcher(str(tmp_path))
    source = DATA / "sharded"
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        shutil.copy(source / name, tmp_path / name)
        assert watcher.poll(last=True) == []
    shutil.copy(source / "model.safetensors.index.json", tmp_path)
    assert [each["format"] for each in watcher.poll(last=True)] == ["sharded"]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_the_agent_answers_the_same_on_every_python(python: str, tmp_path: Path) -> None:
    box = AgentBox(tmp_path / "machine", python)
    answer = box.call("checkpoints", {"path": str(DATA), "verify": True})
    assert answer == find(str(DATA), verify=True)
    assert len(answer["checkpoints"]) == 20
