"""Whatever is in a file: it is read, or one clear error says where and why. Edits change one key and nothing else."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runctl.core.errors import UsageError
from runctl.project.config import load, read
from runctl.project.config_edit import set_key, unset_key
from runctl.project.settings import SECTIONS, SETTINGS, WrongValueError, as_toml, check, from_text
from runctl.project.toml_lines import place, places

if TYPE_CHECKING:
    from pathlib import Path

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS: Any = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=12)
)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abAB_ .\"'é", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.sampled_from([*SETTINGS, "ui", "log", "dep", "ü", "x y"]).map(
    lambda key: key.partition(".")[0]
) | st.text("abc-_. é", min_size=1, max_size=5)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)
GOOD: dict[str, Any] = {
    "deps": st.sampled_from(SETTINGS["deps"].choices),
    "share": st.booleans(),
    "max_hours": st.floats(0.01, 1e6) | st.integers(1, 1000),
    "include": st.lists(st.text("ab/*!.", min_size=1, max_size=6), max_size=3),
    "target": st.text("abc-", min_size=1, max_size=8),
}
LAYERS = st.fixed_dictionaries({}, optional=GOOD)


@QUICK
@given(data=st.binary(max_size=120) | st.text(max_size=120).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused_with_their_place(tmp_path: Path, data: bytes) -> None:
    (tmp_path / ".runctl.toml").write_bytes(data)
    problems: list[str] = []
    try:
        load(tmp_path, env={"HOME": "/nowhere"})
    except UsageError as error:
        problems = [error.code, *error.why.splitlines()]
    assert not problems or problems[0] == "config-invalid"
    assert all(line.startswith(".runctl.toml:") for line in problems[1:])


@QUICK
@given(document=DOCUMENTS)
def test_any_toml_is_read_or_every_wrong_key_is_named(tmp_path: Path, document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    (tmp_path / ".runctl.toml").write_text(text, newline="")
    _, problems = read(tmp_path, env={"HOME": "/nowhere"})
    unknown = [key for key in document if key not in SETTINGS and key not in SECTIONS]
    assert {problem.key for problem in problems} >= set(unknown)
    for problem in problems:
        assert problem.line is not None
        assert problem.key.partition(".")[0] in document or problem.key in document


@QUICK
@given(document=DOCUMENTS)
def test_every_key_of_a_file_has_a_place_on_the_line_it_is_written_on(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document).replace("\r\n", "\n")
    found = places(text)
    lines = text.split("\n")
    for key in tomllib.loads(text):
        where = place(found, (key,))
        assert where is not None
        line, column = where
        quoted = {tomlkit.key(key).as_string(), key}
        assert any(lines[line - 1][column - 1 :].lstrip("[ ").startswith(name) for name in quoted)


@QUICK
@given(user=LAYERS, project=LAYERS, flags=LAYERS)
def test_the_strongest_layer_that_says_something_is_the_one_that_counts(
    tmp_path: Path, user: dict[str, Any], project: dict[str, Any], flags: dict[str, Any]
) -> None:
    user_file = tmp_path / "config" / "runctl" / "config.toml"
    user_file.parent.mkdir(parents=True, exist_ok=True)
    user_file.write_text(tomlkit.dumps(user))
    (tmp_path / ".runctl.toml").write_text(tomlkit.dumps(project))
    config = load(
        tmp_path, env={"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": "/nowhere"}, flags=flags
    )
    for key in GOOD:
        layer = next((layer for layer in (flags, project, user) if key in layer), None)
        want = SETTINGS[key].default if layer is None else check(SETTINGS[key], layer[key])
        assert config.get(key) == want
        origin = config.origin(key)
        if layer is flags and key in flags:
            assert origin == SETTINGS[key].flag
        elif key in project:
            assert origin.startswith(".runctl.toml:")
        else:
            assert origin.startswith("config/runctl/config.toml:" if key in user else "default")


@QUICK
@given(value=VALUES, key=st.sampled_from(list(SETTINGS)))
def test_a_value_fits_its_setting_or_says_what_it_should_be(key: str, value: Any) -> None:
    refused = ""
    try:
        right = check(SETTINGS[key], value)
        assert check(SETTINGS[key], right) == right  # what was accepted stays as it is
    except WrongValueError as error:
        refused = str(error)
    assert "\n" not in refused


@QUICK
@given(text=st.text(max_size=20), key=st.sampled_from(list(SETTINGS)))
def test_plain_text_fits_its_setting_or_is_refused(key: str, text: str) -> None:
    refused = "needs"
    try:
        value = from_text(SETTINGS[key], text)
        assert check(SETTINGS[key], value) == value
    except WrongValueError as error:
        refused = str(error)
    assert "needs" in refused or "is no name" in refused


@QUICK
@given(value=VALUES)
def test_a_value_is_shown_as_toml_reads_it(value: Any) -> None:
    if isinstance(value, dict):
        return  # keys are shown as they are, for people
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return
    assert tomllib.loads(f"x = {as_toml(value)}")["x"] == value


FILES = st.sampled_from(
    [
        "",
        "# only a comment",
        '# head\ndeps = "skip"  # why\n\n# tail\n',
        '[ui]\n# inside\ncolor = "never"\n\n[env]\nA = "1"\n',
        'ui.color = "never"\nlog = { level = "debug" }\n',
        '\ufeffdeps = "wait"\r\n\r\n[log]\r\nlevel = "info" # x\r\n',
        "unknown = 1\n[[others]]\na = 1\n[[others]]\na = 2\n",
    ]
)


@QUICK
@given(
    text=FILES,
    key=st.sampled_from(["deps", "ui.color", "log.level", "env.A", "env.NEW", "include", "max_hours"]),
    value=st.sampled_from(["skip", "é", ["a", "b"], 3, 1.5, True]),
)
def test_an_edit_changes_one_key_and_keeps_every_comment(
    tmp_path: Path, text: str, key: str, value: Any
) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode())
    before = tomllib.loads(text.removeprefix("\ufeff"))
    set_key(path, key, value)
    after = path.read_bytes().decode()
    section, _, name = key.rpartition(".")
    want = dict(before)
    if section:
        want[section] = {**want.get(section, {}), name: value}
    else:
        want[key] = value
    assert tomllib.loads(after.removeprefix("\ufeff")) == want
    assert [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line] == [
        line.partition("#")[2].strip() for line in after.splitlines() if "#" in line
    ]
    assert after.startswith("\ufeff") == text.startswith("\ufeff")
    assert "\n" not in after.replace("\r\n", "") if "\r\n" in text else "\r" not in after
    assert set_key(path, key, value) is False  # already there
    assert unset_key(path, key) is True
    assert unset_key(path, key) is False
    left = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    assert name not in (left.get(section, {}) if section else left)
