"""From what was typed to a path in a project: the script keeps its folder, however it was reached.

The path is taken relative to the current folder, then relative to the project root. A link in the project keeps the
name it has there; a script behind a folder link that leads out belongs to the project where it really is.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runctl.core.catalogue import known
from runctl.core.model import ProjectPath
from runctl.project import builtin
from runctl.project.root import Root, find_root, is_below, without_dots
from runctl.project.text import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_AT: Final = 4000  # entries looked at for "did you mean"; about 20 ms
_FIRST_LINE: Final = 256  # bytes; the kernel reads no more of a #! line
_SKIP: Final = frozenset(
    {pattern.rstrip("/") for pattern, _ in builtin.EXCLUDED if pattern.endswith("/")}
    | set(builtin.NEVER)
    | {"venv"}
)


@dataclass(frozen=True)
class Script:
    """A script and the project it belongs to. ``path`` is relative to ``root.path``."""

    root: Root
    path: ProjectPath


def resolve_script(text: str, *, cwd: Path, root: Path | None = None) -> Script:
    """Find the script ``text`` means. Reads only; safe to repeat.

    Any readable file that is Python may be a script: by its suffix (``.py``, ``.pyw``) or by a ``#!`` line that
    starts Python. Whether it travels is ``files.list_files``' question (``script-ignored``).

    Args:
        text: a path as the user typed it.
        cwd: where they typed it.
        root: the project root, when the user named one; it is found otherwise.

    Raises:
        UsageError: ``script-not-found`` (with the nearest names that exist), ``script-link-broken``,
            ``script-is-folder``, ``script-not-python``, ``script-unreadable``, ``script-outside-root``,
            ``root-not-found``.
    """
    base = os.path.join(os.getcwd(), cwd)
    place = os.path.join(base, text)
    around = None if root is None else find_root(Path(base), explicit=root)
    if not os.path.lexists(place) and not os.path.isabs(text):
        around = around or find_root(Path(base))
        place = os.path.join(around.path, text)
    if not text or not os.path.lexists(place):
        raise _not_found(text, base, around or find_root(Path(base)))
    _check(text, place)
    place = without_dots(place)
    found = around if root is not None and around is not None else find_root(Path(base), script=Path(place))
    path = _relative(place, found)
    if path is None:
        raise known(
            "script-outside-root", script=shown(text), root=str(found), folder=shown(os.path.dirname(place))
        )
    return Script(found, ProjectPath(path))


def _relative(place: str, root: Root) -> str | None:
    """The project path of ``place``: as written when the root lies on its way, else by its real folder."""
    top = str(root.path)
    parts = place.split("/")
    real_folder = os.path.realpath(os.path.dirname(place))
    if not is_below(real_folder, top):
        return None
    for number in range(len(parts) - 1, 0, -1):
        if os.path.realpath("/".join(parts[:number]) or "/") == top:
            return "/".join(parts[number:])
    return os.path.relpath(os.path.join(real_folder, parts[-1]), top)


def _check(text: str, place: str) -> None:
    """Refuse what cannot be run as a script."""
    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError:
        raise known("script-link-broken", script=shown(text), target=shown(os.readlink(place))) from None
    except OSError as error:
        raise known("script-unreadable", script=shown(text), detail=_reason(error)) from error
    if stat.S_ISDIR(mode):
        inside = sorted(name for name in _names_in(place) if name.endswith(".py"))
        best = sorted(inside, key=lambda name: (name not in ("train.py", "main.py", "__main__.py"), name))[:3]
        fix = [f"  runctl train {shown(os.path.join(text.rstrip('/'), name))}" for name in best]
        raise known("script-is-folder", script=shown(text), fix=fix or ["name a file, such as train.py"])
    if not stat.S_ISREG(mode):
        raise known(
            "script-not-python", script=shown(text), detail="it is not a file", fix=["name a .py file"]
        )
    try:
        with open(place, "rb") as file:
            line = file.read(_FIRST_LINE).partition(b"\n")[0]
    except OSError as error:
        raise known("script-unreadable", script=shown(text), detail=_reason(error)) from error
    if not text.endswith((".py", ".pyw")) and not (line.startswith(b"#!") and b"python" in line):
        raise _not_python(text, line)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _not_python(text: str, line: bytes) -> Exception:
    name = shown(text)
    if text.endswith(".ipynb"):
        fix = [f"  jupyter nbconvert --to script {name}", f"  runctl train {shown(text[:-6] + '.py')}"]
        return known("script-not-python", script=name, detail="it is a notebook", fix=fix)
    what = "it has neither the suffix .py nor a #! line that starts Python"
    if line.startswith(b"#!"):
        what = f"its first line is {shown(os.fsdecode(line))}"
    return known("script-not-python", script=name, detail=what)


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _not_found(text: str, base: str, root: Root) -> Exception:
    """``script-not-found`` with what comes near, spelled so that it works from where the user is."""
    looked = [os.path.normpath(os.path.join(base, text))]
    if not os.path.isabs(text):
        looked.append(os.path.normpath(os.path.join(root.path, text)))
    search = dict.fromkeys([os.path.realpath(base), str(root.path)])
    if os.path.isabs(text):
        search = {os.path.dirname(looked[0]): None, **search}
    found: dict[str, None] = {}
    for folder in search:
        for path in _scripts_below(folder, deep=not root.alone):
            found[path if os.path.isabs(text) else os.path.relpath(path, os.path.realpath(base))] = None
    near = nearest(text, found)
    fix = [f"did you mean {' or '.join(map(shown, near))}?"] if near else []
    return known(
        "script-not-found",
        script=shown(text) if text else "an empty path",
        looked_in=" and ".join(dict.fromkeys(shown(os.path.dirname(path)) for path in looked)),
        near=", ".join(map(shown, near)),
        fix=[*fix, "  runctl project --files"],
    )


def _scripts_below(top: str, *, deep: bool) -> Iterator[str]:
    """Python files below ``top``, nearest folders first, until ``_LOOK_AT`` entries were looked at."""
    waiting, seen = [top], 0
    for folder in waiting:
        try:
            with os.scandir(folder) as scan:
                for entry in scan:
                    seen += 1
                    if seen > _LOOK_AT:
                        return
                    if entry.name.endswith(".py"):
                        yield entry.path
                    elif deep and entry.name not in _SKIP and entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
