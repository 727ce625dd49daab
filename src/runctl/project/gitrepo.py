"""What git knows about ignoring, read from its files without starting git: exclude files and the tracked paths.

Honoured: ``info/exclude``, ``core.excludesFile`` of the system's, the user's and the repository's configuration
(else ``~/.config/git/ignore``), ``core.ignoreCase``, worktrees and submodules (a ``.git`` file). Not followed:
``include`` in git's configuration. The index is read directly (versions 2 to 4, SHA-1 or SHA-256); for a split or
sparse index git itself is asked.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING, Final

from runctl.project.ignore import RuleSet, bytewise, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECTION: Final = re.compile(r"\s*\[\s*([\w.-]+)\s*(\"[^\"]*\")?\s*\]")
_VARIABLE: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*(.*?))?\s*$")
_HEADER: Final = 12  # bytes: "DIRC", version, number of entries


class Repository:
    """A git work tree. Nothing is read before it is asked for.

    Args:
        top: its top folder.
        git_dir: where its index is.
        common_dir: where its configuration and ``info/exclude`` are (another place in a linked worktree).
        env: the process environment, for ``HOME``, ``XDG_CONFIG_HOME`` and ``GIT_CONFIG_*``.
    """

    def __init__(self, top: str, git_dir: str, common_dir: str, env: Mapping[str, str]) -> None:
        self.top = top
        self.git_dir = git_dir
        self.common_dir = common_dir
        self._env = env
        self._settings: dict[str, str] | None = None
        self._tracked: list[str] | None = None
        self.problem = ""  # why the tracked paths are not known

    def _setting(self, key: str) -> str | None:
        if self._settings is None:
            settings: dict[str, str] = {}
            for path in self._config_files():
                settings.update(_read_config(path))
            self._settings = settings
        return self._settings.get(key)

    def _config_files(self) -> list[str]:
        """Git's configuration files, the strongest last."""
        env, files = self._env, []
        if env.get("GIT_CONFIG_NOSYSTEM", "").lower() not in ("1", "true", "yes", "on"):
            files.append(env.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig")
        if "GIT_CONFIG_GLOBAL" in env:
            files.append(env["GIT_CONFIG_GLOBAL"])
        else:
            files += [self._xdg("config"), os.path.join(env.get("HOME", ""), ".gitconfig")]
        return [file for file in [*files, os.path.join(self.common_dir, "config")] if file]

    def _xdg(self, name: str) -> str:
        base = self._env.get("XDG_CONFIG_HOME") or os.path.join(self._env.get("HOME", ""), ".config")
        return os.path.join(base, "git", name)

    @property
    def ignore_case(self) -> bool:
        """``core.ignoreCase``, which git sets on file systems that ignore case."""
        return (self._setting("core.ignorecase") or "").lower() in ("true", "yes", "on", "1")

    def exclude_files(self) -> list[RuleSet]:
        """The rules of ``info/exclude`` and of the user's own exclude file, the stronger first; only non-empty ones."""
        own = self._setting("core.excludesfile")
        if own is None:
            own = self._xdg("ignore")
        elif own.startswith("~/"):
            own = os.path.join(self._env.get("HOME", ""), own[2:])
        else:
            own = os.path.join(self.top, own) if own else ""
        found = []
        for path, origin in (
            (os.path.join(self.common_dir, "info", "exclude"), ".git/info/exclude"),
            (own, own),
        ):
            rules = _read_rules(path, origin, ignore_case=self.ignore_case)
            if rules:
                found.append(rules)
        return found

    @property
    def tracked(self) -> list[str]:
        """The tracked paths, relative to ``top``, bytewise, sorted. Empty, with ``problem`` set, when unreadable."""
        if self._tracked is None:
            self._tracked = self._read_tracked()
        return self._tracked

    def _read_tracked(self) -> list[str]:
        try:
            with open(os.path.join(self.git_dir, "index"), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            self.problem = f"cannot read git's index: {error.strerror}"
            return []
        sha256 = (self._setting("extensions.objectformat") or "").lower() == "sha256"
        try:
            return sorted(read_index(data, hash_bytes=32 if sha256 else 20))
        except (ValueError, IndexError):
            return self._ask_git()

    def _ask_git(self) -> list[str]:
        import subprocess  # noqa: PLC0415 - only for an index in an unusual form

        argv = ["git", "-C", self.top, "ls-files", "-z"]
        try:
            done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            self.problem = f"cannot read git's index, and git does not help: {error}"
            return []
        return sorted(path.decode("latin-1") for path in done.stdout.split(b"\0") if path)

    @cached_property
    def index_mark(self) -> str:
        """The state of the index: while it is the same, so is what is tracked."""
        try:
            found = os.stat(os.path.join(self.git_dir, "index"))
        except OSError:
            return "none"
        return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"

    def is_tracked(self, path: str) -> bool:
        """Whether ``path`` (relative to ``top``, bytewise) is tracked itself: a file, a link or a submodule."""
        tracked = self.tracked
        at = bisect_left(tracked, path)
        return at < len(tracked) and tracked[at] == path

    def holds_tracked(self, folder: str) -> bool:
        """Whether something inside ``folder`` (relative to ``top``, bytewise) is tracked."""
        tracked, inside = self.tracked, folder + "/"
        at = bisect_left(tracked, inside)
        return at < len(tracked) and tracked[at].startswith(inside)


def repository_at(top: str, env: Mapping[str, str]) -> Repository | None:
    """The repository whose work tree begins at ``top``, or None: an empty ``.git`` folder is none, as git says too."""
    dot = os.path.join(top, ".git")
    git_dir = dot
    if not os.path.isdir(dot):
        pointer = _read_line(dot)
        if not pointer.startswith("gitdir:"):
            return None
        git_dir = os.path.normpath(os.path.join(top, pointer[len("gitdir:") :].strip()))
    if not os.path.lexists(os.path.join(git_dir, "HEAD")):
        return None
    common = _read_line(os.path.join(git_dir, "commondir"))
    return Repository(
        top, git_dir, os.path.normpath(os.path.join(git_dir, common)) if common else git_dir, env
    )


def read_index(data: bytes, *, hash_bytes: int) -> list[str]:
    """The paths in a git index, bytewise. Pure.

    Raises:
        ValueError: not an index, or one in a form that refers to other files (split, sparse).
        IndexError: it is cut short.
    """
    version = int.from_bytes(data[4:8], "big")
    if data[:4] != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("not an index")
    number, at = int.from_bytes(data[8:12], "big"), _HEADER
    fixed = 40 + hash_bytes  # ten 32-bit fields of stat, the object's name; then two bytes of flags
    paths: list[str] = []
    before = ""
    for _ in range(number):
        extended = data[at + fixed] & 0x40
        start = at + fixed + (4 if extended else 2)
        if version == 4:
            start, cut = _varint(data, start)
            end = data.index(b"\0", start)
            before = before[: len(before) - cut] + data[start:end].decode("latin-1")
            at = end + 1
        else:
            end = data.index(b"\0", start)
            before = data[start:end].decode("latin-1")
            at += (end - at + 8) & ~7  # padded with 1 to 8 NULs
        if not before:
            raise ValueError("an entry without a name")
        paths.append(before)
    _check_extensions(data, at, len(data) - hash_bytes)
    return paths


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    value = byte & 127
    while byte & 128:
        at += 1
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 127)
    return at + 1, value


def _check_extensions(data: bytes, at: int, end: int) -> None:
    while at + 8 <= end:
        name = data[at : at + 4]
        if name in (b"link", b"sdir"):
            raise ValueError("a split or sparse index")
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "big")


