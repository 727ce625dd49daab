"""The tree that the next version is made out of is made ahead, and counts only when it is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, entry, packed, tree_digest, until

from runctl.agent import lock
from runctl.agent.home import Home
from runctl.agent.spare import MANY, Spare
from runctl.agent.worktree import Worktree
from runctl.agent.worktree_manifest import Manifest


def many() -> list[dict[str, Any]]:
    """Enough entries that a spare tree is worth a process; a link and an empty folder among them."""
    files = [entry(f"sub{n % 7}/file{n}", b"same") for n in range(MANY)]
    return [
        *files,
        entry("run.sh", b"#!", executable=True),
        {"path": "link", "type": "link", "target": "run.sh"},
        {"path": "empty", "type": "dir"},
    ]


@pytest.fixture
def worktree(box: AgentBox) -> Worktree:
    box.call("receive", {}, packed(b"same", b"#!", b"new"))
    worktree = Worktree("digits-0001", home=Home(str(box.home)))
    os.makedirs(worktree.path)
    return worktree


def update(worktree: Worktree, entries: list[dict[str, Any]]) -> int:
    return worktree.update(entries, tree_digest(entries))


def content(folder: str) -> dict[str, Any]:
    """Every file with its bytes and mode, every link, every folder."""
    found: dict[str, Any] = {}
    for path in Path(folder).rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = None if path.is_dir() else (path.read_bytes(), path.stat().st_mode)
    return found


def with_spare(worktree: Worktree) -> Spare:
    """The first version is there, and the spare tree that is made after it."""
    update(worktree, many())
    spare = Spare(worktree.path, home=Home(os.path.dirname(os.path.dirname(worktree.path))))
    until(lambda: os.path.exists(spare.file), "a spare tree")
    return spare


def test_the_second_version_goes_on_with_what_was_made_ahead(worktree: Worktree) -> None:
    spare = with_spare(worktree)
    assert content(spare.place) == content(worktree.current)
    folder = os.stat(os.path.join(spare.place, "sub0")).st_ino
    changed = [*(each for each in many() if each["path"] != "sub0/file0"), entry("sub0/file0", b"new")]
    assert update(worktree, changed) == 1
    assert os.stat(os.path.join(worktree.current, "sub0")).st_ino == folder  # the very folder, not one more
    assert not os.path.lexists(spare.place)
    assert not os.path.lexists(spare.file)
    assert worktree.has() == tree_digest(changed)
    assert Path(worktree.current, "sub0/file0").read_bytes() == b"new"
    assert Path(worktree.path, "one/sub0/file0").read_bytes() == b"same"


def test_a_spare_tree_is_as_good_for_a_version_after_the_next(worktree: Worktree) -> None:
    spare = with_spare(worktree)
    manifest = Manifest.read(spare.file)
    assert manifest is not None
    update(worktree, many()[1:])  # takes it
    spare.make(os.path.join(worktree.path, "one"), manifest)
    update(worktree, many()[2:])  # goes on with the other one: no spare is needed
    assert not os.path.lexists(spare.place)
    left = {"current", "one", "one.manifest", "spare.lock", "two", "two.manifest"}
    assert set(os.listdir(worktree.path)) == left


def test_what_the_script_changed_meanwhile_is_put_right(worktree: Worktree) -> None:
    with_spare(worktree)
    Path(worktree.current, "sub1/file1").write_bytes(b"scribbled over")  # the same inode in both trees
    assert worktree.has() == ""
    changed = many()[1:]
    update(worktree, changed)
    assert worktree.has() == tree_digest(changed)
    assert Path(worktree.current, "sub1/file1").read_bytes() == b"same"


def test_half_of_one_does_not_count(worktree: Worktree) -> None:
    spare = with_spare(worktree)
    os.unlink(spare.file)  # as it is before the whole was made
    Path(spare.place, "half").write_bytes(b"")
    update(worktree, many()[1:])
    assert "half" not in content(worktree.current)
    assert worktree.has() == tree_digest(many()[1:])
    assert not os.path.lexists(spare.place)


def test_a_manifest_whose_tree_is_gone_does_not_count(worktree: Worktree) -> None:
    spare = with_spare(worktree)
    os.rename(spare.place, os.path.join(worktree.path, "two"))  # killed between the two renames of taking it
    Path(worktree.path, "two.working").write_bytes(b"")
    update(worktree, many()[1:])
    assert worktree.has() == tree_digest(many()[1:])
    assert not os.path.lexists(spare.file)


@pytest.mark.parametrize("after", [0.0, 0.005, 0.02, 0.05])
def test_killed_while_making_it_the_next_version_is_right(worktree: Worktree, after: float) -> None:
    spare = with_spare(worktree)
    spare.drop()
    program = (
        "import sys; from runctl.agent.home import Home; from runctl.agent.spare import Spare\n"
        "from runctl.agent.worktree_manifest import Manifest\n"
        "path, home = sys.argv[1:]; spare = Spare(path, home=Home(home))\n"
        "print(flush=True); spare.make(path + '/one', Manifest.read(path + '/one.manifest'))\n"
    )
    home = os.path.dirname(os.path.dirname(worktree.path))
    argv = [sys.executable, "-c", program, worktree.path, home]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as making:
        assert making.stdout is not None
        making.stdout.readline()
        time.sleep(after)  # a moment of the work, not a policy
        making.kill()
    update(worktree, many()[1:])
    assert worktree.has() == tree_digest(many()[1:])
    assert not os.path.lexists(spare.place)


def test_a_version_waits_for_whoever_makes_it(worktree: Worktree) -> None:
    spare = with_spare(worktree)
    held = lock.take(spare.lock, seconds=0)
    program = (
        "import sys; from runctl.agent.home import Home; from runctl.agent.spare import Spare\n"
        "print(flush=True); Spare(sys.argv[1], home=Home('/nowhere')).drop()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, worktree.path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=0.2)
        assert os.path.exists(spare.file)
        os.close(held)
        assert other.wait(timeout=20) == 0
    assert not os.path.lexists(spare.place)


def test_few_files_are_not_worth_a_process(worktree: Worktree) -> None:
    update(worktree, many()[:10])
    assert not os.path.lexists(os.path.join(worktree.path, "spare.lock"))
