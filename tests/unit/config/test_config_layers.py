"""Which layer wins, what each value's origin is, and that all problems are told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runctl.core.errors import UsageError
from runctl.project.config import Config, load, read, unknown_variables
from runctl.project.settings import OTHER_VARIABLES, SETTINGS, USERS_OWN, as_toml, check, from_text

if TYPE_CHECKING:
    from pathlib import Path


class Place:
    """A user's file, a project and an environment."""

    def __init__(self, base: Path) -> None:
        self.project = base / "project"
        self.project.mkdir()
        self.user = base / "config" / "runctl" / "config.toml"
        self.user.parent.mkdir(parents=True)
        self.env = {"XDG_CONFIG_HOME": str(base / "config"), "HOME": str(base)}

    def write(self, text: str, name: str = ".runctl.toml", encoding: str = "utf-8") -> Path:
        path = self.project / name
        path.write_bytes(text.encode(encoding))
        return path

    def load(self, **flags: Any) -> Config:
        return load(self.project, env=self.env, flags=flags)

    def problems(self) -> list[str]:
        return [str(problem) for problem in read(self.project, env=self.env)[1]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_any_file_every_setting_has_its_default(place: Place) -> None:
    config = place.load()
    assert {key: config.get(key) for key in SETTINGS} == {key: s.default for key, s in SETTINGS.items()}
    assert {config.origin(key) for key in SETTINGS} == {"default"}
    assert (config.user_file, config.project_file) == (None, None)


def test_each_layer_wins_over_the_one_before_it(place: Place) -> None:
    seen = [place.load()]
    place.user.write_text('deps = "skip"\n')
    seen.append(place.load())
    place.write('# here\ndeps = "background"\n')
    seen.append(place.load())
    place.env["RUNCTL_DEPS"] = "wait"
    seen.append(place.load())
    seen.append(place.load(deps="skip"))
    assert [(config.get("deps"), config.origin("deps")) for config in seen] == [
        ("wait", "default"),
        ("skip", "../config/runctl/config.toml:1"),
        ("background", ".runctl.toml:2"),
        ("wait", "env RUNCTL_DEPS"),
        ("skip", "--deps"),
    ]


def test_variables_are_added_name_by_name_and_lists_replaced(place: Place) -> None:
    place.user.write_text('include = ["a"]\n[env]\nA = "user"\nB = "user"\n')
    place.write('include = ["b"]\n[env]\nB = "project"\nN = 4\n')
    config = place.load(env={"C": "flag"})
    assert config.table("env") == {"A": "user", "B": "project", "N": "4", "C": "flag"}
    assert config.items("include") == ("b",)
    assert [config.origin(f"env.{name}") for name in "ABC"] == [
        "../config/runctl/config.toml:3",
        ".runctl.toml:3",
        "--env",
    ]


def test_settings_of_pyproject_count_and_their_line_is_that_of_the_file(place: Place) -> None:
    place.write(
        '[project]\nname = "x"\n\n[tool.runctl]\ntarget = "local"\n\n[tool.runctl.ui]\ncolor = "never"\n',
        "pyproject.toml",
    )
    config = place.load()
    assert config.text("ui.color") == "never"
    assert config.origin("target") == "pyproject.toml:5"
    assert config.origin("ui.color") == "pyproject.toml:8"


def test_a_pyproject_without_a_table_of_runctl_is_no_configuration(place: Place) -> None:
    place.write('[project]\nname = "x"\ndependencies = ["runctl"]\n', "pyproject.toml")
    assert place.load().origin("target") == "default"
    assert place.problems() == []


def test_the_file_of_a_folder_above_counts(place: Place) -> None:
    place.write('deps = "skip"\n')
    below = place.project / "a" / "b"
    below.mkdir(parents=True)
    config = load(below, env=place.env)
    assert (config.get("deps"), config.origin("deps")) == ("skip", "../../.runctl.toml:1")


def test_an_explicit_file_takes_the_place_of_the_projects(place: Place) -> None:
    place.write('deps = "skip"\ninstaller = "pip"\n')
    other = place.write('deps = "background"\n', "other.toml")
    config = load(place.project, env=place.env, file=other)
    assert (config.get("deps"), config.get("installer")) == ("background", "auto")
    with pytest.raises(UsageError, match="1 problem") as caught:
        load(place.project, env=place.env, file=place.project / "none.toml")
    assert "no such file" in caught.value.why


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_marks_and_windows_line_ends_are_fine(place: Place, encoding: str, newline: str) -> None:
    place.write(
        newline.join(["# größe", 'deps = "skip"', "", "[ui]", 'color = "never"', ""]), encoding=encoding
    )
    config = place.load()
    assert (config.get("deps"), config.origin("ui.color")) == ("skip", ".runctl.toml:5")


def test_every_problem_of_every_layer_is_in_one_error(place: Place) -> None:
    place.user.write_text("grace_seconds = -1\n")
    place.write(
        'dep = "wait"\n'
        "max_hours = true\n"
        "share = 1\n"
        'include = "data"\n'
        '[ui]\ncolour = "never"\nlevel = "info"\n'
        "[logs]\nx = 1\n"
        "[env]\n'A B' = \"1\"\n"
    )
    place.env["RUNCTL_DEPS"] = "wat"
    with pytest.raises(UsageError) as caught:
        place.load()
    assert caught.value.code == "config-invalid"
    assert caught.value.why.splitlines() == [
        '../config/runctl/config.toml:1:1: "grace_seconds": needs a number of at least 0, not -1',
        '.runctl.toml:1:1: unknown key "dep"; did you mean "deps"?',
        '.runctl.toml:2:1: "max_hours": needs a number above 0, not true',
        '.runctl.toml:3:1: "share": needs true or false, not 1',
        '.runctl.toml:4:1: "include": needs a list of strings, not "data"',
        '.runctl.toml:6:1: unknown key "ui.colour"; did you mean "ui.color"?',
        '.runctl.toml:7:1: unknown key "ui.level"; did you mean "log.level"?',
        '.runctl.toml:8:1: unknown section "logs"',
        '.runctl.toml:10:1: "env": "A B" is no name of an environment variable',
        'env RUNCTL_DEPS: needs one of "wait", "background", "skip", not "wat"',
    ]
    assert caught.value.what == "10 problems in the configuration"


def test_what_is_in_order_counts_even_beside_a_problem(place: Place) -> None:
    place.write('nope = 1\n[ui]\ncolor = "never"\n')
    config, problems = read(place.project, env=place.env)
    assert (config.text("ui.color"), len(problems)) == ("never", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deps = \n", ".runctl.toml:1:8: invalid TOML: invalid value"),
        ('deps = "wait"\ndeps = "skip"\n', ".runctl.toml:2:14: invalid TOML: cannot overwrite a value"),
        ('a = "', ".runctl.toml: invalid TOML: unterminated string, at the end of the file"),
        ("x = " + "[" * 5000, ".runctl.toml: invalid TOML: nested too deeply"),
        ('log = "x.log"\n', '.runctl.toml:1:1: "log" is a section: write [log], then file = "runctl.log"'),
        ("version = 2\n", '.runctl.toml:1:1: "version": needs 1, not 2'),
        (
            'python = "three"\n',
            '.runctl.toml:1:1: "python": needs Python versions such as ">=3.11,<3.13", not "three"',
        ),
        ("max_hours = inf\n", '.runctl.toml:1:1: "max_hours": needs a number above 0, not inf'),
        ("[env]\nA = true\n", '.runctl.toml:1:1: "env": A needs a string, such as "true" or "1"'),
        ('env_from = ["A=1"]\n', '.runctl.toml:1:1: "env_from": "A=1" is no name of an environment variable'),
    ],
)
def test_a_file_that_cannot_be_used_says_where(place: Place, text: str, message: str) -> None:
    place.write(text)
    assert place.problems() == [message]


