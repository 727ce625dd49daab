"""``runctl env`` as a user types it: what was built here goes to a store, away, and comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import World
from tests.unit.environment.wheel_index import Index, wheel

from runctl.cli.env import age, most_bytes
from runctl.core.errors import UsageError
from runctl.engine.stored_environments import unused

SCRIPT = "import alpha\nprint('alpha', alpha.__version__)\n"


@pytest.fixture
def user(world: World) -> Iterator[World]:
    with Index().add(wheel("alpha")) as index:
        world.env |= {"PIP_INDEX_URL": index.url, "UV_DEFAULT_INDEX": index.url, "UV_NO_CACHE": "1"}
        yield world


@pytest.fixture
def built(user: World) -> Path:
    """A project whose run has built its environment."""
    project = user.project({"train.py": SCRIPT, "requirements.txt": "alpha\n"})
    got = user.runctl("train", "train.py", cwd=project)
    assert got.out == "alpha 1.0\n", got.err
    return project


def test_it_goes_to_a_store_and_comes_back(user: World, built: Path) -> None:
    store = (user.root / "store").as_uri()
    (row,) = user.runctl("env", "list", "--json").json()
    key = row["key"]
    assert (row["packages"], row["source"], row["users"]) == (1, "requirements.txt", [])
    assert row["bytes"] > 1000
    assert key[:12] in user.runctl("env", "list").out
    assert user.runctl("env", "list", "-q").out == key + "\n"

    pushed = user.runctl("env", "push", key[:6], "--store", store)
    assert pushed.code == 0, pushed.err
    assert "already" in user.runctl("env", "push", key, "--store", store).err
    (there,) = user.runctl("env", "list", "--store", store, "--json").json()
    assert (there["key"], there["complete"], there["unnamed"]) == (key, True, 0)
    assert there["restore_seconds"] is None
    shown = user.runctl("env", "show", key[:6], "--store", store)
    assert "restore seconds not known yet" in shown.out, shown.out

    would = user.runctl("env", "prune", "--older-than", "0m", "--dry-run")
    assert f"- {key}" in would.out
    assert user.runctl("env", "list", "-q").out == key + "\n"
    gone = user.runctl("env", "prune", "--older-than", "0m", "--yes")
    assert "removed 1 environment" in gone.err, gone.err
    assert user.runctl("env", "list", "--json").json() == []
    assert not (user.machine / "envs" / key).exists()

    pulled = user.runctl("env", "pull", key[:6], "--store", store)
    assert "restored in" in pulled.err, pulled.err
    again = user.runctl("train", "train.py", "--json", cwd=built, PIP_INDEX_URL="", UV_DEFAULT_INDEX="")
    assert again.code == 0, again.err
    (env,) = [e for e in again.events() if e["kind"] == "step.finished" and e["step"] == "environment"]
    assert env["summary"].startswith("cached")
    assert user.runctl("env", "pull", key, "--store", store).err.strip().endswith("was here")


def test_it_is_built_before_any_run_needs_it(user: World) -> None:
    project = user.project({"sub/train.py": SCRIPT, "requirements.txt": "alpha\n"})
    made = user.runctl("env", "build", "sub/train.py", "--json", cwd=project)
    assert made.code == 0, made.err
    answer = made.json()
    assert (answer["machine"], answer["packages"], answer["built"]) == ("local", 1, True)
    again = user.runctl("env", "build", "train.py", cwd=project / "sub")
    assert "1 package" in again.err, again.err
    assert "it was there" in again.err
    assert user.runctl("env", "list", "-q").out.strip() == answer["key"]
    got = user.runctl("train", "sub/train.py", "--json", cwd=project)
    (step,) = [e for e in got.events() if e["kind"] == "step.finished" and e["step"] == "environment"]
    assert step["skipped"] is True


def test_what_cannot_be_built_is_said_as_a_run_says_it(user: World) -> None:
    project = user.project({"train.py": SCRIPT, "requirements.txt": "nobody-has-this\n", "bare/x.py": ""})
    got = user.runctl("env", "build", "train.py", cwd=project)
    assert got.code == 8, (got.code, got.err)
    assert "package-not-found" in got.err
    assert "nobody-has-this" in got.err
    assert user.runctl("env", "list", "--json").json() == []
    (project / "requirements.txt").unlink()
    nothing = user.runctl("env", "build", "bare/x.py", cwd=project)
    assert nothing.code == 2
    assert "env-nothing" in nothing.err


def test_a_store_is_pruned_of_what_is_old_too_large_or_nobodys(user: World, built: Path) -> None:
    folder = user.root / "store"
    store = folder.as_uri()
    key = user.runctl("env", "list", "-q").out.strip()
    assert user.runctl("env", "push", key, "--store", store).code == 0
    stray = folder / "envs" / key / ("0" * 64)
    stray.write_bytes(b"left by a machine that was killed")
    prune = ("env", "prune", "--store", store, "--json", "--yes")
    kept = user.runctl(*prune, "--older-than", "1d", "--max-size", "1GB").json()
    assert (kept["removed"], kept["objects"]) == ([], [])  # it may still be on its way
    for path in (folder / "envs" / key).iterdir():
        os.utime(path, (1e9, 1e9))
    assert user.runctl(*prune).json()["objects"] == [f"envs/{key}/{'0' * 64}"]
    assert not stray.exists()
    assert [row["complete"] for row in user.runctl("env", "list", "--store", store, "--json").json()] == [
        True
    ]
    assert [each["key"] for each in user.runctl(*prune, "--max-size", "1KB").json()["removed"]] == [key]
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_what_a_run_uses_stays(user: World, built: Path) -> None:
    (built / "train.py").write_text("import alpha, time\nprint('up', flush=True)\ntime.sleep(60)\n")
    name = user.runctl("train", "train.py", "--detach", cwd=built).out.strip()
    got = user.runctl("env", "prune", "--older-than", "0m", "--yes")
    assert "nothing to remove" in got.err, got.err
    assert user.runctl("cancel", name, "--grace", "0").code == 0
    assert "removed 1" in user.runctl("env", "prune", "--older-than", "0m", "--yes").err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "abc"), "env-unknown"),
        (("push", "abc", "--store", "file:///nowhere"), "env-unknown"),
        (("pull", "abc", "--store", "file:///nowhere"), "env-unknown"),
        (("prune",), "env-limit"),
        (("prune", "--older-than", "soon"), "env-limit"),
        (("prune", "--max-size", "much"), "env-limit"),
        (("list", "--store", "ftp://x"), "unknown-target"),
    ],
)
def test_what_cannot_be_understood_is_said(words: tuple[str, ...], code: str, world: World) -> None:
    got = world.runctl("env", *words)
    assert got.code == 2
    assert f"error[{code}]" in got.err, got.err


def test_limits_are_read_as_people_write_them() -> None:
    assert [age(text) for text in ("90m", "12h", "1.5d", "2w", None)] == [5400, 43200, 129600, 1209600, None]
    assert [most_bytes(text) for text in ("20GB", "1.5 tb", "500M", "7", None)] == [
        2e10,
        1.5e12,
        5e8,
        7,
        None,
    ]
    for wrong in ("", "d", "-3d", "3y"):
        with pytest.raises(UsageError):
            age(wrong)


def test_the_longest_unused_go_first() -> None:
    known = [("a", 10, 100.0), ("b", 10, 300.0), ("c", 10, 200.0)]
    assert unused(known, now=400, older_than=None, most=20) == ["a"]
    assert unused(known, now=400, older_than=150, most=None) == ["c", "a"]
    assert unused(known, now=400, older_than=250, most=10) == ["a", "c"]
    assert unused(known, now=400, older_than=None, most=None) == []


def test_what_only_conda_can_install_is_refused_before_anything_starts(user: World) -> None:
    project = user.project({"train.py": "print('ran')\n", "environment.yml": "dependencies: [pytorch]\n"})
    got = user.runctl("train", "train.py", cwd=project)
    assert (got.code, got.out) == (2, "")
    assert "conda-environment" in got.err
    assert "requirements.txt" in got.err
    assert user.runctl("env", "build", "train.py", cwd=project).code == 2
    skipped = user.runctl("train", "train.py", "--deps", "skip", cwd=project)
    assert skipped.out == "ran\n", skipped.err
