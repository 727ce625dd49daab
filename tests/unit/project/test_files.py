"""What travels and what stays: layers of rules, secrets, links, odd things on disk. git itself is asked elsewhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runctl.core.errors import RunctlError
from runctl.core.model import ProjectPath
from runctl.project import builtin
from runctl.project.files import explain, list_files
from runctl.project.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.project.listing import Listing

ENV = {"HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "p"
    top.mkdir()
    return top


def make(top: Path, *paths: str) -> None:
    """``name`` or ``name=text``; a name that ends in ``/`` is a folder."""
    for path in paths:
        name, _, text = path.partition("=")
        if name.endswith("/"):
            (top / name).mkdir(parents=True, exist_ok=True)
            continue
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


def root(top: Path, *, alone: bool = False) -> Root:
    return Root(top, "", None, alone=alone)


def listing(top: Path, **patterns: Any) -> Listing:
    return list_files(root(top), env=ENV, **patterns)


def names(found: Listing) -> set[str]:
    return {entry.path + "/" * (entry.kind == "dir") for entry in found.files}


def git(top: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(top), *args], check=True, capture_output=True, env={**os.environ, **ENV})


LAYERS = [
    # what, files, patterns, must travel, must stay
    ("include over gitignore", [".gitignore=*.bin", "a.bin", "b.bin"], {"include": ["a.bin"]}, "a.bin", "b.bin"),
    ("include into an ignored folder", [".gitignore=data/", "data/a", "data/b"], {"include": ["data/a"]}, "data/a", "data/b"),
    ("include with stars", [".gitignore=data/", "data/x/a.csv", "data/x/b"], {"include": ["data/**/*.csv"]}, "data/x/a.csv", "data/x/b"),
    ("include a whole ignored folder", [".gitignore=data/\n*.log", "data/a/b.log", "c.log"], {"include": ["data/"]}, "data/a/b.log", "c.log"),
    ("include taken back", [".gitignore=data/", "data/a", "data/raw/b"], {"include": ["data/", "!data/raw/"]}, "data/a", "data/raw/b"),
    ("a bare name opens no ignored folder", [".gitignore=data/\n*.csv", "a.csv", "data/b.csv"], {"include": ["*.csv"]}, "a.csv", "data/b.csv"),
    ("exclude over include", ["data/a.mp4", "data/b"], {"include": ["data/"], "exclude": ["*.mp4"]}, "data/b", "data/a.mp4"),
    ("exclude anchored", ["a", "x/a"], {"exclude": ["/a"]}, "x/a", "a"),
    ("runctlignore over gitignore", [".gitignore=*.bin", ".runctlignore=!a.bin\nnotes/", "a.bin", "notes/x"], {}, "a.bin", "notes/x"),
    ("gitignore below does not beat runctlignore above", [".runctlignore=*.x", "d/.gitignore=!a.x", "d/a.x", "d/b"], {}, "d/b", "d/a.x"),
    ("nested runctlignore", ["d/.runctlignore=/a", "d/a", "d/e/a", "a"], {}, "a d/e/a", "d/a"),
    ("include over runctlignore", [".runctlignore=*", "train.py", "x"], {"include": ["train.py"]}, "train.py", "x"),
    ("built-in", ["m/__pycache__/m.pyc", "node_modules/x/y", "a.egg-info/PKG", "m/m.py"], {}, "m/m.py", "m/__pycache__ node_modules a.egg-info"),
    ("a built-in named by include", ["checkpoints/last.pt", "x"], {"include": ["checkpoints/"]}, "checkpoints/last.pt", ".git"),
    ("a built-in named by runctlignore", ["wandb/x", ".runctlignore=!wandb/"], {}, "wandb/x", ".git"),
    ("a built-in is not named by a star", [".gitignore=*\n!*/\n!*.py", "a/b.py", "node_modules/c.py"], {}, "a/b.py", "node_modules"),
    ("a built-in in an included folder", [".gitignore=out/", "out/a", "out/__pycache__/b"], {"include": ["out/"]}, "out/a", "out/__pycache__"),
    ("a package called checkpoints", ["src/checkpoints/__init__.py", "src/checkpoints/io.py", "checkpoints/a.pt"], {}, "src/checkpoints/io.py", "checkpoints"),
    ("a venv by its file", ["env39/pyvenv.cfg", "env39/lib/x.py", "a"], {}, "a", "env39"),
    ("a venv that is named", ["env39/pyvenv.cfg", "env39/lib/x.py"], {"include": ["env39/"]}, "env39/lib/x.py", ".git"),
    ("a cache by its tag", ["d/CACHEDIR.TAG", "d/x", "a"], {}, "a", "d"),
    ("a conda environment", ["e/conda-meta/history", "e/bin/python", "a"], {}, "a", "e"),
    ("git's history, whatever is said", ["a", ".git/HEAD", ".git/config"], {"include": [".git/", ".git/**"]}, "a", ".git"),
    ("a pattern with #", ["#a", "b"], {"exclude": ["#a"]}, "b", "#a"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "patterns", "travel", "stay"), [c[1:] for c in LAYERS], ids=[c[0] for c in LAYERS]
)
def test_layers(top: Path, files: list[str], patterns: dict[str, Any], travel: str, stay: str) -> None:
    make(top, *files)
    found = listing(top, **patterns)
    there = names(found)
    for path in travel.split():
        assert path in there
        assert explain(root(top), path, env=ENV, **patterns).travels
    for path in stay.split():
        assert not any(name == path or name.startswith(path + "/") for name in there)
        if (top / path).exists():
            why = explain(root(top), path, env=ENV, **patterns)
            assert not why.travels
            assert why.rule
            assert why.origin
    assert found.problems == ()


def test_everything_left_out_names_its_rule_and_line(top: Path) -> None:
    make(
        top,
        ".gitignore=# data\n\n*.bin\n",
        "d/.runctlignore=x/\n",
        "a.bin",
        "d/x/y",
        "__pycache__/z",
        "e.mp4",
    )
    found = {left.path: left for left in listing(top, exclude=["*.mp4"]).left_out}
    assert (found["a.bin"].rule, found["a.bin"].origin) == ("*.bin", ".gitignore:3")
    assert (found["d/x"].rule, found["d/x"].origin, found["d/x"].is_dir) == ("x/", "d/.runctlignore:1", True)
    assert (found["__pycache__"].origin, bool(found["__pycache__"].why)) == ("built in", True)
    assert (found["e.mp4"].rule, found["e.mp4"].origin) == ("*.mp4", "exclude")


def test_every_entry_of_the_tables_has_a_reason_and_works(top: Path) -> None:
    for pattern, why in (*builtin.EXCLUDED, *builtin.SECRET):
        assert why
        assert builtin.reason(pattern)
    for pattern, _ in builtin.EXCLUDED:
        name = pattern.replace("*", "x").rstrip("/")
        make(top, f"d/{name}/f" if pattern.endswith("/") else f"d/{name}")
    assert names(listing(top)) == {"d/"}


def test_an_ignored_tree_is_never_entered(top: Path) -> None:
    make(top, ".gitignore=big/\n", "big/a/b", "c")
    os.chmod(top / "big", 0o000)
    with as_somebody_else(top):
        found = listing(top)
    os.chmod(top / "big", 0o755)
    assert names(found) == {".gitignore", "c"}
    assert found.problems == ()


# --- secrets


@pytest.mark.parametrize(
    "name",
    [
        ".env", ".env.local", "conf/.env.production", "prod.env", "key.pem", "KEY.PEM", "id_rsa", "id_ed25519", ".netrc",
        "credentials", "credentials.json", "terraform.tfstate", "terraform.tfstate.backup", "my-service-account.json",
        "gcp_service_account_prod.json", "kaggle.json", ".streamlit/secrets.toml", "client_secret_1.json", "cert.p12",
        ".aws/credentials", ".ssh/config", ".git-credentials", ".npmrc", "x.kdbx",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_stays_and_is_reported(top: Path, name: str) -> None:
    make(top, name, "train.py")
    found = listing(top)
    assert not any(entry.path == name for entry in found.files)
    assert "train.py" in names(found)
    assert [left.path for left in found.secrets] == [
        name if not name.startswith((".aws", ".ssh")) else name[:4]
    ]
    assert found.secrets[0].why
    assert not explain(root(top), name, env=ENV).travels
    for allowed in ({"secrets_allowed": [name]}, {"include": [name]}):
        brought = listing(top, **allowed)
        assert name in names(brought)
        assert explain(root(top), name, env=ENV, **allowed).travels


@pytest.mark.parametrize(
    "name",
    [
        ".env.example", ".env.sample", ".env.template", "credentials.py", "credentials/__init__.py", "tokenizer.json",
        "id_rsa.pub", "environment.yml", "keys.py", "secrets.py", "config.json", "my-model-v2.json",
    ],
)  # fmt: skip
def test_what_only_resembles_a_secret_travels(top: Path, name: str) -> None:
    make(top, name)
    found = listing(top)
    assert name in names(found)
    assert found.secrets == ()


def test_a_broad_include_does_not_name_a_secret(top: Path) -> None:
    make(top, ".gitignore=conf/\n", "conf/credentials.json", "conf/a.json", "conf/k.pem", ".env")
    for include in (["conf/"], ["conf/**"], ["conf/*.json", "conf/*"], ["**"], ["*"]):
        found = listing(top, include=include)
        assert not any("credentials" in name or ".pem" in name or name == ".env" for name in names(found)), (
            include
        )
    assert "conf/a.json" in names(listing(top, include=["conf/*.json"]))
    assert "conf/k.pem" in names(listing(top, include=["conf/*.pem"]))


def test_a_secret_that_git_tracks_stays_all_the_same(top: Path) -> None:
    make(top, ".env", "a")
    git(top, "init", "-q")
    git(top, "add", "-f", ".env", "a")
    found = listing(top)
    assert names(found) == {"a"}
    assert [left.path for left in found.secrets] == [".env"]


def test_an_allowed_secret_travels_although_it_is_ignored(top: Path) -> None:
    make(top, ".gitignore=.env\n", ".env")
    assert ".env" in names(listing(top, secrets_allowed=[".env"]))


def test_a_service_account_key_is_known_by_its_content(top: Path) -> None:
    make(top, 'my-project-0123456789ab.json={"type": "service_account", "private_key": "x"}')
    make(top, 'my-weights-0123456789ab.json={"layers": []}')
    found = listing(top)
    assert names(found) == {"my-weights-0123456789ab.json"}
    assert [left.path for left in found.secrets] == ["my-project-0123456789ab.json"]
    name = "my-project-0123456789ab.json"
    assert not explain(root(top), name, env=ENV).travels
    assert name in names(listing(top, secrets_allowed=[name]))
    assert name in names(listing(top, include=[name]))
    assert name not in names(listing(top, include=["*.json"]))


# --- git


def test_what_git_tracks_travels_although_ignored(top: Path) -> None:
    make(top, ".gitignore=data/\n*.bin\n", "data/kept", "data/not", "a.bin", "b.bin", "wandb/x", "wandb/y")
    git(top, "init", "-q")
    git(top, "add", "-f", "data/kept", "a.bin", "wandb/x")
    assert names(listing(top)) == {".gitignore", "data/kept", "a.bin", "wandb/x"}
    assert explain(root(top), "data/kept", env=ENV).rule == "tracked by git"
    assert not explain(root(top), "data/not", env=ENV).travels


def test_runctlignore_and_exclude_keep_even_what_git_tracks(top: Path) -> None:
    make(top, ".runctlignore=a\n", "a", "b", "c")
    git(top, "init", "-q")
    git(top, "add", "-f", "a", "b", "c")
    assert names(listing(top, exclude=["b"])) == {".runctlignore", "c"}


def test_a_root_below_the_top_of_the_repository_obeys_the_rules_above(top: Path) -> None:
    make(
        top,
        ".gitignore=*.bin\n/sub/deep/out/\n",
        "sub/.gitignore=*.log\n",
        "sub/deep/a.bin",
        "sub/deep/b.log",
    )
    make(top, "sub/deep/out/x", "sub/deep/out2/x", "sub/deep/c", "sub/deep/t.bin", "out/y")
    git(top, "init", "-q")
    git(top, "add", "-f", "sub/deep/t.bin")
    found = listing(top / "sub/deep")
    assert names(found) == {"out2/x", "c", "t.bin"}
    origins = {left.path: left.origin for left in found.left_out}
    assert origins == {"a.bin": "../../.gitignore:1", "b.log": "../.gitignore:1", "out": "../../.gitignore:2"}
    assert names(listing(top / "sub/deep", exclude=["/c"], include=["/a.bin"])) == {
        "out2/x",
        "a.bin",
        "t.bin",
    }


def test_a_root_that_the_repository_around_it_ignores_is_on_its_own(top: Path) -> None:
    make(top, ".gitignore=scratch/\n*.bin\n", "scratch/p/a.bin", "scratch/p/b")
    git(top, "init", "-q")
    assert names(listing(top / "scratch/p")) == {"a.bin", "b"}


def test_a_submodule_and_a_nested_repository_travel_without_their_history(top: Path) -> None:
    make(
        top,
        "sub/.gitignore=x\n",
        "sub/x",
        "sub/y",
        "sub/t",
        "vendor/.git=gitdir: ../modules/vendor\n",
        "vendor/v",
    )
    make(top, "vendor/ign", "modules/vendor/HEAD", "modules/vendor/info/exclude=ign\n")
    git(top, "init", "-q")
    git(top / "sub", "init", "-q")
    make(top, "sub/.git/info/exclude=z\n", "sub/z")
    git(top / "sub", "add", "-f", "x")
    found = names(listing(top, exclude=["modules/"]))
    assert found == {"sub/.gitignore", "sub/x", "sub/y", "sub/t", "vendor/v"}


def test_the_users_own_exclude_file(top: Path, tmp_path: Path) -> None:
    make(tmp_path, "home/.config/git/ignore=*.one\n", "mine=*.two\n", "home/other=*.three\n")
    make(top, "a.one", "a.two", "a.three", "b")
    git(top, "init", "-q")
    env = {"HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1"}

    def stays() -> set[str]:
        return {left.path for left in list_files(root(top), env=env).left_out} - {".git"}

    assert stays() == {"a.one"}
    make(tmp_path, f'home/.gitconfig=[core]\n\texcludesFile = "{tmp_path}/mine" ; ours\n')
    assert stays() == {"a.two"}
    git(top, "config", "core.excludesFile", "~/other")
    assert stays() == {"a.three"}


# --- what is on disk


def test_executable_bits_links_and_empty_folders_are_kept(top: Path) -> None:
    make(top, "run.sh", "a/b", "empty/", "logs/x.log", ".gitignore=*.log\n", "deep/er/")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("a/b")
    (top / "a/up").symlink_to("../run.sh")
    (top / "folder").symlink_to("a")
    found = listing(top)
    assert names(found) == {
        "run.sh",
        "a/b",
        "empty/",
        "logs/",
        ".gitignore",
        "deep/er/",
        "link",
        "a/up",
        "folder",
    }
    kinds = {entry.path: (entry.kind, entry.exec, entry.target) for entry in found.files}
    assert kinds["run.sh"] == ("file", True, "")
    assert kinds["a/b"] == ("file", False, "")
    assert kinds["link"] == ("link", False, "a/b")
    assert kinds["a/up"] == ("link", False, "../run.sh")
    assert kinds["folder"] == ("link", False, "a")
    assert found.problems == ()


def test_links(top: Path, tmp_path: Path) -> None:
    make(top, "a/b", "x/y/z", ".gitignore=secret\n", "secret")
    make(tmp_path, "elsewhere/data")
    for name, target in {
        "absolute": str(top / "a/b"),
        "x/roundabout": "../../p/a/b",
        "dangling": "nothing",
        "loop": "loop",
        "out": str(tmp_path / "elsewhere"),
        "x/outwards": "../../elsewhere/data",
        "stays": "secret",
        "self": ".",
    }.items():
        (top / name).symlink_to(target)
    found = listing(top)
    targets = {entry.path: entry.target for entry in found.files if entry.kind == "link"}
    assert targets == {
        "absolute": "a/b",
        "x/roundabout": "../a/b",
        "dangling": "nothing",
        "loop": "loop",
        "out": str(tmp_path / "elsewhere"),
        "x/outwards": str(tmp_path / "elsewhere/data"),
        "stays": "secret",
        "self": ".",
    }
    problems = {problem.path: problem.what for problem in found.problems}
    assert set(problems) == {"dangling", "loop", "out", "x/outwards", "stays"}
    assert "does not exist" in problems["dangling"]
    assert "out of the project" in problems["out"]
    assert "does not travel" in problems["stays"]
    assert not any(problem.fatal for problem in found.problems)


def test_a_link_to_a_folder_is_a_link_for_the_rules_as_for_git(top: Path) -> None:
    make(top, "real/x", ".gitignore=data/\n")
    (top / "data").symlink_to("real")
    assert "data" in names(listing(top))


def test_a_link_out_brings_its_content_only_when_it_is_named(top: Path, tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/run.py=hello")
    (top / "run.py").symlink_to(tmp_path / "elsewhere/run.py")
    assert [(e.kind, e.followed) for e in listing(top).files] == [("link", False)]
    for found in (listing(top, include=["run.py"]), listing(top, script=ProjectPath("run.py"))):
        assert [(e.kind, e.followed, e.size) for e in found.files] == [("file", True, 5)]
        assert found.problems == ()


def test_sockets_pipes_and_devices_stay(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(top, "a")
    os.mkfifo(top / "pipe")
    monkeypatch.chdir(top)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        found = listing(top)
        assert names(found) == {"a"}
        assert {left.path: left.rule for left in found.left_out} == {"pipe": "a pipe", "sock": "a socket"}
        assert explain(root(top), "sock", env=ENV).rule == "a socket"


def test_names_of_any_bytes(top: Path) -> None:
    odd = [
        "new\nline",
        'quo"te',
        "back\\slash",
        " space ",
        "tab\t",
        "é",
        os.fsdecode(b"\xff\xfe"),
        "-dash",
        "~x",
        "\u2028",
    ]
    for name in odd:
        (top / name).write_text("")
    (top / ".gitignore").write_bytes(b"\xff*\n")
    found = listing(top)
    assert names(found) == {*odd, ".gitignore"} - {os.fsdecode(b"\xff\xfe")}
    paths = [entry.path for entry in found.files]
    assert paths == sorted(paths, key=os.fsencode)


def test_a_very_deep_tree(top: Path) -> None:
    deep = "/".join(["d"] * 400)
    here = os.open(top, os.O_RDONLY)
    try:
        for _ in range(400):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    assert names(listing(top)) == {f"{deep}/f"}
    shutil.rmtree(top / "d/d")  # pytest's own clean-up is recursive


def test_a_path_longer_than_the_system_takes_is_a_problem(top: Path) -> None:
    here = os.open(top, os.O_RDONLY)
    part = "d" * 250
    for _ in range(17):
        os.mkdir(part, dir_fd=here)
        below = os.open(part, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    found = listing(top)
    assert [problem.fatal for problem in found.problems] == [True]
    assert "too long" in found.problems[0].what
    shutil.rmtree(top / part)


@contextmanager
def as_somebody_else(top: Path) -> Iterator[None]:
    """As root nothing is unreadable: become nobody for a while, with a way to ``top``."""
    if os.getuid() != 0:
        yield
        return
    opened = [folder for folder in top.parents if not folder.stat().st_mode & 0o001]
    for folder in opened:
        folder.chmod(folder.stat().st_mode | 0o055)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_what_cannot_be_read_is_named(top: Path) -> None:
    make(top, "a", "locked/x", "secretive", "d/.gitignore=*", "d/e")
    for name in ("locked", "secretive", "d/.gitignore"):
        (top / name).chmod(0o000)
    with as_somebody_else(top):
        found = listing(top)
    for name in ("locked", "secretive", "d/.gitignore"):
        (top / name).chmod(0o755)
    fatal = {problem.path: problem.what for problem in found.problems if problem.fatal}
    assert set(fatal) == {"locked", "secretive", "d/.gitignore"}
    assert all("permission denied" in what.lower() for what in fatal.values())


def test_a_linked_ignore_file_is_not_followed(top: Path) -> None:
    make(top, "rules=*\n", "a")
    (top / ".gitignore").symlink_to("rules")
    found = listing(top)
    assert "a" in names(found)
    assert [(p.path, p.fatal) for p in found.problems] == [(".gitignore", True)]


def test_an_ignore_file_that_is_a_folder_is_no_rule(top: Path) -> None:
    make(top, ".gitignore/x", "a")
    found = listing(top)
    assert names(found) == {".gitignore/x", "a"}
    assert found.problems == ()


# --- the script


@pytest.mark.parametrize(
    ("rules", "patterns", "words"),
    [
        (".gitignore=train.py", {}, ".gitignore:1"),
        (".runctlignore=*.py", {}, ".runctlignore:1"),
        ("x", {"exclude": ["train.py"]}, "exclude"),
    ],
)
def test_a_script_that_would_not_travel(top: Path, rules: str, patterns: dict[str, Any], words: str) -> None:
    make(top, "train.py", rules)
    with pytest.raises(RunctlError) as caught:
        listing(top, script=ProjectPath("train.py"), **patterns)
    assert caught.value.code == "script-ignored"
    assert words in caught.value.why
    if not patterns:
        assert 'include = ["/train.py"]' in caught.value.fix[0]
        assert "train.py" in names(listing(top, script=ProjectPath("train.py"), include=["/train.py"]))


def test_a_script_in_an_ignored_folder_names_the_folder(top: Path) -> None:
    make(top, "old/train.py", ".gitignore=old/\n")
    with pytest.raises(RunctlError) as caught:
        listing(top, script=ProjectPath("old/train.py"))
    assert "by way of old" in caught.value.why
    found = listing(top, script=ProjectPath("old/train.py"), include=["/old/train.py"])
    assert "old/train.py" in names(found)


def test_alone_only_the_script_and_its_needs_travel(top: Path) -> None:
    make(top, "train.py", "requirements.txt", "diary.txt", "photos/x")
    found = list_files(root(top, alone=True), script=ProjectPath("train.py"), env=ENV)
    assert names(found) == {"train.py", "requirements.txt"}
    assert list_files(root(top, alone=True), env=ENV).files == ()
