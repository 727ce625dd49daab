"""Requirements files: which files belong together, and which lines are the project itself.

Read lightly: what a requirement means is the installer's to judge. Only what no installer could read is refused here,
before anything starts.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from pathlib import Path

_INCLUDE: Final = re.compile(r"^(-r|--requirement|-c|--constraint)(?:\s+|=|(?<=^-[rc]))(.+)$")
_EDITABLE: Final = re.compile(r"^(?:-e|--editable)(?:\s+|=)(.+)$")
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_NAME: Final = re.compile(
    r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[^\]]*\])?\s*(?:$|[<>=!~;@(])|\$\{"
)
_LOCAL: Final = re.compile(r"^(?:\.{1,2}(?:/|$|\[)|/|file:)")
_ARCHIVE: Final = re.compile(r"\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_URL: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*)://|^git\+")


@dataclass
class RequirementFiles:
    """What a walk through a requirements file and all it includes found."""

    files: list[str] = field(default_factory=list)  # project paths, the main one first
    skip: dict[str, list[int]] = field(default_factory=dict)  # lines that are folders of the project
    folders: list[str] = field(default_factory=list)  # those folders, project paths ("." is the root)
    warnings: list[str] = field(default_factory=list)


def walk(root: Path, main: str) -> RequirementFiles:
    """Follow ``main`` (a project path) through ``-r`` and ``-c``; a file that includes itself is read once.

    Raises:
        UsageError: ``requirements-missing`` for an include that is not there, ``requirements-outside`` for one beyond
            the project, ``requirements-invalid`` for a line that no installer can read; each with file and line.
    """
    found = RequirementFiles()
    _walk(root, main, found)
    return found


def _walk(root: Path, path: str, found: RequirementFiles) -> None:
    if path in found.files:
        return
    found.files.append(path)
    for number, line in _lines(root, path):
        at = f"{path}:{number}"
        include, editable = _INCLUDE.match(line), _EDITABLE.match(line)
        if include is not None:
            target = include[2].strip().strip("\"'")
            if _URL.match(target) or "${" in target:
                found.warnings.append(
                    f"{at} includes {_without_user(target)}, which only the machine can read"
                )
                continue
            inside = _inside(root, path, number, target, base=posixpath.dirname(path))
            if not (root / inside).is_file():
                raise known("requirements-missing", path=path, line=number, target=target)
            _walk(root, inside, found)
        elif editable is not None:
            _local(root, (path, number), editable[1], found)
        elif line.startswith("-"):
            continue
        elif _LOCAL.match(line) or (not _URL.match(line) and _ARCHIVE.search(line.partition(" ")[0])):
            _local(root, (path, number), line, found)
        elif not _URL.match(line) and not _NAME.match(line):
            reason = f"line {number} is neither a requirement nor an option: {line}"
            raise known("requirements-invalid", source=path, line=number, reason=reason)


def _local(root: Path, at: tuple[str, int], text: str, found: RequirementFiles) -> None:
    """A requirement that is a path: a folder of the project is code, not a package; an archive has to travel."""
    path, number = at
    target = text.split(";", maxsplit=1)[0].strip().strip("\"'").split("[")[0]
    if _URL.match(target) and not target.startswith("file:"):
        return
    # Installers take such paths relative to where they run: runctl runs them beside the main file.
    inside = _inside(root, path, number, target, base=posixpath.dirname(found.files[0]))
    if inside == "." or (root / inside).is_dir():
        found.skip.setdefault(path, []).append(number)
        if inside not in found.folders:
            found.folders.append(inside)
    elif not (root / inside).is_file():
        raise known("requirements-missing", path=path, line=number, target=target)
    elif inside not in found.files:
        found.files.append(inside)


def _inside(root: Path, path: str, number: int, target: str, *, base: str) -> str:
    """``target`` as a project path; what leads out of the project is an error, also by an absolute path."""
    if target.startswith(("/", "file:", "~")):
        inside = posixpath.relpath(target.removeprefix("file://").removeprefix("file:"), root.as_posix())
    else:
        inside = posixpath.normpath(posixpath.join(base, target))
    if inside.startswith(".."):
        raise known("requirements-outside", path=path, line=number, target=target, root=str(root))
    return inside


def _lines(root: Path, path: str) -> list[tuple[int, str]]:
    """The lines that say something, without comments, continuations joined; each with the number it begins on."""
    text = (root / path).read_text("utf-8-sig", errors="surrogateescape")
    out: list[tuple[int, str]] = []
    begin, parts = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        begin = begin or number
        if raw.rstrip().endswith("\\") and not raw.lstrip().startswith("#"):
            parts += raw.rstrip()[:-1] + " "
            continue
        line = _COMMENT.sub("", parts + raw).strip()
        if line:
            out.append((begin, line))
        begin, parts = 0, ""
    return out


def _without_user(url: str) -> str:
    return re.sub(r"(?<=://)[^\s/]*@", "***@", url)
