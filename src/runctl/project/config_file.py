"""One configuration file: read, with the place of each key, and what is wrong with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.project.settings import SECTIONS, SETTINGS, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PROJECT_FILE = ".runctl.toml"
PYPROJECT = "pyproject.toml"


class Problem(NamedTuple):
    """Something wrong with a setting: where (file, line, column; or a variable's name), what, and the nearest key."""

    where: str
    line: int | None
    column: int | None
    key: str
    text: str
    near: str = ""

    def __str__(self) -> str:
        numbers = "".join(f":{number}" for number in (self.line, self.column) if number is not None)
        hint = f'; did you mean "{self.near}"?' if self.near else ""
        return f"{self.where}{numbers}: {self.text}{hint}"


class ConfigFile:
    """A configuration file as read: its tables, and where each key stands (worked out when somebody asks)."""

    def __init__(
        self, path: Path, shown_as: str, text: str, table: Mapping[str, Any], prefix: tuple[str, ...]
    ) -> None:
        self.path, self.shown, self.text, self.table, self.prefix = path, shown_as, text, table, prefix
        self._places: dict[tuple[str, ...], tuple[int, int]] | None = None

    def place(self, path: tuple[str, ...]) -> tuple[int | None, int | None]:
        """Line and column of ``path`` (keys below ``prefix``), or of the nearest thing around it; None for neither."""
        from runctl.project import toml_lines  # noqa: PLC0415 - only for messages and --origin

        if self._places is None:
            self._places = toml_lines.places(self.text)
        return toml_lines.place(self._places, self.prefix + path) or (None, None)

    def origin(self, path: tuple[str, ...]) -> str:
        """``file:line`` of ``path``, as ``config show --origin`` prints it."""
        line, _ = self.place(path)
        return self.shown if line is None else f"{self.shown}:{line}"


def problem_at(file: ConfigFile, keys: tuple[str, ...], text: str, near: str = "") -> Problem:
    """The problem ``text`` with the key ``keys`` of ``file``."""
    line, column = file.place(keys)
    return Problem(file.shown, line, column, ".".join(keys), text, near)


def open_file(path: Path, shown_as: str) -> ConfigFile | Problem:
    """The file at ``path``, or why it cannot be used: not readable, not UTF-8, no TOML. Never raises for those."""
    import tomllib  # noqa: PLC0415 - there is a file

    try:
        data = path.read_bytes()
    except OSError as error:
        return Problem(shown_as, None, None, "", f"cannot be read: {error.strerror}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Problem(shown_as, line, None, "", "is not UTF-8 text")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        return Problem(shown_as, None, None, "", "invalid TOML: nested too deeply")
    except ValueError as error:  # TOMLDecodeError, or a number or date Python cannot hold
        return _invalid_toml(shown_as, str(error))
    prefix: tuple[str, ...] = ()
    if path.name == PYPROJECT:
        prefix = ("tool", "runctl")
        tool = table.get("tool", {})
        table = tool.get("runctl", {}) if isinstance(tool, dict) else {}
        if not isinstance(table, dict):
            return Problem(shown_as, None, None, "tool.runctl", '"tool.runctl" needs to be a table')
    return ConfigFile(path, shown_as, text, table, prefix)


def _invalid_toml(shown_as: str, message: str) -> Problem:
    import re  # noqa: PLC0415 - only for this message

    at = re.search(r" \(at line (\d+), column (\d+)\)\Z", message)
    reason = message[: at.start()] if at else message.removesuffix(" (at end of document)")
    line, column = (int(at[1]), int(at[2])) if at else (None, None)
    end = "" if at else ", at the end of the file"
    return Problem(shown_as, line, column, "", f"invalid TOML: {reason[:1].lower()}{reason[1:]}{end}")


def entries(
    file: ConfigFile, table: Mapping[str, Any], problems: list[Problem], section: str = ""
) -> Iterable[tuple[str, tuple[str, ...], Any]]:
    """Known keys with their values; what is not known goes to ``problems``."""
    for name, value in table.items():
        key = f"{section}.{name}" if section else name
        keys = tuple(filter(None, (section, name)))
        if key in SETTINGS:
            yield key, keys, value
        elif not section and name in SECTIONS:
            if isinstance(value, dict):
                yield from entries(file, value, problems, name)
            else:
                example = next(s.example for s in SETTINGS.values() if s.key.startswith(f"{name}."))
                problems.append(
                    problem_at(file, keys, f'"{name}" is a section: write [{name}], then {example}')
                )
        else:
            what = "section" if isinstance(value, dict) and not section else "key"
            problems.append(problem_at(file, keys, f"unknown {what} {shown(key)}", nearest_key(key)))


def nearest_key(key: str) -> str:
    """The setting whose name is most like ``key``, by its dotted name or its last part; empty when none is close."""
    import difflib  # noqa: PLC0415 - 18 ms, only for a mistake

    wanted = key.lower().replace("-", "_")
    names: dict[str, str] = {}
    for name in SETTINGS:
        names.setdefault(name.rpartition(".")[2], name)
    names |= {name: name for name in SETTINGS}
    for text in (wanted, wanted.rpartition(".")[2]):
        close = difflib.get_close_matches(text, names, n=1, cutoff=0.7)
        if close:
            return names[close[0]]
    return ""


def shown_path(path: Path, start: Path) -> str:
    """``path`` as a person in ``start`` would write it."""
    relative = os.path.relpath(path, start)
    if relative.count("..") <= 3:  # more is harder to read than the whole path
        return relative
    return str(path)
