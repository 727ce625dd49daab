"""The one place that decides where a project begins.

In this order, each the nearest one above the start: a ``.runctl.toml`` or a ``pyproject.toml`` with
``[tool.runctl]``; the top of a git repository (``.git`` as a folder or, for worktrees and submodules, a file);
a ``pyproject.toml``, ``setup.py`` or ``requirements.txt``; else the folder itself.

The home directory, what is above it, ``/`` and the folder for temporary files hold everybody's files. From below
they are never taken, whatever lies in them (dotfiles in git, a stray ``requirements.txt``); from inside only their
own ``.runctl.toml`` or ``[tool.runctl]`` makes them a project. A script that lies in one directly is on its own
(``Root.alone``): it runs, and nothing travels with it but the files beside it that say what it needs to be installed.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from runctl.core.catalogue import known
from runctl.project.gitrepo import repository_at
from runctl.project.text import shown

CONFIG: Final = ".runctl.toml"
PACKAGE_MARKERS: Final = ("pyproject.toml", "setup.py", "requirements.txt")
_TABLE: Final = re.compile(rb"^\s*\[\s*tool\s*\.\s*[\"']?runctl[\"']?\s*[\].]", re.MULTILINE)


@dataclass(frozen=True)
class Root:
    """A project root and why it is one."""

    path: Path  # absolute, links resolved
    reason: str  # a sentence
    marker: Path | None  # the file or folder that decided; None when nothing did
    looked_at: tuple[Path, ...] = ()  # folders that were examined, in order
    passed_over: tuple[str, ...] = ()  # markers that were seen and not taken, each with the reason
    alone: bool = False  # nobody's folder: only the script and its dependency files travel

    def __str__(self) -> str:
        return shown(str(self.path))


@dataclass(frozen=True)
class _Search:
    """What one walk upwards found."""

    path: str
    reason: str
    marker: str | None
    looked_at: tuple[str, ...]
    passed_over: tuple[str, ...]


def find_root(start: Path, *, script: Path | None = None, explicit: Path | None = None) -> Root:
    """The root of the project around ``start``, or around ``script`` when one is given.

    Reads only; asked once for each place in a process, so everybody gets the same answer.

    Args:
        start: a folder, usually the one the command was typed in; relative paths are relative to it.
        script: a file; the search begins in its folder.
        explicit: the folder the user named as the root; nothing is searched then.

    Raises:
        UsageError: ``root-not-found`` when ``explicit`` is not a folder.
    """
    base = os.path.join(os.getcwd(), start)
    if explicit is not None:
        return _named(os.path.join(base, explicit))
    begin = os.path.dirname(os.path.join(base, script)) if script is not None else base
    return _cached(without_dots(begin), os.path.expanduser("~"), tempfile.gettempdir())


def without_dots(path: str) -> str:
    """The absolute path without ``.`` and ``..``, links kept where ``..`` does not force them open.

    ``a/link/../b`` is ``b`` beside what the link leads to, as the operating system has it.
    """
    head, found, tail = path.rpartition("/../")
    if path.endswith("/.."):
        return os.path.realpath(path)
    return os.path.normpath(os.path.join(os.path.realpath(f"{head}/..") if found else "/", tail))


def _named(path: str) -> Root:
    if not os.path.isdir(path):
        raise known("root-not-found", path=shown(path))
    real = os.path.realpath(path)
    return Root(Path(real), "it was named on the command line", None, (Path(real),))


@lru_cache(maxsize=256)
def _cached(start: str, home: str, temporary: str) -> Root:
    """Look above the path as it was written, then above where it really is.

    They differ when a link leads there. As written wins if the folder is inside the root it finds, so that
    ``training/`` being a link within the project keeps its name; else the project is where the files really are.
    """
    shared = _shared_places(home, temporary)
    real = os.path.realpath(start)
    found = _search(start, shared)
    if start != real:
        top = os.path.realpath(found.path)
        if found.marker is None or not is_below(real, top):
            found = _search(real, shared)
    path = os.path.realpath(found.path)
    return Root(
        Path(path),
        found.reason,
        Path(found.marker) if found.marker else None,
        tuple(map(Path, found.looked_at)),
        found.passed_over,
        alone=found.marker is None and path in shared,
    )


def is_below(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or inside it; both absolute and without links."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def _shared_places(home: str, temporary: str) -> dict[str, str]:
    """Folders that belong to no project, with their names in sentences."""
    home = os.path.realpath(home)
    places = {}
    above = home
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        places[above] = "a folder above your home directory"
    for folder in ("/tmp", "/var/tmp", temporary):  # noqa: S108 - recognised, not used
        places[os.path.realpath(folder)] = "a folder for temporary files"
    return places | {"/": "the root of the file system", home: "your home directory"}


def _search(start: str, shared: dict[str, str]) -> _Search:
    folders = [start]
    while folders[-1] != os.path.dirname(folders[-1]):
        folders.append(os.path.dirname(folders[-1]))
    passed: list[str] = []
    looked: list[str] = []
    git: tuple[str, str] | None = None
    package: tuple[str, str] | None = None
    for folder in folders:
        place = shared.get(os.path.realpath(folder))
        looked.append(folder)
        settings = _settings_in(folder)
        if settings and (place is None or folder == start):
            what = (
                f"{CONFIG} is here" if settings.endswith(CONFIG) else "its pyproject.toml has [tool.runctl]"
            )
            return _Search(folder, what, settings, tuple(looked), tuple(passed))
        if place is not None:
            passed += [f"{shown(seen)}: {place} is no project" for seen in _all_markers(folder, settings)]
            continue
        if git is None and repository_at(folder, {}) is not None:
            git = (folder, os.path.join(folder, ".git"))
        if package is None:
            package = next(
                ((folder, os.path.join(folder, m)) for m in PACKAGE_MARKERS if _is_file(folder, m)), None
            )
    none = f"no {CONFIG} or [tool.runctl]"
    if git is not None:
        return _Search(
            git[0],
            f"it is the top of a git repository ({none} above the start)",
            git[1],
            tuple(looked),
            tuple(passed),
        )
    if package is not None:
        name = os.path.basename(package[1])
        why = f"it is the nearest folder with a {name} ({none}, no git repository)"
        return _Search(package[0], why, package[1], tuple(looked), tuple(passed))
    why = f"nothing above marks a project ({none}, no git repository, no {' or '.join(PACKAGE_MARKERS)})"
    place = shared.get(os.path.realpath(start))
    if place is not None:
        why = f"{why}; {place} is no project by itself, so only the script and its dependency files travel (a {CONFIG} in it would make it one)"
    return _Search(start, why, None, tuple(looked), tuple(passed))


def _is_file(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


def _all_markers(folder: str, settings: str | None) -> list[str]:
    """What in a shared place would have made any other folder a project."""
    found = [settings] if settings else []
    found += [os.path.join(folder, m) for m in PACKAGE_MARKERS if _is_file(folder, m)]
    if repository_at(folder, {}) is not None:
        found.append(os.path.join(folder, ".git"))
    return list(dict.fromkeys(found))


def _settings_in(folder: str) -> str | None:
    """The file of runctl settings in ``folder``: ``.runctl.toml``, else a ``pyproject.toml`` with ``[tool.runctl]``."""
    own = os.path.join(folder, CONFIG)
    if os.path.isfile(own):
        return own
    project = os.path.join(folder, "pyproject.toml")
    try:
        with open(project, "rb") as file:
            data = file.read()
    except OSError:  # none, or unreadable: then it cannot say that it has the table
        return None
    return project if has_table(data) else None


def has_table(data: bytes) -> bool:
    """Whether the bytes of a ``pyproject.toml`` hold ``[tool.runctl]``. Pure.

    One that is not valid TOML counts by its header line, so that the error about it names the right file later.
    """
    if b"runctl" not in data:
        return False
    import tomllib  # noqa: PLC0415 - only for a file that names runctl at all

    try:
        parsed = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return _TABLE.search(data) is not None
    tool = parsed.get("tool")
    return isinstance(tool, dict) and "runctl" in tool
