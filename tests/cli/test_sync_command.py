"""``runctl sync``: what it prints, what it does, and that a dry run does nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.agentbox import until

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture
def project(world: World) -> Path:
    top = world.project(
        {
            "train.py": "print(1)\n",
            "pkg/a.py": "a = 1\n",
            ".gitignore": "*.log\n",
            "x.log": "x",
            ".env": "KEY=1",
        }
    )
    (top / ".git").mkdir()
    return top


def current(world: World) -> Path:
    (found,) = (world.machine / "projects").glob("*/current")
    return found


def everything(*places: Path) -> list[str]:
    return sorted(os.fspath(path) for place in places for path in place.rglob("*"))


def test_the_receipt_says_what_happened(world: World, project: Path) -> None:
    first = world.runctl("sync", "local", cwd=project)
    assert first.code == 0, first.err
    told = {line.split()[0]: line for line in first.out.splitlines()}
    assert "3 files" in told["sent"]
    assert "looks like a secret" in first.out
    assert "1 path by *.log (.gitignore:1)" in first.out
    assert (current(world) / "pkg" / "a.py").read_text() == "a = 1\n"
    assert not (current(world) / "x.log").exists()
    again = world.runctl("sync", "local", "--json", cwd=project).json()
    assert (again["wire"], again["written"], again["sent_files"]) == (0, 0, 0)
    assert again["tree"] in first.out
    assert again["path"] == os.fspath(current(world))
    (project / "pkg" / "a.py").unlink()
    (project / "pkg").rmdir()
    third = world.runctl("sync", "local", "--json", cwd=project).json()
    assert third["tree"] != again["tree"]
    assert not (current(world) / "pkg").exists()


def test_a_dry_run_tells_everything_and_writes_nothing(world: World, project: Path) -> None:
    before = everything(world.root)
    told = world.runctl("sync", "local", "--dry-run", cwd=project)
    assert told.code == 0, told.err
    assert "> send 3 files" in told.out
    assert "- stays x.log  *.log (.gitignore:1)" in told.out
    assert ".env looks like a secret" in told.out
    assert everything(world.root) == before
    world.runctl("sync", "local", cwd=project)
    assert "nothing to send" in world.runctl("sync", "local", "-n", cwd=project).out
    (project / "train.py").rename(project / "moved.py")
    would = world.runctl("sync", "local", "-n", "--json", cwd=project).json()
    assert (would["sends"], would["removes"]) == ([], ["train.py"])
    (project / "big.bin").write_bytes(os.urandom(60_000_000))
    assert (
        "! big.bin, 60.0 MB, is new and not ignored" in world.runctl("sync", "local", "-n", cwd=project).out
    )


def test_why(world: World, project: Path) -> None:
    assert (
        "x.log stays: *.log (.gitignore:1)"
        in world.runctl("sync", "local", "--why", "x.log", cwd=project).out
    )


def test_a_target_that_is_none(world: World, project: Path) -> None:
    got = world.runctl(
        "sync", "nowhere", "--json", cwd=project, AWS_ACCESS_KEY_ID="", AWS_EC2_METADATA_DISABLED="true"
    )
    assert got.code != 0
    assert json.loads(got.out.splitlines()[-1])["error"]["code"] in (
        "unknown-target",
        "aws-no-credentials",
        "aws-no-region",
    )


def test_watching_sends_what_changes_until_it_is_told_to_stop(world: World, project: Path) -> None:
    watcher = subprocess.Popen(
        world.argv("sync", "local", "--watch", "--json"),
        cwd=project,
        env=world.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    try:
        first = json.loads(watcher.stdout.readline())
        (project / "pkg" / "a.py").write_text("a = 2\n")
        second = json.loads(watcher.stdout.readline())
        assert second["tree"] != first["tree"]
        assert (current(world) / "pkg" / "a.py").read_text() == "a = 2\n"
        watcher.send_signal(2)
        out, err = watcher.communicate(timeout=20)
    finally:
        watcher.kill()
        watcher.wait()
    assert watcher.returncode == 0, (out, err)
    until(lambda: "no longer watching" in err, "it says so", 1)
