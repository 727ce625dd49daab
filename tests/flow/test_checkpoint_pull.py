"""A checkpoint comes home from this machine; from a store it is tried with the runs on AWS."""

from __future__ import annotations

from pathlib import Path

from tests.awsworld import SCRIPT
from tests.conftest import World


def test_a_checkpoint_of_a_run_here_is_copied_whole(world: World) -> None:
    project = world.project({"train.py": SCRIPT})
    assert world.runctl("train", "train.py", "--", "10", "0", cwd=project).code == 0
    got = world.runctl("checkpoint", "pull", "latest", "--to", str(world.root / "models"))
    assert got.code == 0, got.err
    (there,) = (world.root / "models").iterdir()
    assert got.out == f"{there}\n"
    assert there.name == "step-10.safetensors"
    original = next(world.machine.glob("runs/*/checkpoints/step-10.safetensors"))
    assert there.read_bytes() == original.read_bytes()


def test_a_named_one_and_one_that_is_not_there(world: World, tmp_path: Path) -> None:
    project = world.project({"train.py": SCRIPT})
    assert world.runctl("train", "train.py", "--", "10", "0", cwd=project).code == 0
    got = world.runctl("checkpoint", "pull", "latest:step-5.safetensors", "--json", cwd=tmp_path)
    assert Path(got.json()["path"]) == tmp_path / "step-5.safetensors"
    wrong = world.runctl("checkpoint", "pull", "latest:step-6.safetensors", cwd=tmp_path)
    assert (wrong.code, "step-5.safetensors" in wrong.err) == (2, True)
