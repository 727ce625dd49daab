"""What git wrote is read as git reads it: index versions, worktrees, submodules, configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runctl.project.gitrepo import Repository, read_index, repository_at

ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
PERSON = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
NAMES = [
    "a",
    "a-b",
    "dir/x",
    "dir/y y",
    "dir2/é",
    "new\nline",
    "z" * 250,
    "dir/" + "q" * 200,
]


def git(cwd: Path, *args: str) -> bytes:
    return subprocess.run(["git", *args], cwd=cwd, env=ENV, check=True, capture_output=True).stdout


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "p"
    for name in NAMES:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    return top


def repository(top: Path) -> Repository:
    found = repository_at(str(top), ENV)
    assert found is not None
    return found


def tracked_by_git(top: Path) -> list[str]:
    return sorted(path.decode("latin-1") for path in git(top, "ls-files", "-z").split(b"\0") if path)


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("format_", ["sha1", "sha256"])
def test_the_index_of_every_version(top: Path, version: int, format_: str) -> None:
    git(top, "init", "-q", f"--object-format={format_}")
    git(top, "add", "-A")
    git(top, "update-index", "--index-version", str(version))
    if version == 3:  # git writes it only when an entry has extended flags
        (top / "later").write_text("x")
        git(top, "add", "-N", "later")
    data = (top / ".git/index").read_bytes()
    assert data[7] == version
    found = repository(top)
    assert found.tracked == tracked_by_git(top)
    assert sorted(read_index(data, hash_bytes=32 if format_ == "sha256" else 20)) == found.tracked
    assert found.is_tracked("dir/x")
    assert not found.is_tracked("dir")
    assert found.holds_tracked("dir")
    assert not found.holds_tracked("di")
    assert not found.holds_tracked("dir/x")


def test_a_split_index_is_left_to_git(top: Path) -> None:
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "update-index", "--split-index")
    (top / "later").write_text("x")
    git(top, "add", "later")
    with pytest.raises(ValueError, match=r"split|without a name"):
        read_index((top / ".git/index").read_bytes(), hash_bytes=20)
    found = repository(top)
    assert found.tracked == tracked_by_git(top)
    assert "later" in found.tracked


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DIRC",
        b"DIRC\0\0\0\2\0\0\0\7",
        b"XXXX\0\0\0\2\0\0\0\0",
    ],
)
def test_a_broken_index_is_a_problem_not_a_crash(top: Path, data: bytes) -> None:
    git(top, "init", "-q")
    (top / ".git/index").write_bytes(data)
    found = repository(top)
    assert found.tracked == []
    assert "git" in found.problem


def test_without_an_index_nothing_is_tracked(top: Path) -> None:
    git(top, "init", "-q")
    found = repository(top)
    assert (found.tracked, found.problem) == ([], "")


def test_a_worktree_has_its_own_index_and_the_common_excludes(top: Path) -> None:
    git(top, "init", "-q")
    git(top, "add", "a")
    git(top, *PERSON, "commit", "-q", "-m", "x")
    (top / ".git/info/exclude").write_text("*.common\n")
    git(top, "worktree", "add", "-q", "../tree")
    tree = top.parent / "tree"
    (tree / "only-here").write_text("x")
    git(tree, "add", "only-here")
    found = repository(tree)
    assert found.tracked == ["a", "only-here"]
    assert [rule.pattern for rules in found.exclude_files() for rule in rules.rules] == ["*.common"]


def test_a_submodule_is_a_repository_and_one_tracked_path(top: Path) -> None:
    other = top.parent / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "f").write_text("x")
    git(other, "add", "f")
    git(other, *PERSON, "commit", "-q", "-m", "x")
    git(top, "init", "-q")
    git(top, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "sub")
    assert repository(top).is_tracked("sub")
    assert (top / "sub/.git").is_file()
    assert repository(top / "sub").tracked == ["f"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[core]\n\texcludesFile = /x/y\n", "/x/y"),
        ('[core]\nexcludesfile = "/x/y z" # note\n', "/x/y z"),
        ("[CORE] ExcludesFile=/x\n", "/x"),
        ('[core]\nexcludesfile = "/x\\"y"\n', '/x"y'),
        ('[core "sub"]\nexcludesfile = /no\n', None),
        ("[other]\nexcludesfile = /no\n", None),
        ("[core]\nexcludesfile = /one\nexcludesfile = /two\n", "/two"),
        ("nonsense\n[core\n", None),
    ],
)
def test_the_configuration_is_read_as_git_reads_it(top: Path, text: str, expected: str | None) -> None:
    git(top, "init", "-q")
    (top / ".git/config").write_text(text)
    assert repository(top)._setting("core.excludesfile") == expected
    if "nonsense" not in text:
        done = subprocess.run(
            ["git", "config", "-f", ".git/config", "core.excludesfile"],
            cwd=top,
            env=ENV,
            capture_output=True,
            check=False,
        )
        assert done.stdout.decode().rstrip("\n") == (expected or "")
