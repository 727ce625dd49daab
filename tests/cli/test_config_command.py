"""``runctl config`` and ``runctl init`` on real files."""

from __future__ import annotations

import stat
import textwrap
from typing import TYPE_CHECKING

import pytest

from runctl.project.settings import SETTINGS, USERS_OWN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World


@pytest.fixture
def project(world: World) -> Path:
    return world.project({".runctl.toml": '# mine\ndeps = "skip"  # slow here\n\n[ui]\ncolor = "never"\n'})


def user_file(world: World) -> Path:
    return world.home / ".config" / "runctl" / "config.toml"


def test_show_lists_every_setting_with_its_origin(world: World, project: Path) -> None:
    shown = world.runctl("config", "show", "--origin", cwd=project, RUNCTL_SHARE="1")
    rows = {row.split(" =")[0]: row for row in shown.out.splitlines()}
    assert (shown.code, shown.err, list(rows)) == (0, "", list(SETTINGS))
    assert rows["deps"].split() == ["deps", "=", '"skip"', "#", ".runctl.toml:2"]
    assert rows["ui.color"].endswith("# .runctl.toml:5")
    assert rows["share"].split() == ["share", "=", "true", "#", "env", "RUNCTL_SHARE"]
    assert rows["max_hours"].split() == ["max_hours", "=", "#", "default"]
    listed = world.runctl("config", "show", "--json", cwd=project).json()
    assert {"key": "deps", "value": "skip", "origin": ".runctl.toml:2"} in listed
    assert "#" not in world.runctl("config", "show", cwd=project).out


def test_what_looks_like_a_secret_is_not_listed_and_warned_of(world: World) -> None:
    project = world.project({".runctl.toml": '[env]\nWANDB_API_KEY = "abc123"\nKEYBOARD = "us"\n'})
    for words in (["config", "show"], ["config", "show", "--json"]):
        out = world.runctl(*words, cwd=project).out
        assert "abc123" not in out
        assert "us" in out
    valid = world.runctl("config", "validate", cwd=project)
    assert valid.code == 0
    assert valid.err.startswith('warning: .runctl.toml:2: "env.WANDB_API_KEY" looks like a secret')
    assert "abc123" not in valid.err + valid.out


def test_get_prints_the_value_alone(world: World, project: Path) -> None:
    def get(key: str) -> str:
        return world.runctl("config", "get", key, cwd=project, RUNCTL_INCLUDE="a,b").out

    assert [get("deps"), get("include"), get("max_hours"), get("grace_seconds"), get("share")] == [
        "skip\n",
        "a\nb\n",
        "",
        "30\n",
        "false\n",
    ]
    assert world.runctl("config", "get", "deps", "--json", cwd=project).json() == {
        "key": "deps",
        "value": "skip",
        "origin": ".runctl.toml:2",
    }


@pytest.mark.parametrize("key", ["dep", "ui.colour", "env", "max-hours"])
def test_an_unknown_key_is_answered_with_the_nearest(world: World, key: str) -> None:
    got = world.runctl("config", "get", key)
    if key == "env":
        assert (got.code, got.out) == (0, "")
        return
    assert (got.code, got.out) == (2, "")
    near = {"dep": "deps", "ui.colour": "ui.color", "max-hours": "max_hours"}[key]
    assert f"runctl config get {near}\n" in got.err


def test_set_changes_one_line_of_the_projects_file(world: World, project: Path) -> None:
    file = project / ".runctl.toml"
    file.chmod(0o640)
    got = world.runctl("config", "set", "ui.color", "always", cwd=project)
    assert (got.code, got.out, got.err) == (0, "", f'wrote ui.color = "always"\n  in {file}\n')
    assert file.read_text() == '# mine\ndeps = "skip"  # slow here\n\n[ui]\ncolor = "always"\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    again = world.runctl("config", "set", "ui.color", "always", cwd=project)
    assert again.err.startswith("already there: ui.color")
    assert [path.name for path in project.iterdir()] == [".runctl.toml"]


