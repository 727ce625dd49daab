"""The same calls through boto3 to the sandbox and to moto in this process, and what each of them answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from botocore.exceptions import ClientError


class Outcome(NamedTuple):
    """How a call ended: the HTTP status, then the answer, or the code of the error; status 0 when moto fell over."""

    status: int
    answer: Any


class Named(NamedTuple):
    """A thing that each side gave a name of its own."""

    ours: str
    theirs: str


class Difference(NamedTuple):
    """Where moto is known to be wrong: ``when(call, asked, ours, theirs)`` says whether this is such a case."""

    why: str
    when: Callable[[str, dict[str, Any], Outcome, Outcome], bool]


class Twin:
    """Two clients that are asked the same; ``ask`` fails when they answer differently and no difference is known.

    ``names`` are fields whose values each side chooses for itself, ``unlike`` those that are not compared, ``absent``
    values of a field that say no more than its absence. With ``only``, no other field is compared.
    """

    def __init__(
        self,
        ours: Any,
        theirs: Any,
        *,
        names: Iterable[str],
        unlike: Iterable[str],
        differences: Iterable[Difference],
        absent: Iterable[tuple[str, Any]] = (),
        only: Iterable[str] = (),
    ) -> None:
        self.ours, self.theirs = ours, theirs
        self._names, self._unlike = frozenset(names), frozenset(unlike)
        self._differences = list(differences)
        self._absent, self._only = frozenset(absent), frozenset(only)
        self._known: dict[str, str] = {}  # name on either side -> the name that stands for both
        self.history: list[str] = []

    def ask(self, call: str, **asked: Any) -> Outcome:
        """What the sandbox answered, with names of both sides as ``Named``; moto answered the same."""
        told = {name: len(each) if isinstance(each, bytes) else each for name, each in asked.items()}
        self.history.append(f"{call} {told}")
        ours = _outcome(self.ours, call, _side(asked, 0))
        theirs = _outcome(self.theirs, call, _side(asked, 1))
        self._learn(ours.answer, theirs.answer)
        if self._plain(ours) != self._plain(theirs):
            found = any(each.when(call, asked, ours, theirs) for each in self._differences)
            assert found, "\n".join(
                [*self.history, f"  sandbox: {self._plain(ours)}", f"  moto:    {self._plain(theirs)}"]
            )
        return Outcome(ours.status, _paired(ours.answer, theirs.answer, self._names))

    def pages(self, call: str, token: tuple[str, str], **asked: Any) -> None:
        """Follow both through all pages, each with tokens of its own; ``token`` is (name in the call, in the answer)."""
        more: dict[str, Any] = {}
        for _ in range(50):
            answer = self.ask(call, **asked, **more).answer
            if not isinstance(answer, dict) or not answer.get(token[1]):
                return
            more = {token[0]: answer[token[1]]}
        raise AssertionError("pages without end")

    def _learn(self, ours: Any, theirs: Any) -> None:
        if isinstance(ours, dict) and isinstance(theirs, dict):
            for name in ours.keys() & theirs.keys():
                new = isinstance(ours[name], str) and ours[name] not in self._known
                if name in self._names and new and not self._empty(name, ours[name]):
                    word = f"{name}-{len(self._known) // 2}"
                    self._known.setdefault(ours[name], word)
                    self._known.setdefault(theirs[name], word)
                self._learn(ours[name], theirs[name])
        elif isinstance(ours, list) and isinstance(theirs, list):
            for one, other in zip(ours, theirs, strict=False):
                self._learn(one, other)

    def _empty(self, name: str, value: Any) -> bool:
        return value in ("", [], None) or (isinstance(value, str) and (name, value) in self._absent)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Outcome):
            return Outcome(value.status, self._plain(value.answer))
        if isinstance(value, dict):
            return {
                name: self._plain(each)
                for name, each in sorted(value.items())
                if name not in self._unlike
                and (not self._only or name in self._only)
                and not self._empty(name, each)
            }
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        if isinstance(value, datetime):
            return "a time"
        if isinstance(value, bytes):
            return f"{len(value)} bytes, {hashlib.sha256(value).hexdigest()}"
        return self._known.get(value, value) if isinstance(value, str) else value


def _side(value: Any, index: int) -> Any:
    if isinstance(value, Named):
        return value[index]
    if isinstance(value, dict):
        return {name: _side(each, index) for name, each in value.items()}
    if isinstance(value, list):
        return [_side(each, index) for each in value]
    return value


def _outcome(client: Any, call: str, asked: dict[str, Any]) -> Outcome:
    try:
        answer = getattr(client, call)(**asked)
    except ClientError as error:
        return Outcome(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        return Outcome(0, repr(error))
    status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
    if "Body" in answer:
        answer["Body"] = answer["Body"].read()
    return Outcome(status, answer)


def _paired(ours: Any, theirs: Any, names: frozenset[str]) -> Any:
    """Our answer, in which names that both sides gave are ``Named``."""
    if isinstance(ours, dict):
        there = theirs if isinstance(theirs, dict) else {}
        return {
            name: Named(each, there[name])
            if name in names and isinstance(each, str) and name in there
            else _paired(each, there.get(name), names)
            for name, each in ours.items()
        }
    if isinstance(ours, list):
        alike = isinstance(theirs, list) and len(theirs) == len(ours)
        return [
            _paired(one, other, names)
            for one, other in zip(ours, theirs if alike else [None] * len(ours), strict=True)
        ]
    return ours
