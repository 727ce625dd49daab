"""`runctl project` as a user meets it: the page, the list for other programs, the reason for one path."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World

FILES = {
    ".runctl.toml": 'include = ["/data/tiny.csv"]\n',
    ".gitignore": "data/\n*.log\n",
    "training/train.py": "print(1)\n",
    "requirements.txt": "",
    "data/tiny.csv": "1\n",
    "data/big.csv": "2\n" * 2000,
    "a.log": "",
    ".env": "KEY=1\n",
    "__pycache__/x.pyc": "",
}
TRAVEL = [".gitignore", ".runctl.toml", "data/tiny.csv", "requirements.txt", "training/train.py"]


def test_the_page(world: World) -> None:
    top = world.project(FILES)
    done = world.runctl("project", cwd=top)
    assert (done.code, done.err) == (0, "")
    for words in (
        str(top),
        ".runctl.toml is here",
        "requirements.txt",
        "5 files",
        "data/  (.gitignore:1)  data/",
        "*.log  (.gitignore:2)  a.log",
        "built in",
        ".env",
        'secrets = ["/.env"]',
    ):
        assert words in done.out, words
    assert done.out.count("\n") < 40


def test_from_a_folder_below_it_is_the_same_project(world: World) -> None:
    top = world.project(FILES)
    assert world.runctl("project", cwd=top / "training").out == world.runctl("project", cwd=top).out


def test_for_a_script(world: World) -> None:
    top = world.project(FILES)
    done = world.runctl("project", top / "training/train.py", cwd=world.root)
    assert done.code == 0
    assert "script  training/train.py" in done.out
    assert "needs   requirements.txt" in done.out
    missing = world.runctl("project", "training/trian.py", cwd=top)
    assert missing.code == 2
    assert "training/train.py" in missing.err
    assert missing.out == ""


def test_files_one_a_line(world: World) -> None:
    top = world.project(FILES)
    assert world.runctl("project", "--files", cwd=top).out.splitlines() == TRAVEL


def test_options_stand_above_the_configuration(world: World) -> None:
    top = world.project(FILES)
    done = world.runctl(
        "project", "--files", "--exclude", "*.csv", "--allow-secret", ".env", "--include", "a.log", cwd=top
    )
    expected = {*TRAVEL, ".env", "a.log"} - {"data/tiny.csv"}
    assert set(done.out.splitlines()) == expected


def odd_project(world: World) -> Path:
    top = world.project({"setup.py": "", "new\nline": "", "é": ""})
    (top / os.fsdecode(b"caf\xe9")).write_text("")
    return top


def test_odd_names_are_quoted_on_lines_and_raw_with_nul(world: World) -> None:
    top = odd_project(world)
    assert world.runctl("project", "--files", cwd=top).out.splitlines() == [
        '"caf\\351"',
        '"new\\nline"',
        "setup.py",
        "é",
    ]
    raw = subprocess.run(
        world.argv("project", "--files", "-z"), cwd=top, env=world.env, capture_output=True, check=True
    ).stdout
    assert raw == b"caf\xe9\0new\nline\0setup.py\0\xc3\xa9\0"
    git = subprocess.run(["git", "init", "-q"], cwd=top, env=world.env, check=True)
    assert git.returncode == 0
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"],
        cwd=top,
        env=world.env,
        capture_output=True,
        check=True,
    ).stdout
    again = subprocess.run(
        world.argv("project", "--files", "--null"), cwd=top, env=world.env, capture_output=True, check=True
    ).stdout
    assert again == listed


def test_json(world: World) -> None:
    top = world.project(FILES)
    page = world.runctl("project", "--json", cwd=top).json()
    assert page["root"] == str(top)
    assert page["marker"] == str(top / ".runctl.toml")
    assert page["config"] == str(top / ".runctl.toml")
    assert (page["files"], page["links"], page["alone"]) == (5, 0, False)
    assert [secret["path"] for secret in page["secrets"]] == [".env"]
    assert {"data", "a.log", "__pycache__", "data/big.csv"} >= {left["path"] for left in page["left_out"]}
    listed = world.runctl("project", "--files", "--json", cwd=top).json()
    assert [entry["path"] for entry in listed] == TRAVEL
    assert listed[0] == {"path": ".gitignore", "type": "file", "size": 12, "exec": False}
    script = world.runctl("project", "training/train.py", "--json", cwd=top).json()
    assert script["script"] == "training/train.py"
    assert script["dependencies"]["kind"] == "requirements"


def test_json_takes_any_name(world: World) -> None:
    top = odd_project(world)
    paths = [entry["path"] for entry in world.runctl("project", "--files", "--json", cwd=top).json()]
    assert '"caf\\351"' in paths


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("data/big.csv", ["stays", "data/ (.gitignore:1)", "decided at data", 'include = ["/data/big.csv"]']),
        ("data/tiny.csv", ["travels", "/data/tiny.csv (include)"]),
        ("training/train.py", ["travels", "no rule speaks of it"]),
        ("training", ["travels"]),
        (".env", ["stays", ".env (looks like a secret", 'secrets = ["/.env"]']),
        ("__pycache__/x.pyc", ["stays", "built in", "decided at __pycache__"]),
        (".git", ["stays", "nothing brings it"]),
        ("not/there.log", ["stays", "*.log (.gitignore:2)", "no such file"]),
    ],
)
def test_why(world: World, path: str, words: list[str]) -> None:
    top = world.project(FILES)
    done = world.runctl("project", "--why", path, cwd=top)
    assert done.code == 0
    for word in words:
        assert word in done.out
    answer = world.runctl("project", "--why", path, "--json", cwd=top).json()
    assert answer["path"] == path
    assert answer["travels"] == ("travels" in words)


def test_why_takes_the_path_as_it_is_typed(world: World) -> None:
    top = world.project(FILES)
    for typed, cwd in (
        ("../data/big.csv", top / "training"),
        ("data/big.csv", top / "training"),  # not there: then from the root
        (str(top / "data/big.csv"), top / "training"),
    ):
        assert world.runctl("project", "--why", typed, cwd=cwd).out.startswith("data/big.csv stays")
    outside = world.runctl("project", "--why", "../../x", cwd=top)
    assert (outside.code, outside.out) == (2, "")
    assert "path-outside-project" in outside.err


def test_an_ignored_script_says_so(world: World) -> None:
    top = world.project({**FILES, "data/run.py": ""})
    done = world.runctl("project", "data/run.py", cwd=top)
    assert done.code == 2
    assert "script-ignored" in done.err
    assert 'include = ["/data/run.py"]' in done.err


def test_nothing_is_written(world: World) -> None:
    top = world.project(FILES)

    def everything() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in world.root.rglob("*")}

    before = everything()
    for args in (["project"], ["project", "--files"], ["project", "training/train.py", "--json"]):
        assert world.runctl(*args, cwd=top).code == 0
    assert everything() == before


def test_home_is_not_swallowed(world: World) -> None:
    (world.home / "requirements.txt").write_text("")
    (world.home / "train.py").write_text("print(1)\n")
    (world.home / "diary.txt").write_text("")
    done = world.runctl("project", "train.py", "--files", cwd=world.home)
    assert done.out.splitlines() == ["requirements.txt", "train.py"]
    page = world.runctl("project", cwd=world.home)
    assert "your home directory is no project by itself" in page.out


def test_null_belongs_to_files(world: World) -> None:
    done = world.runctl("project", "-z", cwd=world.project(FILES))
    assert done.code == 2
    assert "--files" in done.err
    errors = world.runctl("project", "-z", "--json", cwd=world.project(FILES))
    assert json.loads(errors.out)["error"]["code"] == "usage"
