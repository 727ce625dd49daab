"""Does this path travel, and which rule says so: the one decision behind the listing and behind ``--why``.

Strongest first: ``.git`` never; ``exclude``; ``include`` (and allowed secrets); ``.runctlignore``, nearest first;
tracked by git; ``.gitignore``, nearest first, ``.git/info/exclude``, the user's own exclude file; the built-in table.
What travels after all that and looks like a secret stays too, unless a pattern names it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from runctl.project import builtin
from runctl.project.gitrepo import Repository, relative, repository_at
from runctl.project.ignore import Rule, RuleSet, bytewise, from_patterns, parse
from runctl.project.listing import LeftOut, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

GITIGNORE: Final = ".gitignore"
OWN_IGNORE: Final = ".runctlignore"
SPECIAL: Final = frozenset({GITIGNORE, OWN_IGNORE, ".git", *builtin.MARKS})


class Verdict(NamedTuple):
    """The decision on one path."""

    travels: bool
    rule: Rule | None = None
    level: str = ""  # never, exclude, include, runctl, tracked, git, built-in, secret
    why: str = ""
    named: bool = False  # by a rule that means this very path

    def left_out(self, path: str, *, is_dir: bool) -> LeftOut:
        """What the listing says about a path this verdict leaves out."""
        assert self.rule is not None
        return LeftOut(path, self.rule.pattern, self.rule.origin, is_dir, self.why)


PLAIN: Final = Verdict(travels=True)  # no rule speaks of it


def by_hand(pattern: str, origin: str = builtin.ORIGIN) -> Rule:
    """A rule that stands in no file."""
    return Rule(pattern, origin, negated=False, dir_only=False, names=True, literal=True)


_TRACKED: Final = Verdict(
    travels=True, rule=by_hand("tracked by git", "git's index"), level="tracked", named=True
)
_NEVER: Final = {
    name: Verdict(travels=False, rule=by_hand(name), level="never", why=why)
    for name, why in builtin.NEVER.items()
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A folder and the rules in force in it."""

    folder: str  # absolute
    path: str  # project path with a "/" at the end, "" for the root
    key: str  # path bytewise, from the top of the outermost repository, so that its rules apply too
    own: tuple[
        tuple[RuleSet, int], ...
    ]  # .runctlignore files, nearest first, each with where its paths begin in key
    git: tuple[tuple[RuleSet, int], ...]  # git's exclude files, likewise
    repository: Repository | None
    repository_start: int
    rules: str = ""  # the mark of all rules in force: the same mark, the same verdicts
    held: Verdict | None = None  # an ignored folder, entered for what is named or tracked in it
    taken: Verdict | None = None  # a folder that an include pattern brings, with all that is in it
    named: bool = False