def test_set_knows_every_key_and_what_it_wrote_is_in_force(world: World) -> None:
    project = world.project({"train.py": ""})
    values = {"number": "9", "bool": "true", "list": "a,b", "table": "A=1", "schema": "1", "text": "local"}
    for key, setting in SETTINGS.items():
        value = setting.choices[0] if setting.choices else values[setting.kind]
        value = {"python": ">=3.11", "log.file": "x.log", "hosts": "lab=ssh://box"}.get(key, value)
        where = "--user" if key in USERS_OWN else "--project"
        got = world.runctl("config", "set", key, value, where, cwd=project)
        assert (got.code, got.out) == (0, ""), key
    listed = world.runctl("config", "show", "--json", cwd=project).json()
    origins = {row["key"]: row["origin"].partition(":")[0] for row in listed if row["key"] not in USERS_OWN}
    assert origins == {key: ".runctl.toml" for key in SETTINGS if key not in USERS_OWN}
    assert world.runctl("config", "validate", cwd=project).code == 0


def test_set_without_a_project_writes_the_users_file_and_says_so(world: World) -> None:
    folder = world.root / "anywhere"
    folder.mkdir()
    got = world.runctl("config", "set", "deps", "skip", cwd=folder)
    assert got.err == f'wrote deps = "skip"\n  in {user_file(world)}\n'
    assert user_file(world).read_text() == 'deps = "skip"\n'
    assert list(folder.iterdir()) == []


def test_set_says_when_something_stronger_has_the_last_word(world: World, project: Path) -> None:
    got = world.runctl("config", "set", "deps", "background", "--user", cwd=project)
    assert got.err.splitlines()[-1] == "  but the value in force comes from .runctl.toml:2"
    got = world.runctl("config", "set", "deps", "background", cwd=project, RUNCTL_DEPS="wait")
    assert got.err.splitlines()[-1] == "  but the value in force comes from env RUNCTL_DEPS"


def test_set_in_pyproject_stays_in_its_table(world: World) -> None:
    before = '[project]\nname = "x"\n\n[tool.runctl]\ndeps = "skip"\n\n[tool.ruff]\nline-length = 100\n'
    project = world.project({"pyproject.toml": before})
    assert world.runctl("config", "set", "env.A", "x=y,z", cwd=project).code == 0
    assert world.runctl("config", "get", "env.A", cwd=project).out == "x=y,z\n"
    assert world.runctl("config", "unset", "env.A", cwd=project).code == 0
    assert world.runctl("config", "set", "deps", "wait", cwd=project).code == 0
    assert 'deps = "wait"\n' in (project / "pyproject.toml").read_text()
    assert [path.name for path in project.iterdir()] == ["pyproject.toml"]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("deps", "later", 'deps needs one of "wait", "background", "skip", not "later"'),
        ("max_hours", "-1", "max_hours needs a number above 0, not -1"),
        ("share", "maybe", 'share needs true or false, not "maybe"'),
        ("env.A B", "1", 'env.A B "A B" is no name of an environment variable'),
        ("log.file", "/tmp/x", 'log.file needs a path inside the project, not "/tmp/x"'),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_written(
    world: World, project: Path, key: str, value: str, says: str
) -> None:
    before = (project / ".runctl.toml").read_bytes()
    got = world.runctl("config", "set", key, "--json", "--", value, cwd=project)
    if got.code == 2 and "after --" in got.out:  # a value is no argument of a script
        got = world.runctl("config", "set", key, value, "--json", cwd=project)
    assert (got.code, got.json()["error"]["what"]) == (2, says)
    assert (project / ".runctl.toml").read_bytes() == before


def test_unset_takes_the_key_from_the_file_it_comes_from(world: World, project: Path) -> None:
    world.runctl("config", "set", "max_hours", "3", "--user", cwd=project)
    assert (
        world.runctl("config", "unset", "max_hours", cwd=project).err
        == f"removed max_hours\n  in {user_file(world)}\n"
    )
    assert user_file(world).read_text() == ""
    assert world.runctl("config", "unset", "deps", cwd=project).err.startswith("removed deps")
    again = world.runctl("config", "unset", "deps", cwd=project)
    assert (again.code, again.err.splitlines()[0]) == (0, "not set: deps")