def test_a_file_that_is_no_text_names_the_line(place: Place) -> None:
    (place.project / ".runctl.toml").write_bytes(b"# one\nx = '\xff'\n")
    assert place.problems() == [".runctl.toml:2: is not UTF-8 text"]


def test_a_projects_log_stays_in_the_project(place: Place) -> None:
    place.write('[log]\nfile = "logs/run.jsonl"\n')
    assert place.load().text("log.file") == str(place.project / "logs" / "run.jsonl")
    for path in ("../out.log", "/etc/x.log", "~/.bashrc", "a/../../x"):
        place.write(f'[log]\nfile = "{path}"\n')
        assert place.problems() == [
            f'.runctl.toml:2:1: "log.file": needs a path inside the project, not "{path}"'
        ]


def test_the_users_log_is_absolute_and_a_variables_is_relative_to_the_folder(place: Place) -> None:
    place.user.write_text('[log]\nfile = "x.log"\n')
    assert 'absolute path or one from ~, not "x.log"' in place.problems()[0]
    place.user.write_text('[log]\nfile = "/tmp/x.log"\n')
    assert place.load().text("log.file") == "/tmp/x.log"
    place.env["RUNCTL_LOG_FILE"] = "y.log"
    assert place.load().text("log.file") == str(place.project / "y.log")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("share", "yes", True),
        ("share", "0", False),
        ("max_hours", "1.5", 1.5),
        ("include", "a/*, b", ("a/*", "b")),
        ("env_from", "A", ("A",)),
        ("python", "3.11", "==3.11.*"),
        ("python", "3.11.4", "==3.11.4"),
        ("python", ">= 3.10, <3.13", ">=3.10,<3.13"),
        ("target", "local", "local"),
        ("ui.quiet_after_seconds", "2", 2.0),
    ],
)
def test_variables_and_flags_are_read_by_the_type_of_their_setting(
    place: Place, key: str, text: str, value: Any
) -> None:
    place.env[SETTINGS[key].env] = text
    config = place.load()
    assert (config.get(key), config.origin(key)) == (value, f"env {SETTINGS[key].env}")


