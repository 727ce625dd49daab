"""The settings in force: built-in defaults < user file < project file < ``RUNCTL_*`` < flags; each knows its origin.

Files are read here and nowhere else. ``tomllib`` is imported only when there is a file with settings in it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from runctl.core.catalogue import known
from runctl.project import rust_config
from runctl.project.config_file import (
    PROJECT_FILE,
    PYPROJECT,
    ConfigFile,
    Problem,
    entries,
    nearest_key,
    open_file,
    problem_at,
    shown_path,
)
from runctl.project.places import user_config
from runctl.project.settings import SETTINGS, USERS_OWN, Setting, WrongValueError, check, from_text, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runctl.core.errors import RunctlError


class _Origin(NamedTuple):
    """Where a value comes from: a file and the path of the key in it, or plain words."""

    words: str
    file: ConfigFile | None = None
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.words if self.file is None else self.file.origin(self.path)


class Config:
    """The settings in force. Immutable; ``with_flags`` gives a new one.

    ``project_file`` and ``user_file`` are the files that were read, None where there is none.
    """

    def __init__(
        self,
        values: dict[str, Any],
        origins: dict[str, _Origin],
        *,
        project_file: Path | None = None,
        user_file: Path | None = None,
    ) -> None:
        self._values = values
        self._origins = origins
        self.project_file = project_file
        self.user_file = user_file

    def get(self, key: str) -> Any:
        """The value of ``key``; a KeyError for a key that is not in ``SETTINGS`` is a bug of the caller."""
        return self._values[key]

    def text(self, key: str) -> str:
        """The value of a ``text`` or ``choice`` setting."""
        return cast("str", self._values[key])

    def number(self, key: str) -> float | None:
        """The value of a ``number`` setting; None where it is unset and has no default."""
        return cast("float | None", self._values[key])

    def flag(self, key: str) -> bool:
        """The value of a ``bool`` setting."""
        return cast("bool", self._values[key])

    def items(self, key: str) -> tuple[str, ...]:
        """The value of a ``list`` setting."""
        return cast("tuple[str, ...]", self._values[key])

    def table(self, key: str) -> dict[str, str]:
        """The value of a ``table`` setting, a copy."""
        return dict(self._values[key])

    def talk(self) -> dict[str, Any]:
        """What the settings say of how things are shown and logged, by the names of ``views.base.ViewOptions``."""
        log_file = self.get("log.file")
        return {
            "color": self.get("ui.color"),
            "quiet_after_seconds": self.get("ui.quiet_after_seconds"),
            "log_level": self.get("log.level"),
            "log_file": Path(log_file) if log_file else None,
        }

    def origin(self, key: str) -> str:
        """Where the value of ``key`` (or of ``env.NAME``) comes from: ``.runctl.toml:7``, ``env RUNCTL_DEPS``, ``default``."""
        return str(self._origins.get(key, _DEFAULT))

    def file_of(self, key: str) -> Path | None:
        """The file the value of ``key`` (or of ``env.NAME``) comes from; None for any other origin."""
        file = self._origins.get(key, _DEFAULT).file
        return None if file is None else file.path

    def with_flags(self, values: Mapping[str, Any]) -> Config:
        """These settings with the command line's on top; None stands for a flag that was not given.

        A value may be of the setting's own type or text; a table is added to name by name, a list replaces.

        Raises:
            UsageError: ``usage`` for a value its setting does not take.
        """
        new = Config(
            dict(self._values), dict(self._origins), project_file=self.project_file, user_file=self.user_file
        )
        for key, value in values.items():
            if value is None:
                continue
            setting = SETTINGS[key]
            try:
                right = from_text(setting, value) if isinstance(value, str) else check(setting, value)
            except WrongValueError as error:
                raise known("usage", why=f"{setting.flag} {error}", fix=["  runctl config --help"]) from error
            new._put(setting, right, _Origin(setting.flag))
        return new

    def _put(self, setting: Setting, value: Any, origin: _Origin) -> None:
        """Lay a checked value over what is there."""
        if setting.kind == "table":
            for name in value:
                path = (*origin.path, name) if origin.file else ()
                self._origins[f"{setting.key}.{name}"] = origin._replace(path=path)
            value = {**self._values[setting.key], **value}
        self._values[setting.key] = value
        self._origins[setting.key] = origin


_DEFAULT = _Origin("default")
_OF_RUST = "this is a file of the Rust runctl; bring it over with: runctl config import"


def defaults() -> Config:
    """The built-in settings alone."""
    return Config({key: setting.default for key, setting in SETTINGS.items()}, {})


def load(
    start: Path, *, env: Mapping[str, str], file: Path | None = None, flags: Mapping[str, Any] | None = None
) -> Config:
    """The settings for work that starts in the folder ``start``.

    Args:
        start: the project's file is the nearest one in this folder or above it.
        env: for ``RUNCTL_*`` and for where the user's file is.
        file: read in place of the project's file (``--config``).
        flags: settings of the command line, see ``Config.with_flags``.

    Raises:
        UsageError: ``config-invalid`` with every problem of every layer; ``usage`` for a wrong flag.
    """
    config, problems = read(start, env=env, file=file)
    if problems:
        raise invalid(problems)
    return config.with_flags(flags or {})


def read(start: Path, *, env: Mapping[str, str], file: Path | None = None) -> tuple[Config, list[Problem]]:
    """As ``load`` without flags, but problems are given back, beside the settings that are in order."""
    config, problems = defaults(), []
    user = user_config(env)
    if user.is_file():
        problems += _add_file(config, user, start, kind="user")
        config.user_file = user
    if file is not None:
        if file.is_file():
            problems += _add_file(config, file, start, kind="given")
            config.project_file = file
        else:
            problems.append(Problem(str(file), None, None, "", "no such file (--config)"))
    else:
        project = find_project_file(start)
        if project is not None:
            problems += _add_file(config, project, start, kind="project")
            config.project_file = project
    problems += _add_environment(config, env, start)
    return config, problems


def invalid(problems: Iterable[Problem]) -> RunctlError:
    """The error ``config-invalid`` that lists ``problems``."""
    lines = [str(problem) for problem in problems]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return known("config-invalid", why="\n".join(lines), count=count)


def _named(key: str, error: Exception) -> str:
    return f'"{key}": {error}'


def find_project_file(start: Path) -> Path | None:
    """The file with the settings of the project around ``start``, None when it has none.

    ``project.root`` decides what the project is; it is loaded only when there is a candidate at all, because most
    commands are typed where there is none.
    """
    if not (_candidate(os.path.abspath(start)) or _candidate(os.path.realpath(start))):
        return None
    from runctl.project.root import find_root  # noqa: PLC0415 - only when it has something to decide

    marker = find_root(start).marker
    return marker if marker is not None and marker.name in (PROJECT_FILE, PYPROJECT) else None


def _candidate(folder: str) -> bool:
    """Whether ``folder`` or one above it holds a file that could have settings."""
    while True:
        if os.path.isfile(os.path.join(folder, PROJECT_FILE)):
            return True
        try:
            with open(os.path.join(folder, PYPROJECT), "rb") as file:
                if b"runctl" in file.read():
                    return True
        except OSError:  # not there, or nothing that can be read: no candidate
            pass
        above = os.path.dirname(folder)
        if above == folder:
            return False
        folder = above


def _add_file(config: Config, path: Path, start: Path, *, kind: str) -> list[Problem]:
    """Lay a file over ``config``; gives what is wrong with it."""
    opened = open_file(path, shown_path(path, start))
    if isinstance(opened, Problem):
        return [opened]
    if rust_config.is_one(opened.table):
        return [Problem(shown_path(path, start), None, None, "", _OF_RUST)]
    problems: list[Problem] = []
    for key, keys, value in entries(opened, opened.table, problems):
        setting = SETTINGS[key]
        try:
            right = check(setting, value)
            if right:
                right = _placed(key, right, path.parent, kind)
        except WrongValueError as error:
            problems.append(problem_at(opened, keys, _named(key, error)))
            continue
        config._put(setting, right, _Origin("", opened, keys))  # noqa: SLF001 - building it
    return sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))


def _add_environment(config: Config, env: Mapping[str, str], start: Path) -> list[Problem]:
    """Lay ``RUNCTL_*`` over ``config``; an empty variable counts as unset."""
    problems = []
    for key, setting in SETTINGS.items():
        text = env.get(setting.env, "") if setting.env else ""
        if not text:
            continue
        try:
            value = from_text(setting, text)
            value = _placed(key, value, start, "env")
        except WrongValueError as error:
            problems.append(Problem(f"env {setting.env}", None, None, key, str(error)))
            continue
        config._put(setting, value, _Origin(f"env {setting.env}"))  # noqa: SLF001 - building it
    return problems


def unknown_variables(env: Mapping[str, str]) -> list[Problem]:
    """``RUNCTL_*`` variables that mean nothing to this version: warnings, since another version may know them."""
    from runctl.project.settings import OTHER_VARIABLES  # noqa: PLC0415 - only for `config validate`

    valid = {setting.env: key for key, setting in SETTINGS.items() if setting.env}
    found = []
    for name in sorted(env):
        if name.startswith("RUNCTL_") and name not in valid and name not in OTHER_VARIABLES:
            near = nearest_key(name.removeprefix("RUNCTL_").lower())
            spelled = SETTINGS[near].env if near else ""
            found.append(Problem(f"env {name}", None, None, "", "means nothing to runctl", spelled))
    return found


def check_place(key: str, value: Any, *, kind: str) -> None:
    """Whether ``key`` may have this value in a ``user`` or ``project`` file; raises ``WrongValueError``."""
    if value:
        _placed(key, value, Path("/"), kind)


def _placed(key: str, value: Any, base: Path, kind: str) -> Any:
    """The value of ``key`` as it is meant where it stands. A project's file may come with somebody else's code."""
    if key == "log.file":
        return _log_path(value, base, kind)
    if key in USERS_OWN and kind == "project":
        raise WrongValueError("may not stand in a project's file: set it in your own, with --user")
    if key == "ssh.config":
        return str(base / Path(value).expanduser())
    return value


def _log_path(value: str, base: Path, kind: str) -> str:
    """Where the log goes, absolute.

    A project's file may come with somebody else's code: it cannot make runctl write outside of its own folder.
    """
    path = Path(value).expanduser()
    if kind == "project":
        inside = Path(os.path.normpath(base / path))
        if path.is_absolute() or not inside.is_relative_to(base):
            raise WrongValueError(f"needs a path inside the project, not {shown(value)}")
        return str(inside)
    if kind == "user" and not path.is_absolute():
        raise WrongValueError(f"needs an absolute path or one from ~, not {shown(value)}")
    return str(base / path)
