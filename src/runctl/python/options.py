"""The options of ``runctl train`` as keywords: their types for the checker, and their way into the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from runctl.core.catalogue import known
from runctl.project.settings import SETTINGS, WrongValueError, check, from_text
from runctl.project.text import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Options(TypedDict, total=False):
    """Each option of ``runctl train``, by the same name with underscores; what is left out comes from the settings."""

    on: str
    image: str
    deps: Literal["wait", "background", "skip"]
    python: str
    installer: Literal["auto", "uv", "pip"]
    max_hours: float
    grace: float
    share: bool
    gpu: str
    cpus: float
    memory: float
    disk: float
    cache_volume: str
    cache_volume_gb: float
    instance_type: str
    spot: bool
    no_fallback: bool
    max_attempts: int
    machine: str
    keep_machine: bool
    data: Sequence[str]
    output: str
    include: Sequence[str]
    exclude: Sequence[str]
    allow_secret: Sequence[str]
    env: Mapping[str, str]
    env_from: Sequence[str]
    region: str
    settings: Mapping[str, Any]


def keywords() -> dict[str, str]:
    """The keyword of every option, and the key of its setting."""
    flags = {key: setting.flag for key, setting in SETTINGS.items() if not key.startswith(("ui.", "log."))}
    return {flag.removeprefix("--").replace("-", "_"): key for key, flag in flags.items() if flag}


def settings_from(options: Mapping[str, Any], *, function: str) -> dict[str, Any]:
    """The settings that ``options`` set; None stands for one that was not given.

    Raises:
        UsageError: ``wrong-keyword`` for a name nobody knows, or a value that its setting does not take.
    """
    keys = keywords()
    found = {}
    for name, value in options.items():
        if name == "settings":
            continue
        if name not in keys:
            raise _unknown(function, name, keys, why="there is no keyword")
        found[keys[name]] = _checked(function, name, keys[name], value)
    for key, value in (options.get("settings") or {}).items():
        if key not in SETTINGS:
            raise _unknown(function, key, SETTINGS, why="there is no setting")
        found[key] = _checked(function, f'settings["{key}"]', key, value)
    return found


def _checked(function: str, name: str, key: str, value: Any) -> Any:
    if value is None:
        return None
    setting = SETTINGS[key]
    try:
        return from_text(setting, value) if isinstance(value, str) else check(setting, value)
    except WrongValueError as error:
        raise known("wrong-keyword", function=function, why=f"{name} {error}") from error


def _unknown(function: str, name: str, names: Mapping[str, Any], *, why: str) -> Exception:
    near = nearest(name, names)
    hint = f"; did you mean {near[0]}?" if near else ""
    return known("wrong-keyword", function=function, why=f"{why} {name!r}{hint}")