def test_an_empty_variable_counts_as_unset(place: Place) -> None:
    place.env |= {setting.env: "" for setting in SETTINGS.values() if setting.env}
    assert {place.load().origin(key) for key in SETTINGS} == {"default"}


def test_a_wrong_flag_is_a_wrong_command_line(place: Place) -> None:
    with pytest.raises(UsageError) as caught:
        place.load(max_hours="0")
    assert (caught.value.code, caught.value.why) == ("usage", "--max-hours needs a number above 0, not 0")


def test_variables_that_mean_nothing_are_named_with_the_nearest(place: Place) -> None:
    env = dict.fromkeys(OTHER_VARIABLES, "x") | {"RUNCTL_DEP": "wait", "RUNCTL_QZXW": "1", "OTHER": "1"}
    assert [str(problem) for problem in unknown_variables(env)] == [
        'env RUNCTL_DEP: means nothing to runctl; did you mean "RUNCTL_DEPS"?',
        "env RUNCTL_QZXW: means nothing to runctl",
    ]


@pytest.mark.parametrize("key", USERS_OWN)
def test_what_may_name_programs_is_not_taken_from_a_project(place: Place, key: str) -> None:
    section, _, name = key.rpartition(".")
    place.write(f'[{section}]\n{name} = "evil"\n')
    assert place.problems() == [
        f'.runctl.toml:2:1: "{key}": may not stand in a project\'s file: set it in your own, with --user'
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('"ssh://-oProxyCommand=id"', "no address"),
        ('""', "needs an address"),
        ("3", "needs an address"),
        ('"ssh://a ssh://b:0"', "there is no port 0"),
    ],
)
def test_a_name_for_hosts_needs_addresses(place: Place, value: str, told: str) -> None:
    place.write(f"[hosts]\nlab = {value}\n")
    (problem,) = place.problems()
    assert told in problem


@pytest.mark.parametrize("key", list(SETTINGS))
def test_every_example_in_the_table_is_valid_and_differs_in_nothing_but_its_setting(
    place: Place, key: str
) -> None:
    setting = SETTINGS[key]
    section = key.rpartition(".")[0]
    text = (f"[{section}]\n" if section else "") + setting.example + "\n"
    if key in USERS_OWN:
        place.user.write_text(text)
    else:
        place.write(text)
    config = place.load()
    assert "toml:" in config.origin(key)
    assert all(config.origin(other) == "default" for other in SETTINGS if other != key)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_every_default_is_a_value_its_setting_takes(setting: Any) -> None:
    if setting.default not in (None, ""):
        assert check(setting, setting.default) == setting.default
    if setting.kind in ("choice", "number", "bool") and setting.default is not None:
        assert from_text(setting, as_toml(setting.default).strip('"')) == setting.default


def test_reading_settings_where_there_are_none_loads_no_parser(place: Place) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from runctl.project.config import load\n"
        f"load(Path({str(place.project)!r}), env={{'HOME': {str(place.project)!r}}})\n"
        "print([name for name in ('tomllib', 'tomlkit', 'difflib', 'tempfile', 'subprocess') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
