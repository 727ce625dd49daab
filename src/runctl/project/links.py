"""Symbolic links of a project: what they will say on the machine, and what to tell about them.

A link whose target stays inside the project travels as it is written. One that reaches the project by another way
(an absolute path, or out and in again) is written anew, relative. One that leads out keeps leading there, as an
absolute path: right on this machine and on any that has the same folder (shared data), and reported, because on any
other it leads nowhere. Its content is not sent unless the link is the script, or an ``include`` pattern names it:
a link to ``~/.aws/credentials`` in somebody's repository must not carry them off.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from runctl.project.root import is_below
from runctl.project.text import shown


class Link(NamedTuple):
    """A link as it will be made on the machine. ``inside``: the project path it leads to, when it does."""

    target: str
    inside: str | None
    leads_out: bool = False
    problem: str = ""


def read_link(root: str, path: str) -> Link:
    """The link at project path ``path``. Reads only.

    Raises:
        OSError: it cannot be read.
    """
    place = os.path.join(root, path)
    text = os.readlink(place)
    folder = os.path.dirname(place)
    written = os.path.normpath(os.path.join(folder, text))
    if written.startswith("//"):  # POSIX lets two slashes be special; Linux and macOS do not
        written = written[1:]
    within = is_below(written, root)
    try:
        os.stat(place)
    except FileNotFoundError:
        problem = f"a link to {shown(text)}, which does not exist"
    except OSError as error:
        problem = f"a link to {shown(text)}: {(error.strerror or str(error)).lower()}"
    else:
        problem = ""
    real = os.path.realpath(place)
    inside = os.path.relpath(real, root) if is_below(real, root) else None
    if within and not text.startswith("/") and not _leaves(os.path.dirname(path), text):
        if inside is None and not problem:
            problem = f"a link that leads out of the project, to {shown(real)}"
        return Link(text, None if problem else inside, leads_out=inside is None, problem=problem)
    if inside is not None and not problem:
        return Link(os.path.relpath(real, os.path.realpath(folder)), inside)
    if within:  # it leads to nothing, but nothing inside the project
        return Link(os.path.relpath(written, folder), None, problem=problem)
    target = os.path.normpath(os.path.join(os.path.realpath(folder), text))
    problem = (
        problem
        or f"a link that leads out of the project, to {shown(target)}: another machine may not have it"
    )
    return Link(target, None, leads_out=True, problem=problem)


def _leaves(folder: str, text: str) -> bool:
    """Whether following ``text`` word by word from a project folder goes above the root on its way."""
    depth = len(folder.split("/")) if folder else 0
    for part in text.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False
