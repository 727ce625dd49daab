"""What this machine's pip is told about indexes, in the words uv understands.

A machine whose administrator configured pip (a mirror, a wheel folder, a certificate) should work the same when uv
does the installing; uv reads none of pip's settings by itself. They travel as environment variables, never in an
argv, because index URLs may hold passwords.
"""

from __future__ import annotations

import os
import re
import sys

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

# pip's option → (uv's variables, any of which being set means the user has decided; separator of several values)
_WORDS = {
    "index-url": (("UV_DEFAULT_INDEX", "UV_INDEX_URL"), " "),
    "extra-index-url": (("UV_EXTRA_INDEX_URL", "UV_INDEX"), " "),
    "find-links": (("UV_FIND_LINKS",), ","),
    "constraint": (("UV_CONSTRAINT",), " "),
    "trusted-host": (("UV_INSECURE_HOST",), " "),
    "cert": (("SSL_CERT_FILE",), " "),
}


def pip_options(env: Mapping[str, str], *, prefix: str = sys.prefix) -> dict[str, str]:
    """pip's own settings as it would see them: configuration files, then ``PIP_*``; later ones win."""
    found: dict[str, str] = {}
    for path in _files(env, prefix):
        found.update(_read(path))
    for name in (*_WORDS, "no-index"):
        value = env.get("PIP_" + name.upper().replace("-", "_"), "")
        if value:
            found[name] = value
    return found


def for_uv(env: Mapping[str, str], *, prefix: str = sys.prefix) -> dict[str, str]:
    """The variables to add to ``env`` so that uv looks where pip would look; empty when there is nothing to add.

    pip takes the best version over all its indexes; uv would stop at the first index that knows a name, so a second
    index also brings ``UV_INDEX_STRATEGY=unsafe-best-match`` unless the user chose a strategy.
    """
    options = pip_options(env, prefix=prefix)
    if _uv_is_configured(env):
        for name in ("index-url", "extra-index-url", "find-links"):
            options.pop(name, None)
    options.pop("no-index", None)  # see uv_flags
    added: dict[str, str] = {}
    for name, value in options.items():
        variables, separator = _WORDS[name]
        if any(env.get(variable) for variable in variables):
            continue
        added[variables[0]] = separator.join(value.split())
    if "UV_EXTRA_INDEX_URL" in added and not env.get("UV_INDEX_STRATEGY"):
        added["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return added


def uv_flags(env: Mapping[str, str], *, prefix: str = sys.prefix) -> list[str]:
    """What of pip's settings uv takes as a flag only: ``no-index`` (uv has no variable for it)."""
    said = pip_options(env, prefix=prefix).get("no-index", "").strip().lower()
    return ["--no-index"] if said in ("1", "true", "yes", "on") and not _uv_is_configured(env) else []


def _files(env: Mapping[str, str], prefix: str) -> list[str]:
    named = env.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = env.get("HOME") or os.path.expanduser("~")
    folders = [
        os.path.join(folder, "pip") for folder in env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder
    ]
    user = env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    paths = [os.path.join(folder, "pip.conf") for folder in reversed(folders)]
    paths += ["/etc/pip.conf", os.path.join(home, ".pip", "pip.conf"), os.path.join(user, "pip", "pip.conf")]
    paths += [os.path.join(prefix, "pip.conf")]
    return paths + ([named] if named else [])


def _read(path: str) -> dict[str, str]:
    if not os.path.isfile(path):
        return {}
    import configparser  # noqa: PLC0415 - only where a file exists

    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}  # pip itself will complain, in its own words
    found = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found.update({key.replace("_", "-"): value for key, value in parser.items(section) if value})
    return {key: value for key, value in found.items() if key in (*_WORDS, "no-index")}


def _uv_is_configured(env: Mapping[str, str]) -> bool:
    """Whether the user's or the machine's ``uv.toml`` names indexes itself: then it knows better than pip's files."""
    home = env.get("HOME") or os.path.expanduser("~")
    user = env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    named = env.get("UV_CONFIG_FILE")
    for path in ([named] if named else []) + [os.path.join(user, "uv", "uv.toml"), "/etc/uv/uv.toml"]:
        try:
            with open(path, encoding="utf-8") as text:
                if re.search(
                    r"^\s*(\[\[index\]\]|(?:index-url|extra-index-url|find-links|no-index|index)\b)",
                    text.read(),
                    re.MULTILINE,
                ):
                    return True
        except (OSError, UnicodeDecodeError):
            continue
    return False