def test_a_file_that_is_broken_is_not_edited_and_named(world: World) -> None:
    project = world.project({".runctl.toml": "deps = \n"})
    got = world.runctl("config", "set", "deps", "skip", cwd=project)
    assert (got.code, (project / ".runctl.toml").read_text()) == (2, "deps = \n")
    assert got.err.startswith("error[config-invalid]: 1 problem in the configuration")


def test_a_file_with_a_wrong_key_can_be_mended_by_commands(world: World) -> None:
    project = world.project({".runctl.toml": 'deps = "later"\n'})
    assert world.runctl("config", "get", "deps", cwd=project).code == 2
    assert world.runctl("config", "set", "deps", "wait", cwd=project).code == 0
    assert world.runctl("config", "get", "deps", cwd=project).out == "wait\n"


def test_validate_lists_every_problem_and_json_has_their_places(world: World) -> None:
    project = world.project({".runctl.toml": "dep = 1\n[ui]\ncolor = 3\n"})
    got = world.runctl("config", "validate", cwd=project, RUNCTL_DEP="x")
    assert (got.code, got.out) == (2, "")
    assert got.err.splitlines()[:5] == [
        'warning: env RUNCTL_DEP: means nothing to runctl; did you mean "RUNCTL_DEPS"?',
        "error[config-invalid]: 2 problems in the configuration",
        '  why:  .runctl.toml:1:1: unknown key "dep"; did you mean "deps"?',
        '        .runctl.toml:3:1: "ui.color": needs one of "auto", "always", "never",',
        "        not 3",
    ]
    report = world.runctl("config", "validate", "--json", cwd=project)
    assert report.code == 2
    assert report.json()["valid"] is False
    assert [(p["where"], p["line"], p["column"], p["key"], p["near"]) for p in report.json()["problems"]] == [
        (".runctl.toml", 1, 1, "dep", "deps"),
        (".runctl.toml", 3, 1, "ui.color", ""),
    ]


def test_validate_knows_the_targets_there_are(world: World) -> None:
    project = world.project({".runctl.toml": '\ntarget = "lokal"\n'})
    got = world.runctl("config", "validate", cwd=project)
    assert got.code == 2
    assert ".runctl.toml:2: no target is called lokal" in got.err


def test_other_commands_work_with_a_broken_file_and_warn(world: World) -> None:
    project = world.project({".runctl.toml": "x = 1\n"})
    got = world.runctl("explain", "usage", cwd=project)
    assert got.code == 0
    assert got.err == (
        'warning: settings ignored: .runctl.toml:1:1: unknown key "x"\n  see: runctl config validate\n'
    )


def test_path_names_the_files_of_both_layers(world: World, project: Path) -> None:
    got = world.runctl("config", "path", cwd=project)
    assert got.out == f"user     {user_file(world)}  (not there)\nproject  {project / '.runctl.toml'}\n"
    assert world.runctl("config", "path", "--json", cwd=project).json()["user_exists"] is False


def test_init_writes_a_short_file_that_changes_nothing(world: World) -> None:
    project = world.project({"train.py": ""})
    before = world.runctl("config", "show", cwd=project).out
    got = world.runctl("init", cwd=project)
    file = project / ".runctl.toml"
    assert (got.code, got.out) == (0, "")
    assert got.err.startswith(f"wrote {file}\n")
    assert world.runctl("config", "show", cwd=project).out == before
    assert world.runctl("init", "--print", cwd=project).out == file.read_text()
    assert len(file.read_text().splitlines()) < 60
    # every line one can uncomment is valid
    settings = [line[2:] for line in file.read_text().splitlines() if line.startswith("# ") and " = " in line]
    text = file.read_text()
    for line in settings:
        text = text.replace(f"# {line}", line)
    file.write_text(text)
    assert world.runctl("config", "validate", cwd=project).code == 0


