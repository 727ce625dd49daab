r"""git's wildcards as regular expressions (git calls them wildmatch).

``*`` and ``?`` stop at ``/``; ``**`` as a whole component crosses it; ``[...]`` knows ranges, negation and
``[:alpha:]``, and never matches ``/``. A pattern that git can never match raises ``BadPatternError``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

SPECIAL: Final = frozenset("*?[\\")
_POSIX: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
SLASH, STAR, DEEP, DEEP_SLASH = "slash", "star", "deep", "deep/"  # what is not one fixed character


class Token(NamedTuple):
    """One step of a pattern."""

    kind: str  # SLASH, STAR, DEEP, DEEP_SLASH, or "" for one character
    regex: str = ""
    fixed: bool = False  # matches one character only


class BadPatternError(Exception):
    """The pattern can match nothing (an unclosed bracket, a backslash at the end)."""


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The bracket expression at ``at`` as a regular expression that never matches ``/``, and where it ends."""
    at += 1
    negated = pattern[at : at + 1] in ("!", "^")
    at += negated
    parts: list[str] = []
    before = ""  # a character that could begin a range
    first = True  # a "]" that comes first is an ordinary character
    while first or pattern[at : at + 1] != "]":
        first = False
        if pattern[at : at + 1] == "-" and before and pattern[at + 1 : at + 2] not in ("", "]"):
            last, at = _character(pattern, at + 1)
            if (
                before <= last
            ):  # one that runs backwards holds no more than its first character, which is in already
                parts[-1] = f"{re.escape(before)}-{re.escape(last)}"
            before = ""
        elif pattern[at : at + 2] == "[:":
            part, before, at = _posix(pattern, at)
            parts.append(part)
        else:
            before, at = _character(pattern, at)
            parts.append(re.escape(before))
    inside = "".join(parts)
    return (f"[^/{inside}]" if negated else f"(?!/)[{inside}]"), at + 1


def _character(pattern: str, at: int) -> tuple[str, int]:
    """The character at ``at``, unescaped, and where the pattern goes on."""
    at += pattern[at : at + 1] == "\\"
    if at >= len(pattern):
        raise BadPatternError
    return pattern[at], at + 1


def _posix(pattern: str, at: int) -> tuple[str, str, int]:
    """What stands at ``[:``: a named set, or after all an ordinary bracket (which may begin a range)."""
    end = pattern.find("]", at + 2)
    if end < 0:
        raise BadPatternError
    if end == at + 2 or pattern[end - 1] != ":":
        return "\\[", "[", at + 1
    try:
        return _POSIX[pattern[at + 2 : end - 1]], "", end + 1
    except KeyError:
        raise BadPatternError from None


def _stars(pattern: str, at: int, start: int, *, whole_path: bool) -> tuple[Token, int]:
    """The run of stars at ``at``: its token and where the pattern goes on."""
    end = at
    while pattern[end : end + 1] == "*":
        end += 1
    opens = at == start or pattern[at - 1] == "/"
    closes = end == len(pattern) or pattern[end] == "/" or pattern[end : end + 2] == "\\/"
    if not (whole_path and end - at > 1 and opens and closes):
        return Token(STAR), end
    if pattern[end : end + 1] == "/":
        return Token(DEEP_SLASH), end + 1
    return Token(DEEP), end


def tokens_of(pattern: str, *, whole_path: bool) -> list[Token]:
    """Take a pattern apart; ``whole_path`` for one that is matched against a path, not a name. Pure.

    Raises:
        BadPatternError: it can match nothing.
    """
    # git compares the fixed beginning of a path pattern by itself, and what is left begins anew: `a**/b` is `**/b`
    # after `a`. Hence `start`.
    start = 0
    if whole_path:
        while start < len(pattern) and pattern[start] not in SPECIAL:
            start += 1
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*":
            token, at = _stars(pattern, at, start, whole_path=whole_path)
            tokens.append(token)
            continue
        if character == "[":
            regex, at = _class(pattern, at)
            tokens.append(Token("", regex))
            continue
        if character == "?":
            tokens.append(Token("", "[^/]"))
        else:
            if character == "\\":
                at += 1
                if at == len(pattern):
                    raise BadPatternError
                character = pattern[at]
            tokens.append(Token(SLASH) if character == "/" else Token("", re.escape(character), fixed=True))
        at += 1
    return tokens


def _segment(tokens: Sequence[Token]) -> str:
    """One component. All stars but the last take the first place that fits, for good: no exponential search."""
    chunks = [""]
    for token in tokens:
        if token.kind == STAR:
            chunks.append("")
        else:
            chunks[-1] += token.regex
    if len(chunks) == 1:
        return chunks[0]
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in chunks[1:-1])
    return f"{chunks[0]}{middle}[^/]*{chunks[-1]}"


def regex_of(tokens: Sequence[Token]) -> str:
    """The regular expression that matches the whole of what the pattern matches, without capturing groups. Pure."""
    out: list[str] = []
    segment: list[Token] = []
    for token in tokens:
        if token.kind in ("", STAR):
            segment.append(token)
            continue
        out.append(_segment(segment))
        segment = []
        out.append({SLASH: "/", DEEP: ".*", DEEP_SLASH: "(?:.*/)?"}[token.kind])
    out.append(_segment(segment))
    return "".join(out)


def way_of(tokens: Sequence[Token]) -> str | None:
    """The directories on the way to what an anchored pattern names, as a regular expression; None when anywhere."""
    segments: list[str] = []
    segment: list[Token] = []
    deep = False
    for token in tokens:
        if token.kind in (DEEP, DEEP_SLASH):
            deep = True
            break
        if token.kind == SLASH:
            segments.append(_segment(segment))
            segment = []
        else:
            segment.append(token)
    if deep and not segments and not segment:
        return None
    if deep and segment:  # `a**/b`: below every directory that begins so
        segments.append(_segment(segment) + ".*")
    elif deep:
        segments.append(".*")
    way = ""
    for part in reversed(segments):
        way = f"{part}(?:/{way})?" if way else part
    return way or None
