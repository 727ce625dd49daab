r"""Ignore patterns with git's meaning, compiled for speed.

A ``RuleSet`` is one ignore file (or one list of patterns). As in git the last pattern that matches decides, ``!``
takes back, a pattern without an inner ``/`` looks at the last component only, ``dir/`` at directories only.

Two choices carry the speed: plain names and ``*.ext`` are dictionary look-ups, and everything else is one regular
expression whose alternatives stand in reverse order, so that the alternative that matches *is* the last rule.

git matches bytes (``?`` is one byte), Python text. Names are therefore given "bytewise" (see ``bytewise``): ASCII
names as they are, all others as one character for each byte.
"""

from __future__ import annotations

import os
import re
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from runctl.project.wildmatch import (
    DEEP_SLASH,
    SLASH,
    SPECIAL,
    BadPatternError,
    Token,
    regex_of,
    tokens_of,
    way_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def bytewise(text: str) -> str:
    """The text with one character for each byte of its file name; ASCII comes back as it is, at no cost."""
    return text if text.isascii() else os.fsencode(text).decode("latin-1")


class Rule(NamedTuple):
    """One pattern. ``origin`` says where it stands (``.gitignore:3``)."""

    pattern: str  # as written
    origin: str
    negated: bool
    dir_only: bool
    names: bool  # its last component has a fixed character: it means something, not just "everything here"
    literal: bool  # its last component has no wildcard at all


class _Pattern(NamedTuple):
    """A pattern taken apart: what to look at, and how."""

    rule: Rule
    name: str | None  # exactly this name
    suffix: str | None  # names that end so; begins with the only dot in it
    regex: str | None
    whole_path: bool
    way: str | None


def _take_apart(line: str, origin: str) -> _Pattern | None:
    text = line
    negated = text.startswith("!")
    text = text[negated:]
    dir_only = text.endswith("/")
    text = text[: len(text) - dir_only]
    if not text:
        return None
    whole_path = "/" in text
    if whole_path and text.startswith("/"):
        text = text[1:]
    try:
        tokens = tokens_of(text, whole_path=whole_path)
    except BadPatternError:
        return None
    last: list[Token] = []
    for token in tokens:
        last = [] if token.kind in (SLASH, DEEP_SLASH) else [*last, token]
    fixed = [token.fixed for token in last]
    written = line.encode("latin-1").decode(errors="replace")
    rule = Rule(written, origin, negated, dir_only, any(fixed), bool(fixed) and all(fixed))
    plain = not whole_path and not SPECIAL.intersection(text)
    extension = not whole_path and text.startswith("*.") and not (SPECIAL | {"."}).intersection(text[2:])
    return _Pattern(
        rule,
        name=text if plain else None,
        suffix=text[1:] if extension and len(text) > 2 else None,
        regex=regex_of(tokens),
        whole_path=whole_path,
        way=way_of(tokens) if whole_path else None,
    )


class RuleSet:
    """The patterns of one ignore file, in order. False when it holds none."""

    __slots__ = ("_names", "_paths", "_plain", "_suffixes", "_way", "mark", "rules")

    def __init__(self, patterns: Iterable[_Pattern], *, ignore_case: bool = False, mark: str = "") -> None:
        kept = list(patterns)
        self.mark = mark  # what the file said, as a digest
        self.rules = [pattern.rule for pattern in kept]
        # For names and suffixes: the last rule for a file, and the last rule for a directory (-1: none).
        self._plain: dict[str, tuple[int, int]] = {}
        self._suffixes: dict[str, tuple[int, int]] = {}
        names: list[tuple[int, str]] = []
        paths: list[tuple[int, str]] = []
        for index, pattern in enumerate(kept):
            table, key = (self._plain, pattern.name) if pattern.name else (self._suffixes, pattern.suffix)
            if key and not ignore_case:
                before = table.get(key, (-1, -1))
                table[key] = (before[0] if pattern.rule.dir_only else index, index)
            elif pattern.regex is not None:
                (paths if pattern.whole_path else names).append((index, pattern.regex))
        flags = re.DOTALL | re.ASCII | (re.IGNORECASE if ignore_case else 0)
        self._names = self._pair(names, flags)
        self._paths = self._pair(paths, flags)
        ways = [p.way for p in kept if p.way and not p.rule.negated]
        self._way = re.compile("|".join(f"(?:{way})" for way in ways), flags) if ways else None

    def _pair(
        self, found: list[tuple[int, str]], flags: int
    ) -> tuple[tuple[re.Pattern[str], list[int]] | None, tuple[re.Pattern[str], list[int]] | None] | None:
        """The combined expression for files and the one for directories, each with the rule of each group."""
        if not found:
            return None

        def combined(part: list[tuple[int, str]]) -> tuple[re.Pattern[str], list[int]] | None:
            if not part:
                return None
            part.reverse()  # the last rule is tried first
            return re.compile("|".join(f"({r})" for _, r in part), flags), [-1, *(index for index, _ in part)]

        return combined([(i, r) for i, r in found if not self.rules[i].dir_only]), combined(list(found))

    def __bool__(self) -> bool:
        return bool(self.rules)

    def match(  # noqa: C901 - the hot path: a call for each kind of pattern would double its time
        self,
        name: str,
        path: str,
        is_dir: bool,  # noqa: FBT001 - as above
        start: int = 0,
    ) -> Rule | None:
        """The last rule that matches, or None.

        Args:
            name: the last component, bytewise.
            path: the path, bytewise; only what follows ``start`` is relative to the ignore file's folder.
            is_dir: a real directory (a link to one is not).
            start: where the path relative to the ignore file's folder begins.
        """
        best = -1
        if self._plain:
            hit = self._plain.get(name)
            if hit is not None:
                best = hit[is_dir]
        if self._suffixes:
            dot = name.rfind(".")
            if dot >= 0:
                hit = self._suffixes.get(name[dot:])
                if hit is not None and hit[is_dir] > best:
                    best = hit[is_dir]
        if self._names is not None:
            pair = self._names[is_dir]
            if pair is not None:
                found = pair[0].fullmatch(name)
                if found is not None:
                    best = max(best, pair[1][found.lastindex or 0])
        if self._paths is not None:
            pair = self._paths[is_dir]
            if pair is not None:
                found = pair[0].fullmatch(path, start)
                if found is not None:
                    best = max(best, pair[1][found.lastindex or 0])
        return None if best < 0 else self.rules[best]

    def opens(self, path: str, start: int = 0) -> bool:
        """Whether the directory lies on the way to something an anchored pattern (``data/tiny.csv``) may match.

        A pattern that could match anywhere (``*.csv``, ``**/x``) opens nothing: an ignored tree would have to be
        searched from end to end for it.
        """
        return self._way is not None and self._way.fullmatch(path, start) is not None


def parse(data: bytes, *, origin: str, ignore_case: bool = False) -> RuleSet:
    """Read an ignore file as git does: comments, escapes, trailing spaces, CRLF, a byte order mark.

    Args:
        data: the file's bytes.
        origin: its name in explanations; the line number is added.
        ignore_case: as ``core.ignorecase``.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    patterns = []
    for number, raw in enumerate(text.split("\n"), 1):
        if raw.startswith("#"):
            continue
        line = _trim(raw.removesuffix("\r").partition("\0")[0])
        pattern = _take_apart(line, f"{origin}:{number}") if line else None
        if pattern is not None:
            patterns.append(pattern)
    mark = f"{sha256(data).hexdigest()} {origin} {ignore_case}"
    return RuleSet(patterns, ignore_case=ignore_case, mark=mark)


def _trim(line: str) -> str:
    """Without trailing spaces, but an escaped one stays."""
    end = len(line)
    while end and line[end - 1] == " ":
        end -= 1
    backslashes = len(line[:end]) - len(line[:end].rstrip("\\"))
    if backslashes % 2 and end < len(line):
        end += 1
    return line[:end]


def from_patterns(patterns: Sequence[str], *, origin: str, ignore_case: bool = False) -> RuleSet:
    """The patterns of a list (``include``, ``exclude``) in ignore-file syntax; ``#`` is an ordinary character here."""
    found = (_take_apart(bytewise(pattern), origin) for pattern in patterns if pattern)
    return RuleSet((pattern for pattern in found if pattern is not None), ignore_case=ignore_case)
