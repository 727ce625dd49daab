"""``runctl checkpoint`` on folders and files: what is printed, and the status."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import World

DATA = Path(__file__).parents[1] / "data" / "checkpoints"


@pytest.fixture
def saved(world: World) -> Path:
    """Three good checkpoints, one that is cut, one that is being written."""
    folder = world.root / "saved"
    folder.mkdir()
    for epoch in (2, 9, 10):
        shutil.copy(DATA / "torch" / "state_dict.pt", folder / f"checkpoint_epoch_{epoch}.pt")
    data = (DATA / "torch" / "state_dict.pt").read_bytes()
    (folder / "checkpoint_epoch_11.pt.tmp").write_bytes(data[:500])
    return folder


def test_list_shows_complete_ones_newest_first(world: World, saved: Path) -> None:
    result = world.runctl("checkpoint", "list", saved)
    assert result.code == 0
    head, *rows = result.out.splitlines()
    assert head.split() == ["STEP", "EPOCH", "SIZE", "TENSORS", "FORMAT", "MODIFIED", "PATH"]
    assert [row.split()[-1] for row in rows] == [f"checkpoint_epoch_{epoch}.pt" for epoch in (10, 9, 2)]
    assert rows[0].split()[:2] == ["-", "10"]
    assert "checkpoint_epoch_11.pt.tmp: has a temporary name" in result.err


def test_list_as_json_is_one_object(world: World, saved: Path) -> None:
    answer = world.runctl("checkpoint", "list", saved, "--json").json()
    assert [each["epoch"] for each in answer["checkpoints"]] == [10, 9, 2]
    assert answer["incomplete"][0]["kind"] == "writing"


def test_list_of_an_empty_folder_is_no_error(world: World) -> None:
    (world.root / "empty").mkdir()
    result = world.runctl("checkpoint", "list", "empty")
    assert (result.code, result.out) == (0, "")
    assert "no complete checkpoint" in result.err


def test_info_of_a_folder_is_about_the_newest(world: World, saved: Path) -> None:
    result = world.runctl("checkpoint", "info", saved)
    assert result.code == 0
    assert "checkpoint_epoch_10.pt" in result.out
    assert "tensors   4 (4 float32), 23 numbers in all" in result.out
    assert "0.weight  float32  3 x 4" in result.out


def test_info_of_a_file(world: World) -> None:
    answer = world.runctl("checkpoint", "info", DATA / "torch" / "checkpoint_epoch_7.pt", "--json").json()
    assert (answer["step"], answer["epoch"], answer["tensors"]) == (350, 7, 17)
    assert answer["detail"]["metadata"] == {"epoch": 7, "global_step": 350, "best": 0.5}


def test_info_of_a_file_that_is_not_whole_says_why(world: World, saved: Path) -> None:
    (saved / "cut.pt").write_bytes((DATA / "torch" / "state_dict.pt").read_bytes()[:900])
    result = world.runctl("checkpoint", "info", saved / "cut.pt")
    assert result.code == 2
    assert "checkpoint-not-found" in result.err
    assert "its end is missing" in result.err


def test_verify_is_silent_about_nothing_and_fails_on_damage(world: World, saved: Path) -> None:
    assert world.runctl("checkpoint", "verify", saved).code == 0
    data = (saved / "checkpoint_epoch_9.pt").read_bytes()
    with zipfile.ZipFile(saved / "checkpoint_epoch_9.pt") as archive:
        numbers = archive.read("state_dict/data/0")
    (saved / "checkpoint_epoch_9.pt").write_bytes(data.replace(numbers, numbers[::-1]))
    result = world.runctl("checkpoint", "verify", saved)
    assert result.code == 1
    assert "DAMAGED  checkpoint_epoch_9.pt" in result.out
    assert "whole    checkpoint_epoch_10.pt" in result.out
    assert "checkpoint-damaged" in result.err


def test_verify_of_nothing_is_an_error(world: World) -> None:
    (world.root / "empty").mkdir()
    assert world.runctl("checkpoint", "verify", "empty").code == 2


def test_a_path_that_does_not_exist(world: World) -> None:
    result = world.runctl("checkpoint", "list", "./nowhere")
    assert result.code == 2
    assert "checkpoint-path-missing" in result.err


def test_control_characters_of_a_name_do_not_reach_the_terminal(world: World) -> None:
    folder = world.root / "odd"
    folder.mkdir()
    shutil.copy(DATA / "torch" / "state_dict.pt", folder / "a\x1b[31m.pt")
    (folder / "b\udce9.pt").write_bytes((DATA / "torch" / "state_dict.pt").read_bytes())
    result = world.runctl("checkpoint", "list", folder)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert len(result.out.splitlines()) == 3
    assert len(world.runctl("checkpoint", "list", folder, "--json").json()["checkpoints"]) == 2
