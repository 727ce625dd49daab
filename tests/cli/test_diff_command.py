"""``runctl diff``: two runs side by side, and nothing that is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import World

SCRIPT = "import sys\nprint(sys.argv[1:])\n"


@pytest.fixture
def project(world: World) -> Path:
    return world.project({"train.py": SCRIPT, "lib.py": "x = 1\n", "old.py": "", ".runctl.toml": ""})


def train(world: World, project: Path, *args: str) -> str:
    done = world.runctl("train", "train.py", "--json", "--", *args, cwd=project)
    assert done.code == 0, done.err
    return str(next(event["plan"]["name"] for event in done.events() if event["kind"] == "run.planned"))


def test_the_same_twice_differs_in_nothing_that_was_asked_for(world: World, project: Path) -> None:
    one, other = train(world, project, "--lr", "1"), train(world, project, "--lr", "1")
    found = world.runctl("diff", one, other, "--json").json()
    assert (found["one"], found["other"], found["files"]) == (one, other, None)
    assert {row["what"] for row in found["differs"]} <= {"seconds"}


def test_arguments_and_files_are_named(world: World, project: Path) -> None:
    one = train(world, project, "--lr", "1")
    (project / "lib.py").write_text("x = 2\n")
    (project / "new.py").write_text("")
    (project / "old.py").unlink()
    other = train(world, project, "--lr", "2")
    shown = world.runctl("diff", one, other)
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert one in lines[0]
    assert other in lines[0]
    (arguments,) = [line.split() for line in lines if line.startswith("arguments")]
    assert arguments == ["arguments", "--lr", "1", "--lr", "2"]
    assert lines[lines.index("files, from the first to the second:") + 1 :] == [
        "  ~ lib.py", "  + new.py", "  - old.py",
    ]  # fmt: skip
    assert not any(line.startswith(("script", "project", "target")) for line in lines)
    found = world.runctl("diff", other, one, "--json").json()
    assert found["files"] == {"changed": ["lib.py"], "added": ["old.py"], "removed": ["new.py"]}


def test_the_tree_goes_with_the_last_run_that_had_it(world: World, project: Path) -> None:
    one, other = train(world, project), train(world, project)
    trees = world.home / ".local/state/runctl/trees"
    assert len(list(trees.iterdir())) == 1
    world.runctl("rm", one, "--yes")
    assert len(list(trees.iterdir())) == 1
    world.runctl("rm", other, "--yes")
    assert list(trees.iterdir()) == []


def test_a_tree_that_is_gone_is_said(world: World, project: Path) -> None:
    one = train(world, project)
    (project / "lib.py").write_text("x = 2\n")
    other = train(world, project)
    for path in (world.home / ".local/state/runctl/trees").iterdir():
        path.unlink()
    assert "which files differ is not known" in world.runctl("diff", one, other).out


def test_a_run_that_is_not_there(world: World, project: Path) -> None:
    done = world.runctl("diff", "nothing", "latest", cwd=project)
    assert (done.code, "error[run-not-found]" in done.err) == (2, True)
