"""`--image` with a real podman: as any other run, but for where the files come from."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import alive, until
from tests.containerbox import IMAGE, engine_or_skip

from runctl.agent.image import reason

RUNCTL = str(Path(sys.executable).parent / "runctl")
WAITS = """
import os, signal, sys, time
def end(number, frame):
    print("told to end", flush=True)
    sys.exit(0)
if os.environ.get("STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, end)
print("ready", os.getpid(), flush=True)
while True:
    time.sleep(1)
"""
TELLS = """
import json, os, sys
from pathlib import Path
Path(os.environ["RUNCTL_OUTPUT_DIR"], "left").write_text("behind")
Path("beside.txt").write_text("in the tree")
print(json.dumps({"made_of": Path("/etc/made-of").read_text(), "args": sys.argv[1:], "env": dict(os.environ)}))
sys.exit(3)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which podman has the image; skips where it cannot run one."""
    return engine_or_skip(tmp_path_factory.mktemp("podman"))


class Box:
    """A project, a home and a state folder."""

    def __init__(self, folder: Path, engine: dict[str, str]) -> None:
        self.project, self.home = folder / "project", folder / "home"
        self.project.mkdir()
        (self.project / ".runctl.toml").touch()
        self.env = os.environ | engine
        self.env |= {"RUNCTL_HOME": str(self.home), "RUNCTL_STATE_DIR": str(folder / "state")}

    def call(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RUNCTL, *argv],
            cwd=self.project,
            env=self.env | more,
            capture_output=True,
            text=True,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        (path,) = self.home.glob("runs/*/status.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def output(self) -> str:
        return "".join(path.read_text() for path in self.home.glob("runs/*/output.log"))

    def containers(self) -> list[str]:
        """Those of the runs of this home: other tests have theirs beside them."""
        argv = ["podman", "ps", "--all", "--format", '{{ index .Labels "runctl.run" }}']
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=True)
        ours = {path.name for path in self.home.glob("runs/*")}
        return [run for run in done.stdout.split() if run in ours]


@pytest.fixture
def box(tmp_path: Path, engine: dict[str, str]) -> Iterator[Box]:
    made = Box(tmp_path, engine)
    yield made
    for path in made.home.glob("runs/*"):
        made.call("cancel", path.name, "--grace", "0")


def test_the_script_runs_in_the_image_and_its_exit_status_is_the_runs(box: Box) -> None:
    (box.project / "train.py").write_text(TELLS)
    done = box.call(
        "train", "train.py", "--image", IMAGE, "--env-from", "TOKEN", "--", "--n", "1", TOKEN="tell-nobody"
    )
    assert done.returncode == 1, done.stderr
    told = json.loads(box.output())
    status = box.status()
    assert (told["made_of"], told["args"]) == ("an image\n", ["--n", "1"])
    assert told["env"]["TOKEN"] == "tell-nobody"
    assert told["env"]["RUNCTL_RUN_ID"] == status["run"]
    assert (status["exit_code"], status["reason"]) == (3, "exit status 3")
    folder = box.home / "runs" / status["run"]
    assert (folder / "outputs/left").read_text() == "behind"
    assert (folder / "code/beside.txt").read_text() == "in the tree"
    assert "tell-nobody" not in (folder / "status.json").read_text() + (folder / "events.jsonl").read_text()
    assert not box.containers()


def test_no_secret_stands_in_the_engines_command(box: Box) -> None:
    (box.project / "train.py").write_text(WAITS)
    box.call("train", "train.py", "--image", IMAGE, "--env-from", "TOKEN", "-d", TOKEN="tell-nobody")
    until(lambda: "ready" in box.output(), "a script that is ready")
    lines = [path.read_bytes() for path in _commands()]
    assert any(b"--name\0runctl-" in line for line in lines)
    assert not any(b"tell-nobody" in line for line in lines)


@pytest.mark.parametrize(("stubborn", "exit_code"), [("", 0), ("1", 137)])
def test_a_cancel_ends_the_script_and_takes_the_container_away(
    box: Box, stubborn: str, exit_code: int
) -> None:
    (box.project / "train.py").write_text(WAITS)
    box.call("train", "train.py", "--image", IMAGE, "-d", "--env", f"STUBBORN={stubborn}")
    until(lambda: "ready" in box.output(), "a script that is ready")
    box.call("cancel", "latest", "--grace", "1")
    until(lambda: box.status()["state"] == "ended", "an end")
    assert (box.status()["outcome"], box.status()["exit_code"]) == ("cancelled", exit_code)
    assert ("told to end" in box.output()) is not bool(stubborn)
    assert not box.containers()


def test_a_run_whose_supervisor_was_killed_is_found_and_ended(box: Box) -> None:
    (box.project / "train.py").write_text(WAITS)
    box.call("train", "train.py", "--image", IMAGE, "-d")
    until(lambda: "ready" in box.output(), "a script that is ready")
    before = until(lambda: box.status()["pid"] and box.status(), "a pid")
    os.kill(before["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: not alive(before["supervisor"]["pid"]), "a dead supervisor")
    assert alive(before["pid"])
    box.call("cancel", "latest", "--grace", "1")
    until(lambda: box.status()["state"] == "ended", "an end")
    assert box.status()["outcome"] == "cancelled"
    assert not alive(before["pid"])
    assert not box.containers()


def test_a_container_whose_supervisor_died_before_it_knew_its_process_is_found_by_name(
    box: Box, tmp_path: Path
) -> None:
    """The engine does not say the pid as long as a file is there; then supervisor and engine are killed."""
    slow = tmp_path / "slow"
    slow.touch()
    shim = tmp_path / "bin/podman"
    shim.parent.mkdir()
    real = shutil.which("podman")
    shim.write_text(
        f'#!/bin/sh\nwhile [ "$1" = inspect ] && [ -e {slow} ]; do sleep 0.1; done\nexec {real} "$@"\n'
    )
    shim.chmod(0o755)
    box.env["PATH"] = f"{shim.parent}:{box.env['PATH']}"
    (box.project / "train.py").write_text(WAITS)
    box.call("train", "train.py", "--image", IMAGE, "-d")
    until(lambda: "ready" in box.output(), "a script that is ready")
    before = box.status()
    assert before["pid"] is None
    script = int(box.output().split()[1])
    supervisor = before["supervisor"]["pid"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for pid in (supervisor, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(supervisor), "a dead supervisor")
    slow.unlink()
    assert alive(script)
    shown = json.loads(box.call("show", "latest", "--json").stdout)
    assert (shown["state"], shown["outcome"]) == ("running", None)
    box.call("cancel", "latest", "--grace", "1")
    until(lambda: box.status()["state"] == "ended", "an end")
    assert box.status()["outcome"] == "cancelled"
    assert not alive(script)
    assert not box.containers()


def test_a_kept_plan_holds_the_image(box: Box) -> None:
    (box.project / "train.py").write_text(TELLS)
    plan = str(box.project.parent / "kept.json")
    assert box.call("plan", "train.py", "--image", IMAGE, "-o", plan).returncode == 0
    kept = json.loads(Path(plan).read_text())
    kept["plan"]["image"] = "other:1"
    Path(plan).write_text(json.dumps(kept))
    done = box.call("apply", plan)
    assert "error[plan-drifted]" in done.stderr
    assert f"image: was other:1, is {IMAGE}" in " ".join(done.stderr.split())


def test_the_plan_names_image_and_engine(box: Box) -> None:
    (box.project / "train.py").write_text(TELLS)
    done = box.call("train", "train.py", "--image", IMAGE, "--dry-run")
    assert f"environment from image {IMAGE}" in done.stdout
    assert "podman" in done.stdout
    assert not box.home.exists()


def test_an_engine_that_is_not_there_is_said_before_anything_is_written(box: Box, tmp_path: Path) -> None:
    (box.project / "train.py").write_text(TELLS)
    done = box.call("train", "train.py", "--image", IMAGE, PATH=str(tmp_path))
    assert done.returncode == 8
    assert "container-engine-missing" in done.stderr
    assert not (box.home / "runs").exists()


def test_an_image_cannot_be_waited_for_in_the_background(box: Box) -> None:
    (box.project / "train.py").write_text(TELLS)
    done = box.call("train", "train.py", "--image", IMAGE, "--deps", "background")
    assert done.returncode == 2
    assert "image-deps" in done.stderr


def test_a_registry_that_nobody_is_at_is_tried_again_and_named(box: Box) -> None:
    (box.project / "train.py").write_text(TELLS)
    done = box.call("train", "train.py", "--image", "127.0.0.1:9/nobody:1")
    assert done.returncode == 8
    assert "image-network" in done.stderr
    assert box.status()["error"]["code"] == "image-network"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("manifest for python:9 not found: manifest unknown: manifest unknown", "image-missing"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            "image-refused",
        ),
        ("no basic auth credentials", "image-refused"),
        ("write /var/lib/docker/x: no space left on device", "disk-full"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", "image-network"),
        ("something else", "image-not-pulled"),
    ],
)
def test_what_an_engine_says_of_a_pull_has_a_code(words: str, code: str) -> None:
    assert reason(words) == code


def _commands() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
