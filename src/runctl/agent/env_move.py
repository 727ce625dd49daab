"""An environment in another folder, or on another base Python: which files say where it was, and their new words.

Compiled modules name their sources too, but Python corrects that when it loads them. Anything else that is not text and
holds the path ties the environment to it: it can be restored in the same place only.
"""

from __future__ import annotations

import base64
import os
import re
from hashlib import sha256

from runctl.agent.env_parts import Unpackable
from runctl.agent.masking import mask

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.env_parts import Listing

SHEBANG = 127  # bytes: the shortest first line a kernel cuts, less its end
PYTHON = re.compile(r"^bin/python[\d.]*$")


def check_alone(listing: Listing, home: str) -> None:
    """See that the environment hangs on nothing that another machine lacks, and carries no password.

    Raises:
        Unpackable: a link out of it, a ``.pth`` line that leads to another folder, a URL with a password.
    """
    folder = listing.folder
    for path, target in listing.links.items():
        where = os.path.normpath(os.path.join(folder, os.path.dirname(path), target))
        if not where.startswith(folder + os.sep) and not PYTHON.match(path):
            raise Unpackable("%s is a link out of it, to %s" % (path, target))
    for each in listing.files:
        name = os.path.basename(each.path)
        if name == "direct_url.json" or name.endswith(".pth") or name in ("pip.conf", "uv.toml"):
            text = _text(os.path.join(folder, each.path))
            if mask(text) != text:
                raise Unpackable("%s holds a password" % each.path)
            if name.endswith(".pth"):
                _check_lines(each.path, text, folder, home)


def _check_lines(path: str, text: str, folder: str, home: str) -> None:
    for line in text.splitlines():
        outside = line.startswith("/") and not (line + "/").startswith(folder + "/")
        if outside or (home + "/") in line.replace(folder + "/", ""):
            raise Unpackable("%s leads to %s, outside of it" % (path, line.strip()[:200]))


def links(known: dict[str, str], base: str) -> dict[str, str]:
    """The links to make, path → target, where ``base`` is this machine's Python. Pure."""
    return {
        path: base if PYTHON.match(path) and os.path.isabs(target) else target
        for path, target in known.items()
    }


def moved(data: bytes, old: list[str], new: str) -> bytes:
    """A text with every mention of an old folder replaced; a first line too long for kernels goes through sh. Pure."""
    names = sorted((re.escape(os.fsencode(each)) for each in old), key=len, reverse=True)
    out = re.sub(b"|".join(names), lambda _found: os.fsencode(new), data)
    first, newline, rest = out.partition(b"\n")
    if first.startswith(b"#!/") and len(first) > SHEBANG and newline:
        # Python reads a string, sh a command: the way installers write it, too
        return b"#!/bin/sh\n'''exec' \"" + first[2:].strip() + b'" "$0" "$@"\n\' \'\'\'\n' + rest
    return out


def relocate(folder: str, moves: list[str], old: list[str], *, base: str) -> None:
    """Make what was unpacked belong to ``folder`` and to the Python ``base``. Not safe to repeat: do it once.

    Raises:
        OSError: the disk.
    """
    changed = {}
    for path in moves if old != [folder] else ():
        where = os.path.join(folder, path)
        with open(where, "rb") as file:
            before = file.read()
        after = moved(before, old, folder)
        if after != before:
            changed[path] = _replaced(where, after)
    _config(os.path.join(folder, "pyvenv.cfg"), base)
    if changed:
        _records(folder, changed)


def _config(path: str, base: str) -> None:
    """``pyvenv.cfg`` names the base Python's folder, and with newer ones its file and the command that was used."""
    known = {"home": os.path.dirname(base), "executable": os.path.realpath(base)}
    lines = []
    for line in _text(path).splitlines():
        name = line.partition("=")[0].strip()
        if name != "command":
            lines.append("%s = %s" % (name, known[name]) if name in known else line)
    _replaced(path, "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))


def _records(folder: str, changed: dict[str, tuple[str, int]]) -> None:
    """The installed packages' own lists give digest and size of each file; they say the truth again."""
    lib = os.path.join(folder, "lib")
    for version in os.listdir(lib):
        site = os.path.join(lib, version, "site-packages")
        infos = [name for name in os.listdir(site) if name.endswith(".dist-info")]
        for record in (os.path.join(site, name, "RECORD") for name in infos):
            if os.path.exists(record):
                _record(record, site, folder, changed)


def _record(path: str, site: str, folder: str, changed: dict[str, tuple[str, int]]) -> None:
    import csv  # noqa: PLC0415 - only where something moved
    import io  # noqa: PLC0415

    text = _text(path)
    rows: list[list[Any]] = list(csv.reader(io.StringIO(text, newline="")))
    touched = False
    for row in rows:
        known = None
        if len(row) == 3 and row[1]:
            known = changed.get(os.path.relpath(os.path.normpath(os.path.join(site, row[0])), folder))
        if known is not None:
            row[1:] = known
            touched = True
    if touched:
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerows(rows)
        _replaced(path, out.getvalue().encode("utf-8", "surrogateescape"))


def _replaced(path: str, data: bytes) -> tuple[str, int]:
    """Write a file that stays the same file; its digest as RECORD spells it, and its size."""
    known = os.stat(path)
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    digest = base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
    return "sha256=" + digest, len(data)


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()
