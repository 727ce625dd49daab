"""As much of GraphQL as RunPod's clients send: operations with nested selections, arguments and variables.

No fragments, directives or introspection: a document that has them is refused with words that say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r'(?P<skip>[\s,\ufeff]+|\#[^\n]*)|(?P<string>"""(?:.|\n)*?"""|"(?:[^"\\\n]|\\.)*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[_A-Za-z]\w*)|(?P<sign>\.\.\.|[!$():=@\[\]{|}])"
)
DEEPEST = 32


class BadDocument(ValueError):
    """A document we cannot read; the text says why."""


@dataclass
class Field:
    """One selected field: `alias: name(arguments) { selection }`; no selection means the value itself."""

    name: str
    alias: str
    arguments: dict[str, Any] = field(default_factory=dict)
    selection: list[Field] = field(default_factory=list)


class Reader:
    """Reads one document."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._variables = dict(variables)

    def document(self) -> tuple[str, list[Field]]:
        """The kind (`query` or `mutation`) and its fields. Raises BadDocument."""
        kind = "query"
        if self._peek() != "{":
            kind = self._take()
            if kind not in {"query", "mutation"}:
                raise BadDocument(f"expected a query or a mutation, found {kind!r}")
            if self._peek() not in {"{", "("}:
                self._take()
            if self._peek() == "(":
                self._declarations()
        fields = self._selection(0)
        if self._peek():
            raise BadDocument(f"only one operation at a time, no fragments; found {self._peek()!r}")
        return kind, fields

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, wanted: str = "") -> str:
        token = self._peek()
        if not token or (wanted and token != wanted):
            raise BadDocument(f"expected {wanted or 'more'}, found {token or 'the end'}")
        self._at += 1
        return token

    def _declarations(self) -> None:
        self._take("(")
        while self._peek() != ")":
            self._take("$")
            name = self._take()
            self._take(":")
            while self._peek() in {"[", "]", "!"} or re.match(r"\w", self._peek()):
                self._take()
            if self._peek() == "=":
                self._take()
                self._variables.setdefault(name, self._value())
        self._take(")")

    def _selection(self, depth: int) -> list[Field]:
        if depth > DEEPEST:
            raise BadDocument("nested too deep")
        self._take("{")
        found = []
        while self._peek() != "}":
            if self._peek() in {"...", "@"}:
                raise BadDocument("fragments and directives are not spoken here")
            name = self._name()
            each = Field(name, name)
            if self._peek() == ":":
                self._take()
                each.name = self._name()
            if self._peek() == "(":
                each.arguments = self._members("(", ")")
            if self._peek() == "{":
                each.selection = self._selection(depth + 1)
            found.append(each)
        self._take("}")
        return found

    def _name(self) -> str:
        token = self._take()
        if not re.fullmatch(r"[_A-Za-z]\w*", token):
            raise BadDocument(f"expected a name, found {token!r}")
        return token

    def _members(self, first: str, last: str) -> dict[str, Any]:
        self._take(first)
        found = {}
        while self._peek() != last:
            name = self._name()
            self._take(":")
            found[name] = self._value()
        self._take(last)
        return found

    def _value(self) -> Any:
        token = self._peek()
        if token == "{":
            return self._members("{", "}")
        if token == "[":
            self._take()
            found = []
            while self._peek() != "]":
                found.append(self._value())
            self._take("]")
            return found
        self._take()
        if token == "$":
            return self._variables.get(self._name())
        if token.startswith('"""'):
            return token[3:-3]
        if token.startswith('"') or re.match(r"-?\d", token) or token in {"true", "false", "null"}:
            return json.loads(token)
        return token  # a name of an enumeration


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadDocument(f"cannot read {text[at : at + 20]!r}")
        if match.lastgroup != "skip":
            found.append(match.group())
        at = match.end()
    return found


def read(text: str, variables: Mapping[str, Any] | None = None) -> tuple[str, list[Field]]:
    """The kind and the fields of a document. Raises BadDocument."""
    return Reader(text, variables or {}).document()


def shape(value: Any, selection: list[Field]) -> Any:
    """The part of a value that was selected; what a value lacks is null."""
    if isinstance(value, list):
        return [shape(each, selection) for each in value]
    if not selection or not isinstance(value, Mapping):
        return value
    return {each.alias: shape(value.get(each.name), each.selection) for each in selection}


Resolver = Callable[[dict[str, Any]], Awaitable[Any]]


async def execute(fields: list[Field], resolvers: Mapping[str, Resolver]) -> dict[str, Any]:
    """Answers every field of an operation in turn. Raises BadDocument for one that nobody answers."""
    data = {}
    for each in fields:
        if each.name not in resolvers:
            raise BadDocument(f'Cannot query field "{each.name}".')
        data[each.alias] = shape(await resolvers[each.name](each.arguments), each.selection)
    return data
