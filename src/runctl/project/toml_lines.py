"""Where each key stands in a TOML file. The standard parser does not say; messages and ``--origin`` want to.

Only for text that ``tomllib`` has accepted: the scan relies on it and checks nothing itself.
"""

from __future__ import annotations

import re

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*(?:"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|([A-Za-z0-9_-]+))[ \t]*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'",
    re.DOTALL,
)

Place = tuple[int, int]  # line and column, both from 1


def places(text: str) -> dict[tuple[str, ...], Place]:
    """Line and column of every key and table header of ``text``, by path; keys of inline tables are not listed."""
    found: dict[tuple[str, ...], Place] = {}
    table: tuple[str, ...] = ()
    at = 0
    line, line_start = 1, 0
    seen = 0
    while True:
        at = _end(_SPACE, text, at)
        if at >= len(text):
            return found
        line += text.count("\n", seen, at)
        line_start = text.rfind("\n", 0, at) + 1
        seen = at
        here = (line, at - line_start + 1)
        if text[at] == "[":
            opening = 2 if text.startswith("[[", at) else 1
            table, at = _path(text, at + opening)
            for size in range(1, len(table) + 1):
                found.setdefault(table[:size], here)
            at += opening
        else:
            path, at = _path(text, at)
            if not path:  # not TOML after all: give what was found
                return found
            for size in range(1, len(path) + 1):
                found.setdefault(table + path[:size], here)
            at = _skip_value(text, at + 1)


def place(found: dict[tuple[str, ...], Place], path: tuple[str, ...]) -> Place | None:
    """Where ``path`` stands, or the nearest thing around it that has a place."""
    for size in range(len(path), 0, -1):
        if path[:size] in found:
            return found[path[:size]]
    return None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _path(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """A dotted key from ``at``, and where it ends."""
    names: list[str] = []
    while match := _KEY.match(text, at):
        quoted, literal, bare = match.groups()
        names.append(_unescape(quoted) if quoted is not None else literal if literal is not None else bare)
        at = match.end()
        if not text.startswith(".", at):
            break
        at += 1
    return tuple(names), at


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    import tomllib  # noqa: PLC0415 - only for a key with an escape

    value: str = tomllib.loads(f'key = "{text}"')["key"]
    return value


def _skip_value(text: str, at: int) -> int:
    """The end of the value that begins at ``at``: the end of its line, outside of strings and brackets."""
    depth = 0
    while at < len(text):
        character = text[at]
        if character in "\"'":
            end = _end(_STRING, text, at)
            at = max(end, at + 1)
            continue
        if character == "#":
            newline = text.find("\n", at)
            at = len(text) if newline < 0 else newline
            continue
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "\n" and depth <= 0:
            return at
        at += 1
    return at
