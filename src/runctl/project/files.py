"""Which files travel: one walk that never enters what stays, and the same decision explained for one path.

Executable bits and links are kept. A folder without anything that travels is kept as an empty folder, because
scripts write into folders that they expect. Sockets, pipes and devices stay and are listed with what they are.
A submodule or a repository inside the project travels like any folder, without its history; its own ignore files
and its own index count.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from runctl.core.catalogue import known
from runctl.project.ignore import bytewise
from runctl.project.listing import Explanation
from runctl.project.rules import PLAIN, SPECIAL, Frame, Rules, Verdict, by_hand
from runctl.project.text import setting_line, shown
from runctl.project.walk import KINDS, ONLY, Walk, by_content

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runctl.core.model import ProjectPath
    from runctl.project.listing import Listing
    from runctl.project.memory import ScanMemory
    from runctl.project.root import Root


def list_files(
    root: Root,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    secrets_allowed: Sequence[str] = (),
    script: ProjectPath | None = None,
    env: Mapping[str, str] | None = None,
    memory: ScanMemory | None = None,
) -> Listing:
    """What of the project travels, and why the rest does not. Reads only; safe to repeat.

    Args:
        root: the project; of one that is ``alone`` only ``script`` travels, with the ``DEPENDENCY_FILES`` beside it.
        include: patterns that bring ignored files back. One with a ``/`` inside (``data/tiny.csv``) also opens
            ignored folders on its way; one without (``*.csv``) does not.
        exclude: patterns of what stays, whatever else is said.
        secrets_allowed: patterns of files that look like secrets and travel all the same.
        script: what will be run. When it is a link that leads out of the project, its content travels.
        env: the process environment, for git's configuration; ``os.environ`` when not given.
        memory: what an earlier look saw; a folder that is as it was is not read again.

    Raises:
        UsageError: ``script-ignored`` when ``script`` would not travel.

    What cannot be read is in ``problems``, not an exception; ``snapshot.take`` refuses a listing with a fatal one.
    """
    environment = os.environ if env is None else env
    rules = Rules(
        str(root.path), include=include, exclude=exclude, secrets_allowed=secrets_allowed, env=environment
    )
    walk = Walk(rules, str(root.path), "" if script is None else script.value, memory)
    if root.alone:
        walk.only_script()
    else:
        walk.all()
    listing = walk.listing()
    if script is not None and not _travels(listing, script.value):
        raise _script_ignored(script, _explained(root, rules, script.value))
    return listing


def _travels(listing: Listing, path: str) -> bool:
    folder, slash, name = path.rpartition("/")
    found = listing.folders.get(folder + slash)
    if found is not None and name in found.names:
        return True
    return any(entry.path == path for entry in listing.others)


def _script_ignored(script: ProjectPath, found: Explanation) -> Exception:
    why = f" ({found.why})" if found.why else ""
    at = "" if found.decided_at == script.value else f", by way of {shown(found.decided_at)}"
    rule = f"{found.rule} in {found.origin}{why}{at}" if found.rule else "it cannot be read"
    fix = [f"  runctl project --why {shown(script.value)}"]
    if found.origin == "exclude":
        fix.insert(0, f"take {found.rule!r} out of `exclude` in .runctl.toml")
    elif found.rule:
        fix.insert(0, f"bring it back with a line in .runctl.toml: {setting_line('include', script.value)}")
    return known("script-ignored", script=shown(script.value), rule=rule, fix=fix)


def explain(
    root: Root,
    path: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    secrets_allowed: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Explanation:
    """The rule that decides about one path, and where it stands. Reads only.

    Args:
        root: the project.
        path: a project path; it need not exist (it then counts as a file).
        include: as in ``list_files``, and so are ``exclude``, ``secrets_allowed`` and ``env``.
    """
    rules = Rules(
        str(root.path),
        include=include,
        exclude=exclude,
        secrets_allowed=secrets_allowed,
        env=os.environ if env is None else env,
    )
    return _explained(root, rules, path)


def _explained(root: Root, rules: Rules, path: str) -> Explanation:
    parts = path.split("/")
    frame, decided, at = rules.enter(rules.top, _special(rules.top))[0], PLAIN, path
    for number, raw in enumerate(parts, 1):
        if frame is None:
            break
        here = os.path.join(frame.folder, raw)
        is_dir = number < len(parts) or (os.path.isdir(here) and not os.path.islink(here))
        found = rules.verdict(frame, bytewise(raw), is_dir=is_dir)
        if found.travels and number == len(parts):
            found = _by_itself(rules, frame, raw, found)
        if found is not frame.held or decided.travels:
            decided, at = found, "/".join(parts[:number])
        child = rules.child(frame, raw, found) if is_dir else None
        if child is None:
            break
        frame, marked = rules.enter(child, _special(child))
        if marked is not None:
            decided, at = marked, "/".join(parts[:number])
    rule = decided.rule
    return Explanation(
        path,
        decided.travels,
        "" if rule is None else rule.pattern,
        "" if rule is None else rule.origin,
        decided.why,
        at,
        os.path.lexists(os.path.join(root.path, path)),
    )


def _by_itself(rules: Rules, frame: Frame, raw: str, found: Verdict) -> Verdict:
    """The verdict on what the rules let through, from what it is: a socket, a key by its content."""
    place = os.path.join(frame.folder, raw)
    try:
        what = KINDS.get(stat.S_IFMT(os.lstat(place).st_mode))
    except OSError:
        return found
    if what is not None:
        return Verdict(travels=False, rule=by_hand(what), level="never", why=ONLY)
    return by_content(rules, frame, raw, found) or found


def _special(frame: Frame) -> frozenset[str]:
    try:
        return SPECIAL.intersection(os.listdir(frame.folder))
    except OSError:
        return frozenset()
