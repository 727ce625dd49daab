"""One root for a start, the reason with it, and places that are never swallowed whole."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runctl.core.errors import UsageError
from runctl.project.root import find_root, has_table

GIT = ".git/HEAD"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory beside nothing; the places above it are not tmp_path's own children."""
    home = tmp_path / "users" / "me"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


def make(top: Path, *paths: str) -> None:
    for path in paths:
        name, _, text = path.partition("=")
        target = top / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


TABLE = "=[tool.runctl]\n"
CASES = [
    # name, files below the home, start, expected root, part of the reason
    (
        "nearest own file",
        ["p/.runctl.toml", "p/a/.runctl.toml", "p/a/b/x"],
        "p/a/b",
        "p/a",
        ".runctl.toml is here",
    ),
    ("table in pyproject", [f"p/pyproject.toml{TABLE}", "p/a/x"], "p/a", "p", "[tool.runctl]"),
    ("own file above git", ["p/.runctl.toml", f"p/sub/{GIT}", "p/sub/a/x"], "p/sub/a", "p", ".runctl.toml"),
    (
        "own file below git",
        [f"p/{GIT}", "p/sub/.runctl.toml", "p/sub/a/x"],
        "p/sub/a",
        "p/sub",
        ".runctl.toml",
    ),
    ("git before packages", [f"p/{GIT}", "p/a/requirements.txt", "p/a/b/x"], "p/a/b", "p", "git"),
    ("nearest git", [f"p/{GIT}", f"p/vendor/{GIT}", "p/vendor/a/x"], "p/vendor/a", "p/vendor", "git"),
    ("an empty .git is none", ["p/.git/description", "p/a/setup.py"], "p/a", "p/a", "setup.py"),
    ("a stray .git file is none", ["p/.git=hello", "p/a/setup.py"], "p/a", "p/a", "setup.py"),
    (
        "nearest package file",
        ["p/pyproject.toml", "p/a/requirements.txt", "p/a/b/x"],
        "p/a/b",
        "p/a",
        "requirements.txt",
    ),
    (
        "pyproject without the table",
        ["p/pyproject.toml=[tool.ruff]\n", "p/a/x"],
        "p/a",
        "p",
        "pyproject.toml",
    ),
    ("nothing", ["p/a/x"], "p/a", "p/a", "nothing above marks a project"),
    ("dotfiles at home", [GIT, "p/a/x"], "p/a", "p/a", "nothing"),
    ("requirements at home", ["requirements.txt", "p/a/x"], "p/a", "p/a", "nothing"),
    ("settings at home, from below", [".runctl.toml", "p/a/x"], "p/a", "p/a", "nothing"),
    ("settings at home, from home", [".runctl.toml"], "", "", ".runctl.toml is here"),
    ("a folder is no marker", ["p/.runctl.toml/x", "p/requirements.txt/x", "p/a/x"], "p/a", "p/a", "nothing"),
]


@pytest.mark.parametrize(
    ("files", "start", "expected", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_table_of_roots(home: Path, files: list[str], start: str, expected: str, reason: str) -> None:
    make(home, *files)
    root = find_root(home / start)
    assert root.path == home / expected
    assert reason in root.reason
    assert root.looked_at[0] == home / start
    assert (root.marker is None) == ("nothing" in root.reason)


def test_the_same_answer_for_every_script_of_a_project(home: Path) -> None:
    make(home, f"p/{GIT}", "p/training/train.py", "p/data/prepare.py")
    roots = {
        find_root(home / "p").path,
        find_root(home / "p/training").path,
        find_root(home, script=Path("p/training/train.py")).path,
        find_root(Path("/"), script=home / "p/data/prepare.py").path,
    }
    assert roots == {home / "p"}


def test_asked_once_for_a_place(home: Path) -> None:
    make(home, "p/requirements.txt", "p/a/x")
    first = find_root(home / "p/a")
    assert find_root(home / "p/a") is first
    assert find_root(home / "p/./a") is first


def test_home_itself_is_nobodys_project(home: Path) -> None:
    make(home, GIT, "requirements.txt", "train.py")
    root = find_root(home, script=Path("train.py"))
    assert root.path == home
    assert root.alone
    assert "your home directory" in root.reason
    assert any("requirements.txt" in passed for passed in root.passed_over)
    assert any(".git" in passed for passed in root.passed_over)
    assert not find_root(home / "p").alone


def test_the_root_of_the_file_system_and_tmp_are_nobodys_project(home: Path) -> None:
    assert find_root(Path("/")).alone
    assert find_root(Path("/tmp")).alone
    assert find_root(home.parent).alone  # above the home


def test_a_linked_worktree_is_a_root(home: Path) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    person = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for argv in (
        ["init", "-q", "main"],
        ["-C", "main", *person, "commit", "-q", "--allow-empty", "-m", "x"],
        ["-C", "main", "worktree", "add", "-q", "../tree"],
    ):
        subprocess.run(["git", *argv], cwd=home, env=environment, check=True, capture_output=True)
    make(home, "tree/a/x")
    assert (home / "tree" / ".git").is_file()
    assert find_root(home / "tree/a").path == home / "tree"


def test_reached_through_a_link_it_is_the_real_folder(home: Path) -> None:
    make(home, "real/.runctl.toml", "real/a/x")
    (home / "link").symlink_to("real")
    assert find_root(home / "link/a").path == home / "real"


def test_a_link_out_of_a_repository_leads_to_the_project_that_is_there(home: Path) -> None:
    make(home, f"repo/{GIT}", "other/setup.py", "other/a/x")
    (home / "repo/link").symlink_to("../other/a")
    assert find_root(home / "repo/link").path == home / "other"


def test_a_link_within_a_repository_stays_in_it(home: Path) -> None:
    make(home, f"repo/{GIT}", "repo/src/setup.py", "repo/src/a/x")
    (home / "repo/link").symlink_to("src/a")
    assert find_root(home / "repo/link").path == home / "repo"


def test_dots_after_a_link_go_where_the_system_goes(home: Path) -> None:
    make(home, "one/setup.py", "one/x/y", "two/setup.py", "two/a/x")
    (home / "one/link").symlink_to("../two/a")
    assert find_root(home / "one/link/..").path == home / "two"
    assert find_root(home / "one", script=Path("link/../train.py")).path == home / "two"


def test_an_explicit_root_is_taken_as_it_is(home: Path) -> None:
    make(home, f"p/{GIT}", "p/a/x")
    root = find_root(home / "p", explicit=Path("a"))
    assert (root.path, root.marker, root.alone) == (home / "p/a", None, False)
    with pytest.raises(UsageError) as caught:
        find_root(home, explicit=Path("missing"))
    assert caught.value.code == "root-not-found"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[tool.runctl]\n", True),
        ("[ tool . runctl ]\n", True),
        ('[tool."runctl"]\n', True),
        ("[tool.runctl.env]\nA = 'b'\n", True),
        ("tool.runctl.target = 'local'\n", True),
        ("[tool]\nrunctl = {}\n", True),
        ("[tool.ruff]\n# [tool.runctl]\n", False),
        ("name = '[tool.runctl]'\n", False),
        ("[tool.runctlx]\n", False),
        ("[project]\ndependencies = ['runctl']\n", False),
        ("[tool.runctl]\nbroken = \n", True),
        ("", False),
    ],
)
def test_which_pyproject_has_the_table(text: str, expected: bool) -> None:
    assert has_table(text.encode()) is expected
