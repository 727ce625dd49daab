"""Real git decides what is right: trees and ignore files are generated, and the answers compared."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runctl.project.files import explain, list_files
from runctl.project.ignore import bytewise, parse
from runctl.project.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator

ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}
PIECES = (
    *("a", "b", "A", ".", "-", "é", "a", "b"),
    *("*", "**", "?", "/", "/", "**/", "/**", "/**/", "*.b"),
    *(
        "[ab]",
        "[!a]",
        "[^b]",
        "[a-b]",
        "[b-a]",
        "[a-",
        "[]a]",
        "[[:alpha:]]",
        "[[:foo:]]",
        "[[:",
        "[[a]",
        "[a\\]]",
    ),
    *("]", "[", "\\", "\\*", "\\a", "!", "#", " ", "\\ ", "\t"),
)
NAMES = st.text(alphabet="abA.-é[ *\\", min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..") and not name.lower().startswith(".git")
)
PATTERNS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
IGNORE_FILES = st.lists(PATTERNS, min_size=1, max_size=8).map("\n".join)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
QUIET = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def git(*args: str, cwd: Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["git", *args], cwd=cwd, env=ENV, input=stdin, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bare_repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        git("init", "-q", cwd=Path(folder))
        yield Path(folder)


@settings(QUIET, max_examples=200)
@given(st.lists(PATTERNS, min_size=1, max_size=15), st.lists(PATHS, min_size=10, max_size=40, unique=True))
@example(["a**/b", "a**b", "**a/b"], ["ab", "a/b", "aa/b", "aa/a/b", "b/a/b", "acb"])
@example(["é", "?b", "[é]b", "??b"], ["é", "éb", "ab", "é/b"])
@example(["a ", "b\\ ", "\\#a", "\\!b", "#b", "!a\t"], ["a", "a ", "b ", "b", "#a", "!b", "#b", "a\t"])
def test_each_pattern_means_what_it_means_to_git(
    bare_repository: Path, patterns: list[str], paths: list[str]
) -> None:
    data = ("\n".join(patterns) + "\n").encode()
    (bare_repository / ".gitignore").write_bytes(data)
    asked = "\0".join(paths).encode()
    answer = git("check-ignore", "--no-index", "--stdin", "-z", "-v", "-n", cwd=bare_repository, stdin=asked)
    fields = answer.split(b"\0")[:-1]
    expected = {fields[i + 3].decode(): fields[i + 1].decode() for i in range(0, len(fields), 4)}
    rules = parse(data, origin=".gitignore")
    for path in paths:
        found = None
        parts = bytewise(path).split("/")
        for depth in range(1, len(parts) + 1):
            found = rules.match(parts[depth - 1], "/".join(parts[:depth]), depth < len(parts))
            if found is not None and not found.negated:
                break  # git never looks below an excluded folder
        line = "" if found is None else found.origin.rpartition(":")[2]
        assert line == expected[path], (path, found)


TREES = st.fixed_dictionaries(
    {
        "files": st.lists(PATHS, min_size=1, max_size=12, unique=True),
        "ignore": st.dictionaries(st.sampled_from(["", "a", "b", "a/b", "A"]), IGNORE_FILES, max_size=3),
        "exclude": st.one_of(st.just(""), IGNORE_FILES),
        "own": st.one_of(st.just(""), IGNORE_FILES),
        "tracked": st.lists(st.integers(0, 11), max_size=3),
    }
)


def build(top: Path, tree: dict[str, Any]) -> None:
    """The generated tree on disk; a name that cannot be both file and folder is the one that came first."""
    for path in tree["files"]:
        target = top / path
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("x")
    for folder, text in tree["ignore"].items():
        if (top / folder).is_dir():
            (top / folder / ".gitignore").write_text(text)
    git("init", "-q", cwd=top)
    (top / ".git" / "info" / "exclude").write_text(tree["exclude"])
    (top / "own-excludes").write_text(tree["own"])
    git("config", "core.excludesFile", "own-excludes", cwd=top)
    for number in tree["tracked"]:
        if number < len(tree["files"]) and (top / tree["files"][number]).is_file():
            git("add", "-f", "--", f":(literal){tree['files'][number]}", cwd=top)


@settings(QUIET, max_examples=70)
@given(TREES)
@example({"files": ["a/b", "a/a"], "ignore": {"": "a/\n"}, "exclude": "", "own": "", "tracked": [0]})
@example(
    {
        "files": ["a/b/a", "a/A"],
        "ignore": {"": "a/*\n!a/b/\n", "a/b": "!a\n"},
        "exclude": "*",
        "own": "",
        "tracked": [],
    }
)
def test_what_travels_is_what_git_lists(tree: dict[str, Any]) -> None:
    top = Path(os.path.realpath(tempfile.mkdtemp()))
    try:
        build(top, tree)
        listed = git("ls-files", "-coz", "--exclude-standard", cwd=top)
        expected = {os.fsdecode(path) for path in listed.split(b"\0") if path}
        found = list_files(Root(top, "", None), env=ENV)
        # the built-in table has no entry that these names can match
        assert {entry.path for entry in found.files if entry.kind == "file"} == expected
        for path in {os.path.relpath(os.path.join(d, f), top) for d, _, fs in os.walk(top) for f in fs}:
            if not path.startswith(".git/"):
                assert explain(Root(top, "", None), path, env=ENV).travels == (path in expected), path
    finally:
        shutil.rmtree(top)