class Rules:
    """The rules of one project.

    Args:
        root: its root, absolute, without links.
        include: patterns that bring ignored files back.
        exclude: patterns of what stays.
        secrets_allowed: patterns of secrets that may travel; they bring back, too.
        env: the process environment, for git's configuration.
    """

    def __init__(
        self,
        root: str,
        *,
        include: Sequence[str],
        exclude: Sequence[str],
        secrets_allowed: Sequence[str],
        env: Mapping[str, str],
    ) -> None:
        self._env = env
        self._mark = _marked(builtin.TABLES, tuple(include), tuple(exclude), tuple(secrets_allowed))
        self.asked_index = False  # whether a verdict since it was last reset came from what git tracks
        self._exclude = from_patterns(exclude, origin="exclude")
        self._include = from_patterns([*include, *secrets_allowed], origin="include")
        self._allowed = from_patterns(secrets_allowed, origin="secrets")
        self._excluded = builtin.excluded()
        self._secrets = (builtin.secrets(is_dir=False), builtin.secrets(is_dir=True))
        self.problems: list[Problem] = []
        self.start = 0  # where project paths begin in keys
        self.top = self._outermost(root)

    def _outermost(self, root: str) -> Frame:
        """The frame of the root, with the rules of the repository around it when the root is inside one.

        A root that the repository around it ignores is a project of its own: that repository's rules are forgotten.
        """
        top = os.path.dirname(root)
        while top != os.path.dirname(top) and not os.path.lexists(os.path.join(top, ".git")):
            top = os.path.dirname(top)
        repository = None if os.path.lexists(os.path.join(root, ".git")) else repository_at(top, self._env)
        alone = Frame(root, "", "", (), (), None, 0, self._mark)
        if repository is None:
            return alone
        parts = relative(root, top).split("/")[:-1]
        frame = self._entered(
            Frame(top, "../" * len(parts), "", (), (), None, 0, self._mark), {".git", GITIGNORE}
        )
        for part in parts:
            if not self.verdict(frame, part, is_dir=True).travels:
                return alone
            folder = os.path.join(frame.folder, os.fsdecode(part.encode("latin-1")))
            frame = replace(frame, folder=folder, path=frame.path[3:], key=f"{frame.key}{part}/")
            if frame.path:
                frame = self._entered(frame, {GITIGNORE})
        self.start = len(frame.key)
        return replace(frame, folder=root, own=(), rules=_marked(frame.rules, frame.key))

    def _entered(self, frame: Frame, names: Collection[str]) -> Frame:
        """The frame with the rules that lie in its own folder; ``names`` are the special names that are there."""
        if not names:
            return frame
        git, own = frame.git, frame.own
        repository, start = frame.repository, frame.repository_start
        if ".git" in names:
            found = repository_at(frame.folder, self._env)
            if found is not None:
                repository, start = found, len(frame.key)
                git = (*((rules, start) for rules in found.exclude_files()), *git)
        if frame.held is None:
            ignore_case = repository is not None and repository.ignore_case
            rules = self._read(frame, GITIGNORE, ignore_case=ignore_case) if GITIGNORE in names else None
            git = ((rules, len(frame.key)), *git) if rules else git
            rules = self._read(frame, OWN_IGNORE, ignore_case=ignore_case) if OWN_IGNORE in names else None
            own = ((rules, len(frame.key)), *own) if rules else own
        if git is frame.git and own is frame.own and repository is frame.repository:
            return frame
        mark = _marked(frame.rules, start, *((rules.mark, at) for rules, at in (*own, *git)))
        return replace(frame, git=git, own=own, repository=repository, repository_start=start, rules=mark)

    def _read(self, frame: Frame, name: str, *, ignore_case: bool) -> RuleSet | None:
        """The rules of an ignore file. A link is not followed, as git does not follow one."""
        path = frame.path + name
        try:
            file = os.open(
                os.path.join(frame.folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            with open(file, "rb") as stream:
                return parse(stream.read(), origin=path, ignore_case=ignore_case)
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            self.problems.append(Problem(path, f"its rules are not applied: {error.strerror}", fatal=True))
            return None

    def verdict(self, frame: Frame, name: str, *, is_dir: bool) -> Verdict:
        """Whether ``name`` (bytewise) in the folder of ``frame`` travels, and what decides."""
        never = _NEVER.get(name)
        if never is not None:
            return never
        key = frame.key + name
        if self._exclude:
            rule = self._exclude.match(name, key, is_dir, self.start)
            if rule is not None and not rule.negated:
                return Verdict(travels=False, rule=rule, level="exclude")
        found = self._included(frame, name, key, is_dir=is_dir) if self._include else None
        if found is None:
            found = self._by_files(frame, name, key, is_dir=is_dir)
        if found.travels and not found.named:
            rule = self._excluded.match(name, key, is_dir)
            if rule is not None and not self._is_code(frame, name):
                why = builtin.reason(rule.pattern)
                found = self._unless_tracked(
                    frame, key, Verdict(travels=False, rule=rule, level="built-in", why=why)
                )
        if found.travels:
            secret = self._secret_rule(name, is_dir=is_dir)
            if secret is not None:
                return self._secret(found, secret, frame, name, is_dir=is_dir)
        return found

    def _included(self, frame: Frame, name: str, key: str, *, is_dir: bool) -> Verdict | None:
        rule = self._include.match(name, key, is_dir, self.start)
        if rule is None:
            return frame.taken
        return None if rule.negated else Verdict(travels=True, rule=rule, level="include", named=rule.names)

    def _by_files(self, frame: Frame, name: str, key: str, *, is_dir: bool) -> Verdict:
        if frame.held is not None:
            return self._unless_tracked(frame, key, frame.held)
        for rules, start in frame.own:
            rule = rules.match(name, key, is_dir, start)
            if rule is not None:
                return Verdict(
                    travels=rule.negated, rule=rule, level="runctl", named=rule.negated and rule.names
                )
        for rules, start in frame.git:
            rule = rules.match(name, key, is_dir, start)
            if rule is not None:
                if rule.negated:
                    return Verdict(travels=True, rule=rule, level="git", named=rule.names)
                return self._unless_tracked(frame, key, Verdict(travels=False, rule=rule, level="git"))
        return PLAIN

    def _unless_tracked(self, frame: Frame, key: str, found: Verdict) -> Verdict:
        """What git tracks is not ignored by git's files, nor by our table."""
        if found.level not in ("git", "built-in") or frame.repository is None:
            return found
        self.asked_index = True
        if frame.repository.is_tracked(key[frame.repository_start :]):
            return _TRACKED
        return found

    def _is_code(self, frame: Frame, name: str) -> bool:
        return name in builtin.MAY_BE_CODE and os.path.exists(os.path.join(frame.folder, name, "__init__.py"))

    def _secret_rule(self, name: str, *, is_dir: bool) -> Rule | None:
        rule = self._secrets[is_dir].match(name.lower(), "", is_dir)
        return None if rule is None or rule.negated else rule

    def _secret(self, found: Verdict, secret: Rule, frame: Frame, name: str, *, is_dir: bool) -> Verdict:
        """A secret travels when a pattern names it: this very name, or with a wildcard that is itself for secrets."""
        if self._is_allowed(frame, name, is_dir=is_dir):
            return found
        if (
            found is frame.taken
        ):  # all of a folder of secrets, when that was named; else nobody named this one
            if frame.held is not None and frame.held.level == "secret":
                return found
        elif found.level == "include" and found.rule is not None:
            last = found.rule.pattern.rstrip("/").rpartition("/")[2]
            if found.rule.literal or self._secret_rule(bytewise(last), is_dir=is_dir):
                return found
        return Verdict(travels=False, rule=secret, level="secret", why=builtin.reason(secret.pattern))

    def _is_allowed(self, frame: Frame, name: str, *, is_dir: bool) -> bool:
        allowed = self._allowed.match(name, frame.key + name, is_dir, self.start)
        return allowed is not None and not allowed.negated

    def secret_by_content(self, frame: Frame, name: str, found: Verdict, data: bytes) -> Verdict | None:
        """The verdict on a file whose name alone does not tell, given its first bytes; None: no secret."""
        if builtin.SECRET_CONTENT not in data:
            return None
        named = (
            found.level == "include"
            and found is not frame.taken
            and found.rule is not None
            and found.rule.literal
        )
        if named or self._is_allowed(frame, bytewise(name), is_dir=False):
            return None
        why = "a private key of a service account"
        return Verdict(travels=False, rule=by_hand(name, builtin.SECRET_ORIGIN), level="secret", why=why)

    def child(self, frame: Frame, raw: str, found: Verdict) -> Frame | None:
        """The frame of the folder ``raw`` in ``frame``; None when nothing in it can travel."""
        name = bytewise(raw)
        key = frame.key + name
        held: Verdict | None = frame.held
        if not found.travels:
            if found.level in ("never", "exclude"):
                return None
            opened = self._include.opens(key, self.start)
            if not opened and found.level in ("git", "built-in") and frame.repository is not None:
                self.asked_index = True
                opened = frame.repository.holds_tracked(key[frame.repository_start :])
            if not opened:
                return None
            held = found
        elif found.level == "include" and (held is None or held.level != "secret"):
            held = self._without_include(frame, name, key) or held
        taken = None
        if found.travels and found.level == "include":  # what is in it is brought, too, but not by name
            taken = found._replace(named=False) if found.named else found
        return Frame(
            folder=os.path.join(frame.folder, raw),
            path=f"{frame.path}{raw}/",
            key=key + "/",
            own=frame.own,
            git=frame.git,
            repository=frame.repository,
            repository_start=frame.repository_start,
            rules=frame.rules,
            held=held,
            taken=taken,
            named=found.named,
        )

    def _without_include(self, frame: Frame, name: str, key: str) -> Verdict | None:
        """What would hold an included folder back if it were not for the pattern: what ``!`` in include returns to."""
        found = self._by_files(frame, name, key, is_dir=True)
        if not found.travels:
            return found
        secret = self._secret_rule(name, is_dir=True)
        return None if secret is None else Verdict(travels=False, rule=secret, level="secret")

    def in_force(self, frame: Frame) -> str:
        """The mark of what decided in a folder since ``asked_index`` was reset; empty when it cannot be told.

        A folder whose mark and whose names are the same has the same verdicts. In a held or taken folder they depend
        on more than rules.
        """
        if frame.held is not None or frame.taken is not None:
            return ""
        if not self.asked_index or frame.repository is None:
            return frame.rules
        return f"{frame.rules} {frame.repository.index_mark}"

    def still_in_force(self, frame: Frame, mark: str) -> bool:
        """Whether the verdicts that were given under ``mark`` are still right."""
        if frame.held is not None or frame.taken is not None or not mark:
            return False
        rules, _, index = mark.partition(" ")
        if rules != frame.rules:
            return False
        return not index or (frame.repository is not None and frame.repository.index_mark == index)

    def plain_child(self, frame: Frame, raw: str) -> Frame:
        """The frame of a folder that no rule speaks of."""
        return Frame(
            f"{frame.folder}/{raw}",
            f"{frame.path}{raw}/",
            f"{frame.key}{bytewise(raw)}/",
            frame.own,
            frame.git,
            frame.repository,
            frame.repository_start,
            frame.rules,
        )

    def enter(self, frame: Frame, names: Collection[str]) -> tuple[Frame | None, Verdict | None]:
        """Take in what lies in a folder: ignore files, a repository, the marks of environments and caches.

        Returns the frame to go on with (None: nothing in it can travel) and, when a mark leaves the folder out, why.
        """
        if names and frame.path and not frame.named and frame.held is None:
            for mark, why in builtin.MARKS.items():
                if mark in names:
                    pattern = frame.path.rstrip("/").rpartition("/")[2] + "/"
                    found = Verdict(travels=False, rule=by_hand(pattern), level="built-in", why=why)
                    repository, inside = frame.repository, frame.key[frame.repository_start : -1]
                    if self._include.opens(frame.key[:-1], self.start) or (
                        repository is not None and repository.holds_tracked(inside)
                    ):
                        return self._entered(replace(frame, held=found, taken=None), names), found
                    return None, found
        return self._entered(frame, names), None


def _marked(*what: object) -> str:
    """A short name of values that have a telling ``repr``."""
    return sha256(repr(what).encode("utf-8", "surrogateescape")).hexdigest()[:32]
