"""Which files travel: one walk that never enters what stays, and the same decision explained for one path.

Executable bits and links are kept. A folder without anything that travels is kept as an empty folder, because
scripts write into folders that they expect. Sockets, pipes and devices stay and are listed with what they are.
A submodule or a repository inside the project travels like any folder, without its history; its own ignore files
and its own index count.
"""

from __future__ import annotations

import os
import stat
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from runctl.core.catalogue import known
from runctl.project import builtin
from runctl.project.ignore import bytewise
from runctl.project.links import read_link
from runctl.project.listing import Explanation, FileEntry, LeftOut, Listing, Problem
from runctl.project.rules import SPECIAL, Frame, Rules, Verdict, by_hand
from runctl.project.text import setting_line, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runctl.core.model import ProjectPath
    from runctl.project.root import Root

_ONLY: Final = "only files, folders and links travel"
_SAMPLE: Final = (
    4096  # bytes; Google writes the private key of a service account within the first few hundred
)
DEPENDENCY_FILES: Final = ("uv.lock", "pyproject.toml", "requirements.txt", ".python-version")
_ALONE: Final = Verdict(travels=True)
_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def list_files(
    root: Root,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    secrets_allowed: Sequence[str] = (),
    script: ProjectPath | None = None,
    env: Mapping[str, str] | None = None,
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

    Raises:
        UsageError: ``script-ignored`` when ``script`` would not travel.

    What cannot be read is in ``problems``, not an exception; ``snapshot.take`` refuses a listing with a fatal one.
    """
    environment = os.environ if env is None else env
    rules = Rules(
        str(root.path), include=include, exclude=exclude, secrets_allowed=secrets_allowed, env=environment
    )
    walk = _Walk(rules, str(root.path), "" if script is None else script.value)
    if root.alone:
        walk.only_script()
    else:
        walk.all()
    listing = walk.listing()
    if script is not None and not any(entry.path == script.value for entry in listing.files):
        raise _script_ignored(script, _explained(root, rules, script.value))
    return listing


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


class _Walk:
    """One look at a project."""

    def __init__(self, rules: Rules, root: str, script: str) -> None:
        self._rules = rules
        self._root = root
        self._script = script
        self._files: list[FileEntry] = []
        self._left_out: list[LeftOut] = []
        self._secrets: list[LeftOut] = []
        self._problems: list[Problem] = rules.problems
        self._inside: list[tuple[str, str]] = []  # links, and the project paths they lead to
        self._filled: set[str] = set()  # folders with something that travels, paths with "/" at the end
        self._folders: list[Frame] = []  # those entered, a parent before its children

    def all(self) -> None:
        """Look everywhere that something may travel from."""
        waiting = [self._rules.top]
        while waiting:
            waiting += self._folder(waiting.pop())

    def only_script(self) -> None:
        """Look at the script and at the files beside it that say what it needs, and at nothing else."""
        folder = self._script.rpartition("/")[0]
        beside = [f"{folder}/{name}" if folder else name for name in DEPENDENCY_FILES]
        for path in [self._script, *beside] if self._script else []:
            try:
                status = os.lstat(os.path.join(self._root, path))
            except OSError:
                continue
            self._take(self._rules.top, path, _ALONE, status, is_link=stat.S_ISLNK(status.st_mode))

    def listing(self) -> Listing:
        """What was found, in order."""
        self._keep_empty_folders()
        self._files.sort(key=itemgetter(0) if all(e.path.isascii() for e in self._files) else _path_bytes)
        self._check_links()
        for key in (self._left_out, self._secrets):
            key.sort(key=_path_bytes)
        repository = self._rules.top.repository
        if repository is not None and repository.problem:
            self._problems.append(
                Problem(".git", f"tracked files that are ignored stay: {repository.problem}")
            )
        return Listing(tuple(self._files), tuple(self._left_out), tuple(self._secrets), tuple(self._problems))

    def _folder(self, outside: Frame) -> list[Frame]:
        """Read one folder; gives the folders in it that are to be entered."""
        try:
            with os.scandir(outside.folder) as scan:
                entries = list(scan)
        except OSError as error:
            if outside.held is None or outside.taken is not None:
                self._unreadable(outside.path.rstrip("/") or ".", error)
            return []
        special = {entry.name for entry in entries} & SPECIAL
        frame, marked = self._rules.enter(outside, special)
        if marked is not None:
            self._left_out.append(marked.left_out(outside.path.rstrip("/"), is_dir=True))
        if frame is None:
            return []
        self._folders.append(frame)
        verdict, below = self._rules.verdict, []
        for entry in entries:
            raw = entry.name
            is_dir = entry.is_dir(follow_symlinks=False)
            found = verdict(frame, raw if raw.isascii() else bytewise(raw), is_dir=is_dir)
            if is_dir:
                child = self._rules.child(frame, raw, found)
                if child is not None:
                    below.append(child)
            elif found.travels:
                self._entry(frame, entry, found)
            if (
                not found.travels and found is not frame.held
            ):  # what a held folder holds was said with the folder
                where = self._secrets if found.level == "secret" else self._left_out
                where.append(found.left_out(frame.path + raw, is_dir=is_dir))
        return below

    def _entry(self, frame: Frame, entry: os.DirEntry[str], found: Verdict) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return  # it is gone since the folder was read
        except OSError as error:
            self._unreadable(frame.path + entry.name, error)
            return
        self._take(frame, entry.name, found, status, is_link=entry.is_symlink())

    def _take(self, frame: Frame, raw: str, found: Verdict, status: os.stat_result, *, is_link: bool) -> None:
        """Note something that travels, unless its kind forbids it."""
        path = frame.path + raw
        mode, followed = status.st_mode, False
        if is_link:
            target = self._link(path, found)
            if target is None:
                return
            status, followed = target, True
            mode = status.st_mode
        elif not stat.S_ISREG(mode):
            what = _KINDS.get(stat.S_IFMT(mode), "no file")
            self._left_out.append(LeftOut(path, what, builtin.ORIGIN, why=_ONLY))
            return
        if mode & 0o444 != 0o444 and not os.access(os.path.join(frame.folder, raw), os.R_OK):
            self._problems.append(Problem(path, "it cannot be read: permission denied", fatal=True))
            return
        hidden = _by_content(self._rules, frame, raw, found) if raw.endswith(".json") else None
        if hidden is not None:
            self._secrets.append(hidden.left_out(path, is_dir=False))
            return
        self._filled.add(frame.path)
        self._files.append(
            FileEntry(
                path,
                "file",
                status.st_size,
                mode & 0o100 != 0,
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_ino,
                "",
                followed,
            )
        )

    def _link(self, path: str, found: Verdict) -> os.stat_result | None:
        """Note a link; gives the state of the file it leads to when that file travels in its place."""
        place = os.path.join(self._root, path)
        try:
            link = read_link(self._root, path)
            if link.leads_out and (path == self._script or (found.named and found.level == "include")):
                status = os.stat(place)
                if stat.S_ISREG(status.st_mode):
                    return status
        except OSError as error:
            self._unreadable(path, error)
            return None
        if link.problem:
            self._problems.append(Problem(path, link.problem))
        if link.inside is not None:
            self._inside.append((path, link.inside))
        self._filled.add(path[: path.rfind("/") + 1])
        self._files.append(FileEntry(path, "link", target=link.target))
        return None

    def _unreadable(self, path: str, error: OSError) -> None:
        self._problems.append(
            Problem(path, f"it cannot be read: {(error.strerror or str(error)).lower()}", fatal=True)
        )

    def _keep_empty_folders(self) -> None:
        for frame in reversed(self._folders):
            if not frame.path:
                continue
            if frame.path not in self._filled:
                if frame.held is not None and frame.taken is None:
                    continue  # an ignored folder that was entered in vain
                self._files.append(FileEntry(frame.path[:-1], "dir"))
            self._filled.add(frame.path[: frame.path.rfind("/", 0, -1) + 1])

    def _check_links(self) -> None:
        """A link to something in the project that stays here leads nowhere on the machine."""
        if not self._inside:
            return
        there = {""}
        for entry in self._files:
            path = entry.path
            while path and path not in there:
                there.add(path)
                path = path.rpartition("/")[0]
        for path, inside in self._inside:
            if inside not in there and inside != ".":
                self._problems.append(Problem(path, f"a link to {shown(inside)}, which does not travel"))


def _path_bytes(entry: FileEntry | LeftOut) -> bytes:
    return os.fsencode(entry.path)


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
    frame, decided, at = rules.enter(rules.top, _special(rules.top))[0], _ALONE, path
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
        what = _KINDS.get(stat.S_IFMT(os.lstat(place).st_mode))
    except OSError:
        return found
    if what is not None:
        return Verdict(travels=False, rule=by_hand(what), level="never", why=_ONLY)
    return _by_content(rules, frame, raw, found) or found


def _by_content(rules: Rules, frame: Frame, raw: str, found: Verdict) -> Verdict | None:
    """The verdict on a file whose name may be that of a key; None when it is none."""
    if not builtin.MAYBE_SECRET.fullmatch(raw):
        return None
    try:
        with open(os.path.join(frame.folder, raw), "rb") as file:
            data = file.read(_SAMPLE)
    except OSError:
        return None  # taking the snapshot reads it again, and says so
    return rules.secret_by_content(frame, raw, found, data)


def _special(frame: Frame) -> frozenset[str]:
    try:
        return SPECIAL.intersection(os.listdir(frame.folder))
    except OSError:
        return frozenset()
