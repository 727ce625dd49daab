"""The Dockerfile of a project: its own, or one made from what the project says it needs. Reads only.

A made one holds the packages and nothing of the project's code, which every run brings by itself: it changes when the
dependencies do. It names no file that is not the project's, so what is printed builds by hand as well.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runctl.core.catalogue import known
from runctl.project.dependencies import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from runctl.project.dependencies import Dependencies

NAMES: Final = ("Dockerfile", "Containerfile")
FOLDER: Final = "/opt/runctl"  # where the project's dependency files lie in the image
_MINORS: Final = (12, 13, 11, 14, 10, 9)  # of Python 3, the first that fits is taken
_CLAUSE: Final = re.compile(r"^(===|==|~=|!=|>=|<=|>|<)\s*v?(\d+(?:\.\d+)*)(\.\*)?")
_LATEST: Final = 99  # the patch number of an image that names none: the newest there is
_PREFIX: Final = "\"$(python3 -c 'import sys; print(sys.prefix)')\""


@dataclass(frozen=True)
class Containerfile:
    """What an image is built from. ``files``: the project paths it copies; None: all that the engine sends."""

    text: str
    path: str  # of the project's own, relative to the root or absolute; empty for one that was made
    why: str  # what it was made from
    files: tuple[str, ...] | None = None


def own(root: Path, given: Path | None) -> Containerfile | None:
    """The project's own: the one ``given``, or one of ``NAMES`` at the root. Raises ``dockerfile-unreadable``."""
    there = [root / name for name in NAMES if (root / name).is_file()]
    path = given or (there[0] if there else None)
    if path is None:
        return None
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise known("dockerfile-unreadable", path=str(path), detail=error.strerror or str(error)) from error
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return Containerfile(text, shown, shown)


def made(root: Path, needs: Dependencies, base: str) -> Containerfile:
    """One that installs what ``needs`` says, on ``base`` or a Python image that fits.

    Raises:
        UsageError: ``dockerfile-nothing`` where nothing says what is needed, ``dockerfile-not-made`` where only the
            machine or a person can; ``conda-environment``.
    """
    request = needs.wanted()
    if request is None:
        raise known("dockerfile-nothing", root=str(root), why=needs.why)
    for path in needs.files:
        if PASSWORD.search((root / path).read_bytes().decode("utf-8", "replace")):
            raise known(
                "dockerfile-not-made", path=path, detail="it has a password, which would stay in the image"
            )
    lines = [
        f"# made by `runctl docker build` from {needs.why}",
        f"FROM {base or python_image(needs.python or '')}",
        "ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1",
    ]
    copied, steps = _steps(request)
    main = posixpath.dirname(request["files"][0])
    lines += [f"COPY {json.dumps([path, f'{FOLDER}/{path}'])}" for path in copied]
    lines.append(f"WORKDIR {posixpath.join(FOLDER, main).rstrip('/')}")
    lines += [f"RUN {step}" for step in steps]
    return Containerfile("\n".join(lines) + "\n", "", needs.why, tuple(copied))


def _steps(request: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The files to copy, and the shell lines that install, run in the folder of the main one. Pure."""
    kind, lines = request["kind"], request.get("requirements")
    main = posixpath.basename(request["files"][0])
    if kind == "uv-lock":
        project = posixpath.dirname(request.get("project") or "")
        where = posixpath.relpath(project or ".", posixpath.dirname(request["files"][0]) or ".")
        sync = [
            "uv",
            "sync",
            "--frozen",
            "--inexact",
            "--no-install-project",
            "--no-install-workspace",
            "--project",
            where,
            *(f"--no-install-package={name}" for name in request.get("exclude") or ()),
        ]
        install = f'UV_PROJECT_ENVIRONMENT={_PREFIX} {shlex.join(sync)} --python "$(command -v python3)"'
        return list(request["files"]), ["python3 -m pip install uv", install]
    if kind == "requirements":
        steps = list(_without_folders(request))
        return list(request["files"]), [*steps, _pip(["-r", main, *_flat(lines or [])])]
    if request.get("sources"):
        uv = f'uv pip install --python "$(command -v python3)" --system -r {shlex.quote(main)}'
        return list(request["files"]), ["python3 -m pip install uv", uv]
    if lines is None:
        detail = "its dependencies are known only to the tool that builds the project"
        raise known("dockerfile-not-made", path=request["files"][0], detail=detail)
    return [], [_pip(_flat(lines))] if lines else []


def _without_folders(request: Mapping[str, Any]) -> Iterator[str]:
    """Lines that name folders of the project are taken out of the copies: their code comes with each run."""
    start = posixpath.dirname(request["files"][0]) or "."
    for path, numbers in (request.get("skip") or {}).items():
        script = ";".join(f"{number}d" for number in numbers)
        yield shlex.join(["sed", "-i", script, posixpath.relpath(path, start)])


def _pip(words: list[str]) -> str:
    return shlex.join(["python3", "-m", "pip", "install", *words])


def _flat(lines: list[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def python_image(specifier: str) -> str:
    """The official image of a Python that fits ``specifier``, as ``>=3.11,<3.13``. Pure."""
    clauses = [found for part in specifier.split(",") if (found := _CLAUSE.match(part.strip()))]
    for found in clauses:
        exact = found[1] in ("==", "===") and not found[3] and found[2].count(".") == 2
        if exact:
            return f"python:{found[2]}-slim"
    for minor in _MINORS:
        if all(_fits((3, minor, _LATEST), found) for found in clauses):
            return f"python:3.{minor}-slim"
    raise known("dockerfile-python", python=specifier)


def _fits(version: tuple[int, ...], clause: re.Match[str]) -> bool:
    operator, wanted, star = clause[1], tuple(map(int, clause[2].split("."))), clause[3]
    starts = version[: len(wanted)] == wanted[: len(version)]
    table = {
        "==": starts,
        "===": starts,
        "!=": not (starts and (star or len(wanted) <= 2)),
        "~=": version >= wanted and version[: len(wanted) - 1] == wanted[:-1],
        ">=": version >= wanted,
        "<=": version <= wanted or starts,
        ">": version > wanted and not starts,
        "<": version < wanted,
    }
    return bool(table[operator])