def test_init_never_overwrites_unless_told(world: World, project: Path) -> None:
    before = (project / ".runctl.toml").read_text()
    got = world.runctl("init", cwd=project)
    assert got.code == 2
    assert (project / ".runctl.toml").read_text() == before
    said = "\n".join(row for row in got.err.splitlines() if not row.startswith("  more:")) + "\n"
    assert said == textwrap.dedent(f"""\
        error[config-exists]: {project}/.runctl.toml is already there
          why:  `runctl init` never overwrites a file unless told to
          fix:    runctl config show --origin
                  runctl init --print
                  runctl init --force
        """)
    assert world.runctl("init", "--force", cwd=project).code == 0
    assert (project / ".runctl.toml").read_text() != before


def test_a_folder_that_cannot_be_written_is_said_and_nothing_left(world: World) -> None:
    project = world.project({"train.py": ""})
    (world.home / ".config").write_text("a file where a folder has to be")
    got = world.runctl("config", "set", "deps", "skip", "--user", cwd=project)
    assert got.code == 2
    assert got.err.startswith(f"error[config-unwritable]: cannot write {user_file(world)}")


RUST = """\
[aws]
region = "eu-west-1"
default_instance_type = "g5.xlarge"
default_ami = "ami-08fa3ed5577079e64"
use_spot = true
s3_bucket = "lab-runs"
user_id = "ann"

[runpod]
api_key = "rp-secret"

[checkpoint]
dir = "checkpoints"
keep_last_n = 10
"""


def test_a_file_of_the_rust_tool_is_known_and_brought_over(world: World) -> None:
    project = world.project({".runctl.toml": RUST, "train.py": "print('ran')\n"})
    (project / ".runctl.toml").chmod(0o600)
    refused = world.runctl("train", "train.py", cwd=project)
    assert refused.code == 2
    assert "runctl config import" in refused.err
    dry = world.runctl("config", "import", "--dry-run", cwd=project)
    assert (project / ".runctl.toml").read_text() == RUST
    made = world.runctl("config", "import", cwd=project)
    assert made.code == 0, made.err
    text = (project / ".runctl.toml").read_text()
    assert text == dry.out
    assert text == textwrap.dedent("""\
        # Brought over from the Rust runctl.
        version = 1
        instance_type = "g5.xlarge"
        spot = true

        [aws]
        bucket = "lab-runs"
        region = "eu-west-1"
        """)
    kept = project / ".runctl.toml.rust~"
    assert kept.read_text() == RUST
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.name not in world.runctl("project", "--files", cwd=project).out
    assert "rp-secret" not in text + made.err + made.out
    for words in (
        "- runpod.api_key: a key stands in no file",
        "- checkpoint.keep_last_n: say it",
        "! spot: it counts",
    ):
        assert words in made.err
    assert world.runctl("config", "get", "aws.bucket", cwd=project).out == "lab-runs\n"
    again = world.runctl("config", "import", cwd=project)
    assert again.code == 2
    assert "config-not-rust" in again.err


def test_the_users_file_of_the_rust_tool_too(world: World, tmp_path: Path) -> None:
    user_file(world).parent.mkdir(parents=True)
    user_file(world).write_text('[aws]\ns3_bucket = "mine"\n')
    told = world.runctl("config", "import", "--json", cwd=tmp_path).json()
    assert told["settings"] == {"aws.bucket": "mine"}
    assert told["file"] == str(user_file(world))
    assert world.runctl("config", "get", "aws.bucket", cwd=tmp_path).out == "mine\n"


def test_nothing_else_is_brought_over(world: World, project: Path) -> None:
    before = (project / ".runctl.toml").read_text()
    refused = world.runctl("config", "import", cwd=project)
    assert refused.code == 2
    assert "config-not-rust" in refused.err
    assert (project / ".runctl.toml").read_text() == before
