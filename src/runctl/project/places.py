"""Where runctl keeps its own files on this machine. Reads the environment it is given, creates nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def _base(env: Mapping[str, str], variable: str, default: str) -> Path:
    """An XDG base directory: an absolute value of ``variable``, else ``default`` below the home (the XDG rule)."""
    given = env.get(variable, "")
    if given.startswith("/"):
        return Path(given)
    home = env.get("HOME", "")
    return (Path(home) if home else Path.home()) / default


def state_dir(env: Mapping[str, str]) -> Path:
    """The folder of records, index and ledger: ``$RUNCTL_STATE_DIR``, else ``$XDG_STATE_HOME/runctl``."""
    given = env.get("RUNCTL_STATE_DIR", "")
    return Path(given).absolute() if given else _base(env, "XDG_STATE_HOME", ".local/state") / "runctl"


def cache_dir(env: Mapping[str, str]) -> Path:
    """The folder of what can be made again: ``$XDG_CACHE_HOME/runctl``."""
    return _base(env, "XDG_CACHE_HOME", ".cache") / "runctl"


def user_config(env: Mapping[str, str]) -> Path:
    """The user's own settings: ``$XDG_CONFIG_HOME/runctl/config.toml``."""
    return _base(env, "XDG_CONFIG_HOME", ".config") / "runctl" / "config.toml"
