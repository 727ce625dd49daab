"""From what was typed to the project path: the folder is kept, however the script was reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runctl.core.errors import RunctlError
from runctl.project import script as script_module
from runctl.project.script import resolve_script

CASES = [
    # what, cwd, typed, expected root, expected path
    ("bare, beside it", "p/training", "train.py", "p", "training/train.py"),
    ("bare, in the root", "p", "main.py", "p", "main.py"),
    ("with its folder", "p", "training/train.py", "p", "training/train.py"),
    ("dots", "p/data", "../training/./train.py", "p", "training/train.py"),
    ("relative to the root", "p/data", "training/train.py", "p", "training/train.py"),
    ("absolute", "other", "{home}/p/training/train.py", "p", "training/train.py"),
    ("from another folder", "other", "../p/training/train.py", "p", "training/train.py"),
    ("outside any project", "p", "../loose/run.py", "loose", "run.py"),
    ("a linked file", "p", "linked.py", "p", "linked.py"),
    ("a linked file that leads out", "p", "outside.py", "p", "outside.py"),
    ("a linked folder", "p", "short/train.py", "p", "short/train.py"),
    ("a linked folder that leads out", "p", "away/run.py", "loose", "run.py"),
    ("the project through a link", ".", "way/training/train.py", "p", "training/train.py"),
    ("the cwd through a link", "way/training", "train.py", "p", "training/train.py"),
    ("a link to a folder of the project", ".", "deep/train.py", "p", "training/train.py"),
    ("spaces and quotes", "p", "my 'run'\n.py", "p", "my 'run'\n.py"),
    ("a shebang without suffix", "p", "tool", "p", "tool"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "users" / "me"
    for path in (
        "p/.git/HEAD",
        "p/training/train.py",
        "p/training/evaluate.py",
        "p/main.py",
        "p/data/x.csv",
        "p/my 'run'\n.py",
        "p/tool",
        "p/run.sh",
        "p/note.ipynb",
        "loose/run.py",
        "other/readme",
    ):
        target = home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("")
    (home / "p/tool").write_text("#!/usr/bin/env python3\n")
    (home / "p/run.sh").write_text("#!/bin/sh\n")
    (home / "p/linked.py").symlink_to("training/train.py")
    (home / "p/outside.py").symlink_to(home / "loose/run.py")
    (home / "p/short").symlink_to("training")
    (home / "p/away").symlink_to("../loose")
    (home / "way").symlink_to("p")
    (home / "deep").symlink_to("p/training")
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize(("cwd", "typed", "root", "path"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_table_of_scripts(home: Path, cwd: str, typed: str, root: str, path: str) -> None:
    script = resolve_script(typed.format(home=home), cwd=home / cwd)
    assert (script.root.path, str(script.path)) == (home / root, path)
    assert (script.root.path / str(script.path)).is_file()


def test_a_script_that_is_not_utf8(home: Path) -> None:
    name = os.fsdecode(b"tr\xff\xe9.py")
    (home / "p" / name).write_text("")
    assert str(resolve_script(name, cwd=home / "p").path) == name


def test_a_named_root(home: Path) -> None:
    script = resolve_script("train.py", cwd=home / "p/training", root=home / "p/training")
    assert (script.root.path, str(script.path)) == (home / "p/training", "train.py")
    assert str(resolve_script("train.py", cwd=home / "other", root=home / "p/training").path) == "train.py"
    assert str(resolve_script("../way/main.py", cwd=home / "p", root=home / "way").path) == "main.py"


def failure(home: Path, typed: str, *, cwd: str = "p", root: Path | None = None) -> RunctlError:
    with pytest.raises(RunctlError) as caught:
        resolve_script(typed, cwd=home / cwd, root=root)
    error = caught.value
    assert error.exit_code == 2
    assert error.why
    assert error.fix
    return error


@pytest.mark.parametrize(
    ("cwd", "typed", "near"),
    [
        ("p", "trian.py", "training/train.py"),
        ("p", "train.py", "training/train.py"),
        ("p", "traning/train.py", "training/train.py"),
        ("p/training", "trian.py", "train.py"),
        ("p/data", "main.py2", "../main.py"),
        ("other", "{home}/p/training/trian.py", "/users/me/p/training/train.py"),
    ],
)
def test_a_missing_script_names_what_exists(home: Path, cwd: str, typed: str, near: str) -> None:
    error = failure(home, typed.format(home=home), cwd=cwd)
    assert error.code == "script-not-found"
    assert near in error.fix[0]
    first = error.fix[0].removeprefix("did you mean ").split(" or ")[0].rstrip("?").strip()
    assert str(resolve_script(first, cwd=home / cwd).path)  # what is proposed works


def test_nothing_like_it_proposes_nothing(home: Path) -> None:
    error = failure(home, "qqqqqq.xyz")
    assert error.code == "script-not-found"
    assert not any("did you mean" in line for line in error.fix)
    assert failure(home, "").code == "script-not-found"


def test_the_search_for_names_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_module, "_LOOK_AT", 60)
    many = home / "p" / "many"
    many.mkdir()
    for number in range(80):
        (many / f"f{number}.txt").write_text("")
    (many / "zz").mkdir()
    (many / "zz" / "unreachable.py").write_text("")
    error = failure(home, "unreachabel.py")
    assert error.code == "script-not-found"
    assert "zz" not in " ".join(error.fix)


def test_a_folder(home: Path) -> None:
    error = failure(home, "training")
    assert error.code == "script-is-folder"
    assert error.fix[0] == "  runctl train training/train.py"


def test_a_broken_link(home: Path) -> None:
    (home / "p/gone.py").symlink_to("nowhere.py")
    error = failure(home, "gone.py")
    assert (error.code, "nowhere.py" in error.why) == ("script-link-broken", True)


def test_a_link_to_itself(home: Path) -> None:
    (home / "p/loop.py").symlink_to("loop.py")
    assert failure(home, "loop.py").code == "script-unreadable"


@pytest.mark.parametrize(
    ("typed", "words"), [("run.sh", "#!/bin/sh"), ("note.ipynb", "notebook"), ("data/x.csv", ".py")]
)
def test_what_is_not_python(home: Path, typed: str, words: str) -> None:
    error = failure(home, typed)
    assert error.code == "script-not-python"
    assert words in error.why


def test_a_pipe_is_refused_without_waiting_for_it(home: Path) -> None:
    os.mkfifo(home / "p/pipe.py")
    assert failure(home, "pipe.py").code == "script-not-python"


def test_outside_a_named_root(home: Path) -> None:
    error = failure(home, "main.py", root=home / "p/training")
    assert error.code == "script-outside-root"


def test_through_a_file_as_if_it_were_a_folder(home: Path) -> None:
    assert failure(home, "main.py/train.py").code == "script-not-found"


def test_a_name_longer_than_the_system_takes(home: Path) -> None:
    assert failure(home, "x" * 5000 + ".py").code == "script-not-found"