def _read_line(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(8192)).rstrip("\r\n")
    except OSError:
        return ""


def _read_rules(path: str, origin: str, *, ignore_case: bool) -> RuleSet | None:
    try:
        with open(path, "rb") as file:
            return parse(file.read(), origin=origin, ignore_case=ignore_case)
    except OSError:  # there is none, which is the usual case; git passes over an unreadable one as well
        return None


def _read_config(path: str) -> dict[str, str]:
    """The plain ``section.key = value`` settings of a git configuration file, keys in lower case."""
    try:
        with open(path, "rb") as file:
            text = os.fsdecode(file.read())
    except OSError:
        return {}
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        header = _SECTION.match(line)
        if header:
            section = "" if header[2] else header[1].lower()
            line = line[header.end() :]  # noqa: PLW2901 - a variable may follow on the same line
        variable = _VARIABLE.match(line)
        if section and variable:
            found[f"{section}.{variable[1].lower()}"] = _config_value(variable[2])
    return found


def _config_value(text: str | None) -> str:
    """A value without quotes, escapes and comment; a key alone means true."""
    if text is None:
        return "true"
    out: list[str] = []
    quoted = False
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            out.append({"n": "\n", "t": "\t", "b": "\b"}.get(following, following))
        elif character == '"':
            quoted = not quoted
        elif character in "#;" and not quoted:
            return "".join(out).rstrip()
        else:
            out.append(character)
    return "".join(out)


def relative(path: str, top: str) -> str:
    """``path`` below ``top`` with a ``/`` at the end, bytewise; empty when they are the same."""
    rest = path[len(top.rstrip("/")) + 1 :]
    return bytewise(rest) + "/" if rest else ""
