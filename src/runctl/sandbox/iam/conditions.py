"""The Condition element: operators, what they make of keys that are absent, and of keys with many values.

As documented by IAM: the values of one key are alternatives (for a negated operator, none of them may fit), keys and
operators all have to hold. A key that is absent fails an operator, holds for a negated one and for `...IfExists`;
`ForAllValues:` holds without a value, `ForAnyValue:` does not.
"""

from __future__ import annotations

import base64
import ipaddress
import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from runctl.sandbox.iam.patterns import Keys, Part, Variable, compiled, expand, like, parts_of, wildcards


class BadCondition(ValueError):
    """A Condition element that IAM does not accept."""


Parts = tuple[Part, ...]
Hit = Callable[[Parts, str, Keys], bool]  # (value of the policy, value of the request, keys)


def _equals(parts: Parts, value: str, keys: Keys) -> bool:
    return expand(parts, keys) == value


def _equals_folded(parts: Parts, value: str, keys: Keys) -> bool:
    wanted = expand(parts, keys)
    return wanted is not None and wanted.lower() == value.lower()


def _binary(parts: Parts, value: str, keys: Keys) -> bool:
    wanted = expand(parts, keys)
    try:
        return wanted is not None and base64.b64decode(wanted, validate=True) == base64.b64decode(
            value, validate=True
        )
    except ValueError:
        return False


def _address(parts: Parts, value: str, keys: Keys) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(expand(parts, keys) or "", strict=False)
    except ValueError:
        return False


def _arn(parts: Parts, value: str, keys: Keys) -> bool:
    """Each of the six parts between colons is compared by itself."""
    wanted = expand(parts, keys)
    if wanted is None:
        return False
    theirs, ours = value.split(":", 5), wanted.split(":", 5)
    return len(theirs) == len(ours) and all(
        compiled(wildcards(pattern)).fullmatch(text) for pattern, text in zip(ours, theirs, strict=True)
    )


def number(text: str) -> float | None:
    """A number of a policy or request; None for anything else."""
    try:
        return float(text)
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def moment(text: str) -> float | None:
    """A time as seconds since the epoch, of ISO 8601 or of seconds; None for anything else."""
    if (seconds := number(text)) is not None:
        return seconds
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _ordered(compare: Callable[[float, float], bool], read: Callable[[str], float | None]) -> Hit:
    def hit(parts: Parts, value: str, keys: Keys) -> bool:
        wanted, held = read(expand(parts, keys) or ""), read(value)
        return wanted is not None and held is not None and compare(held, wanted)

    return hit


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
# operator in lower case -> (what fits, whether the operator is its negation)
OPERATORS: dict[str, tuple[Hit, bool]] = {
    "stringequals": (_equals, False),
    "stringnotequals": (_equals, True),
    "stringequalsignorecase": (_equals_folded, False),
    "stringnotequalsignorecase": (_equals_folded, True),
    "stringlike": (like, False),
    "stringnotlike": (like, True),
    "bool": (_equals_folded, False),
    "binaryequals": (_binary, False),
    "ipaddress": (_address, False),
    "notipaddress": (_address, True),
    "arnequals": (_arn, False),  # documented to behave as ArnLike
    "arnlike": (_arn, False),
    "arnnotequals": (_arn, True),
    "arnnotlike": (_arn, True),
    **{f"numeric{name}".lower(): (_ordered(order, number), False) for name, order in _ORDERS.items()},
    **{f"date{name}".lower(): (_ordered(order, moment), False) for name, order in _ORDERS.items()},
    "numericnotequals": (_ordered(operator.eq, number), True),
    "datenotequals": (_ordered(operator.eq, moment), True),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of one operator."""

    name: str  # the key as it is written
    values: tuple[Parts, ...]
    hit: Hit | None  # None: the Null operator
    negated: bool = False
    if_exists: bool = False
    each: str = ""  # forallvalues, foranyvalue, or one value

    def holds(self, keys: Keys) -> bool:
        """Whether it holds for a request with these keys."""
        held = keys.get(self.name.lower(), ())
        if self.hit is None:
            return any((expand(value, keys) or "").lower() == str(not held).lower() for value in self.values)
        if not held:
            return self.if_exists or self.each == "forallvalues" or (self.negated and not self.each)
        fits = (
            any(self.hit(wanted, value, keys) for wanted in self.values) != self.negated for value in held
        )
        every = self.each == "forallvalues" or (self.negated and not self.each)
        return all(fits) if every else any(fits)

    def names(self) -> set[str]:
        """The keys it reads, as they are written."""
        return {
            self.name,
            *(part.name for value in self.values for part in value if isinstance(part, Variable)),
        }


def read(element: Any, *, variables: bool) -> tuple[Condition, ...]:
    """The conditions of a statement's Condition element.

    Raises:
        BadCondition: an unknown operator, or not the shape it has to have.
    """
    if not isinstance(element, dict):
        raise BadCondition("Condition must be an object")
    found = []
    for name, keyed in element.items():
        if not isinstance(keyed, dict):
            raise BadCondition(f"{name} must be an object")
        for key, values in keyed.items():
            found.append(_condition(name, key, values, variables=variables))
    return tuple(found)


def _condition(name: str, key: str, values: Any, *, variables: bool) -> Condition:
    each, _, rest = name.lower().rpartition(":")
    if each not in ("", "forallvalues", "foranyvalue"):
        raise BadCondition(f"Invalid Condition type : {name}.")
    base = rest.removesuffix("ifexists")
    listed = values if isinstance(values, list) else [values]
    texts = [str(each).lower() if isinstance(each, bool) else each for each in listed]
    if not texts or not all(isinstance(text, (str, int, float)) for text in texts):
        raise BadCondition(f"the values of {key} must be text, numbers or truth values")
    taken = tuple(parts_of(str(text), variables=variables) for text in texts)
    if rest == "null" and not each:
        return Condition(key, taken, None)
    if base not in OPERATORS:
        raise BadCondition(f"Invalid Condition type : {name}.")
    hit, negated = OPERATORS[base]
    return Condition(key, taken, hit, negated, if_exists=base != rest, each=each)
