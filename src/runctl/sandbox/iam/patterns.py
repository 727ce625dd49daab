"""The texts of policies that stand for many: `*` and `?`, and variables such as `${aws:username}`.

The grammar is that of the IAM user guide: `*` is any run of characters, colons and slashes included, `?` is one
character; `${*}`, `${?}` and `${$}` are those characters themselves; `${key, 'text'}` has a default. Variables exist
in policies of version 2012-10-17 only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

# what is known of a request: lower-case names of condition keys -> their values
Keys = Mapping[str, tuple[str, ...]]

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_DEFAULT = re.compile(r"([^,]+?)\s*,\s*'(.*)'", re.DOTALL)


class Variable(NamedTuple):
    """A variable in a text: its key in lower case, as it was written, and its default (None: nothing matches then)."""

    key: str
    name: str
    default: str | None


class Literal(NamedTuple):
    """Characters that stand for themselves, whatever they are."""

    text: str


Part = str | Literal | Variable  # a str may hold wildcards


@lru_cache(maxsize=4096)
def parts_of(text: str, *, variables: bool) -> tuple[Part, ...]:
    """A text taken apart; one part when it holds no variables."""
    if not variables or "${" not in text:
        return (text,)
    parts: list[Part] = []
    at = 0
    for found in _VARIABLE.finditer(text):
        parts.append(text[at : found.start()])
        at = found.end()
        name = found.group(1).strip()
        if name in ("*", "?", "$"):
            parts.append(Literal(name))
        elif default := _DEFAULT.fullmatch(name):
            parts.append(Variable(default.group(1).lower(), default.group(1), default.group(2)))
        else:
            parts.append(Variable(name.lower(), name, None))
    parts.append(text[at:])
    return tuple(part for part in parts if part != "")


def value_of(variable: Variable, keys: Keys) -> str | None:
    """What a variable is in a request; None when it has no value, or more than one."""
    held = keys.get(variable.key, ())
    if len(held) == 1:
        return held[0]
    return variable.default if not held else None


def expand(parts: tuple[Part, ...], keys: Keys) -> str | None:
    """The text with its variables filled in; None when one of them has no value."""
    filled = []
    for part in parts:
        text = (
            part
            if isinstance(part, str)
            else part.text
            if isinstance(part, Literal)
            else value_of(part, keys)
        )
        if text is None:
            return None
        filled.append(text)
    return "".join(filled)


def wildcards(text: str) -> str:
    """A text with `*` and `?` as a regular expression."""
    return "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in text)


@lru_cache(maxsize=4096)
def compiled(expression: str, *, fold: bool = False) -> re.Pattern[str]:
    """A regular expression over whole texts; `fold` for those where case does not count."""
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if fold else 0))


def like(parts: tuple[Part, ...], value: str, keys: Keys) -> bool:
    """Whether a value fits a text with wildcards; what a variable brings in is taken literally."""
    expression = []
    for part in parts:
        if isinstance(part, str):
            expression.append(wildcards(part))
            continue
        text = part.text if isinstance(part, Literal) else value_of(part, keys)
        if text is None:
            return False
        expression.append(re.escape(text))
    return compiled("".join(expression)).fullmatch(value) is not None


class AnyOf:
    """Several patterns, one of which has to fit. Those without variables are one regular expression."""

    __slots__ = ("_fixed", "_open", "texts")

    def __init__(self, texts: tuple[str, ...], *, variables: bool = False, fold: bool = False) -> None:
        taken = [parts_of(text, variables=variables) for text in texts]
        fixed = [parts[0] for parts in taken if len(parts) == 1 and isinstance(parts[0], str)]
        self.texts = texts
        self._open = tuple(parts for parts in taken if len(parts) > 1 or not isinstance(parts[0], str))
        self._fixed = compiled("|".join(map(wildcards, fixed)), fold=fold) if fixed else None

    def fits(self, value: str, keys: Keys) -> bool:
        """Whether one of them fits the value in this request."""
        if self._fixed is not None and self._fixed.fullmatch(value):
            return True
        return any(like(parts, value, keys) for parts in self._open)

    def names(self) -> set[str]:
        """The keys that its variables read, as they are written."""
        return {part.name for parts in self._open for part in parts if isinstance(part, Variable)}
