"""One walk over a project that never enters what stays, and does not read again a folder that is as it was."""

from __future__ import annotations

import os
import stat
from array import array
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from runctl.project import builtin
from runctl.project.ignore import bytewise
from runctl.project.links import read_link
from runctl.project.listing import FileEntry, Folder, LeftOut, Listing, Problem, path_bytes
from runctl.project.memory import ScanMemory, States, stamp_of, state_of
from runctl.project.rules import PLAIN, SPECIAL
from runctl.project.text import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from runctl.project.memory import Remembered, Stamp
    from runctl.project.rules import Frame, Rules, Verdict

    Entered = tuple[Frame | None, Verdict | None]

ONLY: Final = "only files, folders and links travel"
_SAMPLE: Final = (
    4096  # bytes; Google writes the private key of a service account within the first few hundred
)
DEPENDENCY_FILES: Final = ("uv.lock", "pyproject.toml", "requirements.txt", ".python-version")
KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE: Final = 4  # which of the five numbers of a state
_FIELDS: Final = 5


class _Gathered:
    """What is found in one folder while it is read."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: list[int] = []  # the states of the files, end to end
        self.links: list[str] = []
        self.folders: list[str] = []
        self.left_out: list[LeftOut] = []
        self.secrets: list[LeftOut] = []
        self.plain = True  # what was decided here depends on names and rules alone


class Walk:
    """One look at a project. ``script`` is the project path of what will be run, or empty."""

    def __init__(self, rules: Rules, root: str, script: str, memory: ScanMemory | None) -> None:
        self._rules = rules
        self._root = root
        self._script = script
        self._memory = memory or ScanMemory(None)
        self._folders: dict[str, Folder] = {}
        self._others: list[FileEntry] = []
        self._problems: list[Problem] = rules.problems
        self._inside: list[tuple[str, str]] = []  # links, and the project paths they lead to
        self._filled: set[str] = set()  # folders with something that travels, paths with "/" at the end
        self._entered: list[Frame] = []  # a parent before its children

    def all(self) -> None:
        """Look everywhere that something may travel from."""
        waiting = [self._rules.top]
        while waiting:
            waiting += self._folder(waiting.pop())

    def only_script(self) -> None:
        """Look at the script and at the files beside it that say what it needs, and at nothing else."""
        folder, slash, name = self._script.rpartition("/")
        top = self._rules.top
        inside = bytewise(folder + slash)
        place = os.path.join(top.folder, folder)
        frame = replace(top, folder=place, path=folder + slash, key=top.key + inside)
        found = _Gathered()
        for raw in [name, *DEPENDENCY_FILES] if self._script else []:
            try:
                status = os.lstat(os.path.join(frame.folder, raw))
            except OSError:
                continue
            self._take(frame, raw, PLAIN, status, found, is_link=stat.S_ISLNK(status.st_mode))
        self._note(frame, found, (0, 0, 0), "", ())

    def listing(self) -> Listing:
        """What was found."""
        self._keep_empty_folders()
        self._check_links()
        left_out = [left for folder in self._folders.values() for left in folder.left_out]
        secrets = [left for folder in self._folders.values() for left in folder.secrets]
        repository = self._rules.top.repository
        if repository is not None and repository.problem:
            self._problems.append(
                Problem(".git", f"tracked files that are ignored stay: {repository.problem}")
            )
        return Listing(
            self._folders,
            tuple(self._others),
            tuple(sorted(left_out, key=path_bytes)),
            tuple(sorted(secrets, key=path_bytes)),
            tuple(self._problems),
        )

    def _folder(self, outside: Frame) -> list[Frame]:
        """Look at one folder; gives the folders in it that are to be entered."""
        try:
            place = os.open(outside.folder, _FOLDER)
        except OSError as error:
            if outside.held is None or outside.taken is not None:
                self._unreadable(outside.path.rstrip("/") or ".", error)
            return []
        try:
            stamp = stamp_of(os.fstat(place))
            known = self._memory.folders.get(outside.path)
            entered = None
            self._rules.asked_index = False
            if known is not None and known.stamp == stamp and known.rules:
                entered = self._rules.enter(outside, known.special)
                below = self._as_it_was(entered, known, place)
                if below is not None:
                    return below
            return self._read(outside, entered, stamp, place)
        finally:
            os.close(place)

    def _as_it_was(self, entered: Entered, known: Remembered, place: int) -> list[Frame] | None:
        """A folder with the same names under the same rules: only its files are looked at. None: it has to be read."""
        frame, marked = entered
        if frame is None or marked is not None or not self._rules.still_in_force(frame, known.rules):
            return None
        numbers: list[int] = []
        lstat = os.stat
        try:
            for name in known.names:
                status = lstat(name, dir_fd=place, follow_symlinks=False)
                numbers += (
                    status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode,
                )  # fmt: skip
        except OSError:
            return None
        states = States.packed(numbers)
        if states != known.states and _says_more(known, states):
            return None
        path = frame.path
        self._folders[path] = Folder(
            path,
            known.stamp,
            known.rules,
            known.names,
            states,
            known.links,
            known.folders,
            known.special,
            tuple(LeftOut(*left) for left in known.left_out),
            tuple(LeftOut(*left) for left in known.secrets),
            known if states == known.states else None,
        )
        self._entered.append(frame)
        if known.names:
            self._filled.add(path)
        for name in known.links:
            self._link(path + name, PLAIN)
        return [self._rules.plain_child(frame, raw) for raw in known.folders]

    def _read(self, outside: Frame, entered: Entered | None, stamp: Stamp, place: int) -> list[Frame]:
        """Read a folder and ask the rules about everything in it."""
        with os.scandir(place) as scan:
            entries = list(scan)
        special = {entry.name for entry in entries} & SPECIAL
        frame, marked = entered or self._rules.enter(outside, special)
        found = _Gathered()
        if marked is not None:
            found.left_out.append(marked.left_out(outside.path.rstrip("/"), is_dir=True))
            found.plain = False
        if frame is None:
            self._note(outside, found, stamp, "", special)
            return []
        self._entered.append(frame)
        below = self._ask(frame, entries, found)
        rules = self._rules.in_force(frame) if found.plain else ""
        self._note(frame, found, stamp, rules, special)
        return below

    def _ask(self, frame: Frame, entries: Iterable[os.DirEntry[str]], found: _Gathered) -> list[Frame]:
        """Ask the rules about the entries of a folder; gives the folders to be entered."""
        verdict, below = self._rules.verdict, []
        for entry in entries:
            raw = entry.name
            is_dir = entry.is_dir(follow_symlinks=False)
            said = verdict(frame, raw if raw.isascii() else bytewise(raw), is_dir=is_dir)
            if is_dir:
                child = self._rules.child(frame, raw, said)
                if child is not None:
                    below.append(child)
                    found.folders.append(raw)
                    found.plain = found.plain and said is PLAIN
                if raw in builtin.MAY_BE_CODE:
                    found.plain = False  # what is in it decides
            elif said.travels:
                self._entry(frame, entry, said, found)
            if (
                not said.travels and said is not frame.held
            ):  # what a held folder holds was said with the folder
                where = found.secrets if said.level == "secret" else found.left_out
                where.append(said.left_out(frame.path + raw, is_dir=is_dir))
        return below

    def _note(
        self, frame: Frame, found: _Gathered, stamp: Stamp, rules: str, special: Collection[str]
    ) -> None:
        if found.names:
            self._filled.add(frame.path)
        self._folders[frame.path] = Folder(
            frame.path,
            stamp,
            rules,
            tuple(found.names),
            States.packed(found.numbers),
            tuple(found.links),
            tuple(found.folders),
            tuple(special),
            tuple(found.left_out),
            tuple(found.secrets),
        )

    def _entry(self, frame: Frame, entry: os.DirEntry[str], said: Verdict, found: _Gathered) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            found.plain = False
            return  # it is gone since the folder was read
        except OSError as error:
            self._unreadable(frame.path + entry.name, error)
            return
        self._take(frame, entry.name, said, status, found, is_link=entry.is_symlink())

    def _take(
        self,
        frame: Frame,
        raw: str,
        said: Verdict,
        status: os.stat_result,
        found: _Gathered,
        *,
        is_link: bool,
    ) -> None:
        """Note something that travels, unless its kind forbids it."""
        path = frame.path + raw
        mode = status.st_mode
        if is_link:
            found.links.append(raw)
            found.plain = found.plain and said.level != "include" and path != self._script
            self._link(path, said)
            return
        if not stat.S_ISREG(mode):
            what = KINDS.get(stat.S_IFMT(mode), "no file")
            found.left_out.append(LeftOut(path, what, builtin.ORIGIN, why=ONLY))
            return
        if not self._is_readable(frame, raw, mode):
            return
        hidden = by_content(self._rules, frame, raw, said) if raw.endswith(".json") else None
        if hidden is not None:
            found.secrets.append(hidden.left_out(path, is_dir=False))
            found.plain = False  # its content decides
            return
        found.names.append(raw)
        found.numbers += state_of(status)

    def _is_readable(self, frame: Frame, raw: str, mode: int) -> bool:
        if mode & 0o444 == 0o444 or os.access(os.path.join(frame.folder, raw), os.R_OK):
            return True
        self._problems.append(Problem(frame.path + raw, "it cannot be read: permission denied", fatal=True))
        return False

    def _link(self, path: str, said: Verdict) -> None:
        """Note a link, or the file it leads to when that travels in its place."""
        place = os.path.join(self._root, path)
        try:
            link = read_link(self._root, path)
            if link.leads_out and (path == self._script or (said.named and said.level == "include")):
                status = os.stat(place)
                if stat.S_ISREG(status.st_mode):
                    self._instead(path, status)
                    return
        except OSError as error:
            self._unreadable(path, error)
            return
        if link.problem:
            self._problems.append(Problem(path, link.problem))
        if link.inside is not None:
            self._inside.append((path, link.inside))
        self._filled.add(path[: path.rfind("/") + 1])
        self._others.append(FileEntry(path, "link", target=link.target))

    def _instead(self, path: str, status: os.stat_result) -> None:
        """A file travels in the place of the link to it."""
        size, mtime, ctime, inode, mode = state_of(status)
        if mode & 0o444 != 0o444 and not os.access(os.path.join(self._root, path), os.R_OK):
            self._problems.append(Problem(path, "it cannot be read: permission denied", fatal=True))
            return
        self._filled.add(path[: path.rfind("/") + 1])
        self._others.append(
            FileEntry(path, "file", size, mode & 0o100 != 0, mtime, ctime, inode, followed=True)
        )

    def _unreadable(self, path: str, error: OSError) -> None:
        self._problems.append(
            Problem(path, f"it cannot be read: {(error.strerror or str(error)).lower()}", fatal=True)
        )

    def _keep_empty_folders(self) -> None:
        for frame in reversed(self._entered):
            if not frame.path:
                continue
            if frame.path not in self._filled:
                if frame.held is not None and frame.taken is None:
                    continue  # an ignored folder that was entered in vain
                self._others.append(FileEntry(frame.path[:-1], "dir"))
            self._filled.add(frame.path[: frame.path.rfind("/", 0, -1) + 1])

    def _check_links(self) -> None:
        """A link to something in the project that stays here leads nowhere on the machine."""
        if not self._inside:
            return
        there = {""}
        paths = [entry.path for entry in self._others]
        paths += [path + name for path, folder in self._folders.items() for name in folder.names]
        for path in map(str, paths):
            while path and path not in there:
                there.add(path)
                path = path.rpartition("/")[0]  # noqa: PLW2901 - up to the root
        for path, inside in sorted(self._inside, key=itemgetter(0)):
            if inside not in there and inside != ".":
                self._problems.append(Problem(path, f"a link to {shown(inside)}, which does not travel"))


def _says_more(known: Remembered, states: bytes) -> bool:
    """Whether a change is more than new content: another kind or permission, or a name whose content decides."""
    before, after = array("Q", known.states), array("Q", states)
    if before[_MODE::_FIELDS] != after[_MODE::_FIELDS]:
        return True
    return any(
        name.endswith(".json") and builtin.MAYBE_SECRET.fullmatch(name) is not None for name in known.names
    )


def by_content(rules: Rules, frame: Frame, raw: str, said: Verdict) -> Verdict | None:
    """The verdict on a file whose name may be that of a key; None when it is none."""
    if not builtin.MAYBE_SECRET.fullmatch(raw):
        return None
    try:
        with open(os.path.join(frame.folder, raw), "rb") as file:
            data = file.read(_SAMPLE)
    except OSError:
        return None  # taking the snapshot reads it again, and says so
    return rules.secret_by_content(frame, raw, said, data)
