"""Train on an SSH host: a real sshd, a laptop with nothing but its SSH configuration, and a machine with a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agentbox import until
from tests.awsworld import Client
from tests.conftest import World
from tests.sshbox import SshBox, ssh_box

STEPS = """\
import json, os, pathlib, struct, sys, time
folder = pathlib.Path(os.environ["RUNCTL_CHECKPOINT_DIR"])
for step in range(int(sys.argv[1])):
    print("step", step)
    time.sleep(float(sys.argv[2]))
head = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
(folder / "last.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + b"7")
print("home", os.environ["HOME"])
"""


@pytest.fixture
def host(world: World, tmp_path: Path) -> Iterator[SshBox]:
    home = tmp_path / "there"
    home.mkdir()
    with ssh_box(tmp_path / "box", env={"HOME": str(home)}) as box:
        world.env["RUNCTL_SSH_CONFIG"] = str(box.config)
        yield box


@pytest.fixture
def project(world: World) -> Path:
    return world.project({"train.py": STEPS, ".runctl.toml": 'target = "lab"\n[hosts]\nlab = "ssh://box"\n'})


def test_a_run_on_a_host_and_a_second_one_that_sends_nothing(
    world: World, host: SshBox, project: Path, tmp_path: Path
) -> None:
    first = world.runctl("train", "train.py", "--", "2", "0", cwd=project)
    assert first.code == 0, first.err
    assert first.out == f"step 0\nstep 1\nhome {tmp_path / 'there'}\n"
    assert (tmp_path / "there/.runctl/runs").is_dir()
    assert not world.machine.exists()  # nothing of the run is on this side
    again = world.runctl("train", "train.py", "--on", "ssh://box", "--", "2", "0", cwd=project)
    assert again.out == first.out
    assert "the machine has all of" in again.err
    assert len(host.connections()) == 1  # one handshake for all of it
    newest, _ = world.runctl("runs", "--json").json()
    assert (newest["provider"], newest["transport"], newest["machine"]) == ("ssh", "ssh", "box")


def test_a_checkpoint_comes_home(world: World, host: SshBox, project: Path) -> None:
    assert world.runctl("train", "train.py", "--", "1", "0", cwd=project).code == 0
    pulled = world.runctl("checkpoint", "pull", "latest", "--to", str(world.root / "models"))
    assert pulled.code == 0, pulled.err
    assert (world.root / "models" / "last.safetensors").read_bytes().endswith(b"7")


def test_a_dry_run_writes_nothing_there(world: World, host: SshBox, project: Path, tmp_path: Path) -> None:
    shown = world.runctl("train", "train.py", "--dry-run", "--", "1", "0", cwd=project)
    assert shown.code == 0, shown.err
    assert "machine box" in shown.out
    assert list((tmp_path / "there").iterdir()) == []


def test_a_detached_run_is_followed_and_ended_by_other_commands(
    world: World, host: SshBox, project: Path
) -> None:
    left = world.runctl("train", "train.py", "--detach", "--", "1000", "0.05", cwd=project)
    assert left.code == 0, left.err
    until(lambda: "step 3" in world.runctl("logs", "latest").out, "output can be read meanwhile")
    ended = world.runctl("cancel", "latest", "--grace", "1")
    assert ended.code == 0, ended.err
    shown = world.runctl("show", "latest", "--json").json()
    assert (shown["state"], shown["outcome"]) == ("ended", "cancelled")


def test_the_scripts_own_status_comes_back(world: World, host: SshBox) -> None:
    project = world.project({"train.py": "raise SystemExit(255)", ".runctl.toml": ""})
    done = world.runctl("train", "train.py", "--on", "ssh://box", cwd=project)
    assert done.code == 1
    assert "exit status 255" in done.err


def test_the_project_is_kept_on_a_host(world: World, host: SshBox, project: Path, tmp_path: Path) -> None:
    done = world.runctl("sync", "lab", "--json", cwd=project)
    assert done.code == 0, done.err
    (there,) = (tmp_path / "there/.runctl/projects").glob("*/current/train.py")
    assert there.read_text() == STEPS


def test_ctrl_c_ends_the_watching_and_the_run_goes_on(world: World, host: SshBox, project: Path) -> None:
    watching = Client.start(world, "train", "train.py", "--", "2000", "0.05", cwd=project)
    watching.see("step 3")
    assert watching.end() < 4
    assert world.runctl("show", "latest", "--json").json()["state"] == "running"
    again = Client.start(world, "attach", "latest", cwd=project)
    again.see("step 9")
    again.end()
    assert world.runctl("cancel", "latest", "--grace", "0").code == 0
