"""The machine's side, broken under `runctl`: blobs, the agent's file, run folders, supervisors, disks, environments."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.agentbox import alive, until
from tests.conftest import World
from tests.worstday import PATIENCE, WAITS, Clients, processes_of, require_a_wheel, runs, status_of


@pytest.fixture
def project(world: World) -> Path:
    return world.project({"t.py": WAITS, "q.py": "print(open('d.txt').read())", "d.txt": "data " * 9})


@pytest.fixture
def gate(world: World) -> Path:
    return world.root / "gate"


def test_a_bit_that_flipped_stops_the_run_and_is_repaired(world: World, project: Path) -> None:
    assert world.runctl("train", "q.py", cwd=project).code == 0
    digest = hashlib.sha256((project / "d.txt").read_bytes()).hexdigest()
    blob = world.machine / "blobs" / digest[:2] / digest
    body = bytearray(blob.read_bytes())
    body[3] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(body)
    done = world.runctl("train", "q.py", cwd=project)
    assert (done.code, done.out) == (9, "")
    assert "error[blob-corrupt]" in done.err
    again = world.runctl("train", "q.py", cwd=project)
    assert (again.code, again.out) == (0, "data " * 9 + "\n"), again.err


@pytest.mark.parametrize("body", [b"", b"import ((("])
def test_an_agent_file_that_is_damaged_is_sent_again(world: World, project: Path, body: bytes) -> None:
    assert world.runctl("train", "q.py", cwd=project).code == 0
    for agent in (world.machine / "agent").iterdir():  # itself, and what of it is compiled
        agent.chmod(0o600)
        agent.write_bytes(body)
    for args in (("train", "q.py"), ("logs", "latest")):
        done = world.runctl(*args, cwd=project)
        assert (done.code, done.out) == (0, "data " * 9 + "\n"), done.err


@pytest.mark.parametrize("by", ["somebody", "the script itself"])
def test_a_run_folder_deleted_under_its_run_ends_the_run(
    world: World, clients: Clients, project: Path, gate: Path, by: str
) -> None:
    if by == "the script itself":
        itself = "import os, shutil\nshutil.rmtree(os.path.dirname(os.environ['RUNCTL_CHECKPOINT_DIR']))"
        (project / "t.py").write_text(f"print('ready', flush=True)\n{itself}\nimport time; time.sleep(600)")
        client = clients.start("train", "t.py", cwd=project)
    else:
        client = clients.start("train", "t.py", "--", str(gate), cwd=project)
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        shutil.rmtree(next((world.machine / "runs").iterdir()))
    _, err = client.communicate(timeout=PATIENCE)
    assert client.returncode == 2
    assert b"error[run-unknown]" in err
    until(lambda: not processes_of(world), "script and supervisor are gone")
    (run,) = runs(world)
    assert run["state"] == "lost"
    shown = world.runctl("show", run["name"])
    assert f"runctl rm {run['name']}" in shown.out
    assert world.runctl("cancel", run["name"]).code == 2
    assert world.runctl("rm", "--yes", run["name"]).code == 0
    assert runs(world) == []


@pytest.mark.parametrize("how", ["deleted", "truncated"])
def test_an_output_that_somebody_spoiled_is_said(
    world: World, clients: Clients, project: Path, gate: Path, how: str
) -> None:
    name, folder = clients.detached(project, "t.py", str(gate))
    client = clients.start("attach", name)
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    if how == "deleted":
        (folder / "output.log").unlink()
    else:
        os.truncate(folder / "output.log", 0)
    gate.touch()
    out, err = client.communicate(timeout=PATIENCE)
    assert (client.returncode, out) == (0, b"done\n")
    assert f"output.log was {how} on the machine".encode() in err
    logs = world.runctl("logs", name)
    assert (logs.code, logs.out) == (0, "" if how == "deleted" else "done\n")
    assert ("was deleted" in logs.err) == (how == "deleted")


def test_a_machine_that_was_switched_off(world: World, clients: Clients, project: Path, gate: Path) -> None:
    name, folder = clients.detached(project, "t.py", str(gate))
    client = clients.start("attach", name)
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    status = status_of(folder)
    for pid in (status["supervisor"]["pid"], status["pid"]):
        os.kill(pid, signal.SIGKILL)
    _, err = client.communicate(timeout=PATIENCE)
    assert client.returncode == 9
    assert b"error[agent-died]" in err
    assert f"runctl checkpoint list {name}".encode() in err
    (run,) = runs(world)
    assert (run["state"], run["outcome"], run["exit_code"]) == ("ended", "failed", None)
    assert world.runctl("logs", name).out == "ready\n"
    assert world.runctl("attach", name).code == 9
    assert world.runctl("cancel", name).code == 0
    resumed = world.runctl("train", "t.py", "--resume", name, "--", str(gate), cwd=project)
    assert "error[checkpoint-none]" in resumed.err
    assert world.runctl("rm", "--yes", name).code == 0
    assert runs(world) == []


def test_a_supervisor_that_was_stopped_still_hears_a_cancel(
    world: World, clients: Clients, project: Path, gate: Path
) -> None:
    name, folder = clients.detached(project, "t.py", str(gate))
    status = status_of(folder)
    os.kill(status["supervisor"]["pid"], signal.SIGSTOP)
    assert runs(world)[0]["state"] == "running"
    done = world.runctl("cancel", name, "--grace", "1")
    assert done.code == 0, done.err
    assert runs(world)[0]["outcome"] == "cancelled"
    until(lambda: not alive(status["pid"]), "the script is gone")


def test_a_supervisor_that_was_killed_and_a_script_that_goes_on(
    world: World, clients: Clients, project: Path, gate: Path
) -> None:
    name, folder = clients.detached(project, "t.py", str(gate))
    status = status_of(folder)
    os.kill(status["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: runs(world)[0]["reason"] == "unsupervised", "that is noticed")
    assert runs(world)[0]["state"] == "running"
    assert world.runctl("cancel", name, "--grace", "1").code == 0
    assert runs(world)[0]["outcome"] == "cancelled"
    until(lambda: not alive(status["pid"]), "the script is gone")


@pytest.mark.parametrize("home", ["/proc/nowhere/x", "{root}/project/d.txt", "/tmp/" + "a" * 300])
def test_a_machine_home_that_cannot_be(world: World, project: Path, home: str) -> None:
    done = world.runctl("train", "q.py", cwd=project, RUNCTL_HOME=home.format(root=world.root))
    assert done.code == 3
    assert "error[machine-home-not-writable]" in done.err
    assert runs(world) == []


@pytest.mark.parametrize("size", ["16k", "64k", "128k", "400k"])
def test_a_machine_whose_disk_is_full_says_so(world: World, project: Path, size: str) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounts need root")
    disk = world.root / "disk"
    disk.mkdir()
    line = f'mount -t tmpfs -o size={size} none {disk} && RUNCTL_HOME={disk} exec "$0" "$@"'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", line, *world.argv("train", "q.py")],
        cwd=project, env=world.env, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 3, 4, 9)
    assert done.returncode == 0 or "error[disk-full]" in done.stderr
    assert (done.stdout == "data " * 9 + "\n") == (done.returncode == 0)
    until(lambda: not processes_of(world), "no process is left")


def test_an_environment_that_lost_a_package_is_seen_in_the_scripts_own_words(
    world: World, project: Path
) -> None:
    require_a_wheel(world, project)
    (project / "q.py").write_text("import tiny; print(tiny.__version__)")
    done = world.runctl("train", "q.py", cwd=project)
    assert (done.code, done.out) == (0, "1.0\n"), done.err
    (package,) = (world.machine / "envs").glob("*/lib/*/site-packages/tiny")
    shutil.rmtree(package)
    done = world.runctl("train", "q.py", cwd=project)
    assert done.code == 1
    assert "ModuleNotFoundError: No module named 'tiny'" in done.out
