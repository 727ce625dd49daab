"""What goes wrong in real clouds, on demand: rules that match calls, and events that befall instances.

A rule is one JSON object: its ``kind``, what it matches, how often and for how long. Everything random comes from one
seed, and each rule draws from its own stream: the same calls in the same order meet the same weather again.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# kind -> (code, message, HTTP status) of those that answer with an error
ERRORS = {
    "capacity": (
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone}).",
        500,
    ),
    "throttle": ("RequestLimitExceeded", "Request limit exceeded.", 503),
    "error": ("InternalError", "An internal error has occurred", 500),
    "unavailable": ("ServiceUnavailable", "The service is unavailable. Please try again shortly.", 503),
    "denied": ("UnauthorizedOperation", "You are not authorized to perform this operation.", 403),
    "expired": ("ExpiredToken", "The security token included in the request is expired", 400),
}
# What a service calls the same thing; the first column is the kind.
CODES = {
    ("throttle", "s3"): ("SlowDown", "Please reduce your request rate.", 503),
    ("throttle", "ssm"): ("ThrottlingException", "Rate exceeded", 400),
    ("throttle", "*"): ("Throttling", "Rate exceeded", 400),
    ("throttle", "ec2"): ERRORS["throttle"],
    ("denied", "ec2"): ERRORS["denied"],
    ("denied", "ssm"): ("AccessDeniedException", "User is not authorized to perform: ssm:{action}", 400),
    ("denied", "*"): ("AccessDenied", "Access Denied", 403),
}
WIRE = ("slow", "cut")  # these disturb the connection
# These are asked by the instances and by SSM, not by the front.
MACHINE = ("silent", "lost", "undeliverable")
EVENTS = ("interrupt", "rebalance", "die", "disk-full", "disk-free", "skew", "clear")  # these happen once
KINDS = (*ERRORS, *WIRE, *MACHINE, *EVENTS)
# What a rule of a kind may say besides: all that is looked at, so that nothing is passed over in silence.
_OFTEN = frozenset({"chance", "times", "skip", "at", "seconds"})
_CALL = frozenset({"service", "action", "region", "key", "access_key"})
_PLACE = frozenset({"instance", "instance_type", "zone", "region"})
_MAY = {
    **dict.fromkeys(ERRORS, _OFTEN | _CALL | {"code", "message", "status", "delay"}),
    "capacity": _OFTEN
    | {"service", "action", "region", "zone", "instance_type", "market", "code", "message"},
    "slow": _OFTEN | _CALL | {"delay", "rate"},
    "cut": _OFTEN | _CALL | {"delay", "after_bytes", "direction"},
    **dict.fromkeys(MACHINE, _OFTEN | {"service", "instance"}),
    **dict.fromkeys(EVENTS, _PLACE | {"at"}),
    "interrupt": _PLACE | {"at", "seconds"},
    "skew": frozenset({"delay", "at"}),
    "clear": frozenset[str](),
}


class Fault(NamedTuple):
    """What befalls a call. ``delay`` comes first, in seconds; then the error, if there is one; else the answer.

    ``cut_up`` and ``cut_down`` break the connection after so many bytes of the request's or answer's body; ``rate``
    is in bytes a second.
    """

    kind: str
    code: str = ""
    message: str = ""
    status: int = 0
    delay: float = 0.0
    cut_up: int | None = None
    cut_down: int | None = None
    rate: int | None = None


@dataclass
class Rule:
    """One line of weather. Texts that match are glob patterns; empty ones match everything.

    ``at`` and ``seconds`` are counted from the moment the rule was given; ``seconds`` 0 lasts until it is removed;
    ``times`` 0 is without limit; ``skip`` lets so many matching calls pass first.
    """

    kind: str
    service: str = ""
    action: str = ""
    region: str = ""
    zone: str = ""
    instance_type: str = ""
    market: str = ""  # spot or on-demand
    key: str = ""  # of an S3 object, as bucket/key
    instance: str = ""
    access_key: str = ""
    chance: float = 1.0
    times: int = 0
    skip: int = 0
    at: float = 0.0
    seconds: float = 0.0
    code: str = ""
    message: str = ""
    status: int = 0
    delay: float = 0.0
    after_bytes: int = 0
    direction: Literal["down", "up"] = "down"
    rate: int = 0
    id: str = ""
    met: int = field(default=0)  # calls that matched
    hit: int = field(default=0)  # calls that were disturbed


class BadRule(ValueError):
    """A rule or a scenario that says something we do not know; the text says what and what there is."""


def parse(given: Mapping[str, Any]) -> Rule:
    """A rule from JSON or TOML.

    Raises:
        BadRule: an unknown kind, a field that the kind does not look at, or a value of the wrong type.
    """
    known = {each.name: each for each in fields(Rule) if each.name not in ("met", "hit")}
    for name, value in given.items():
        if name not in known:
            raise BadRule(f"a rule has no {name!r}; it may have: {', '.join(known)}")
        default = known[name].default
        wanted = str if name == "kind" or isinstance(default, str) else (int, float)
        if (
            isinstance(value, bool)
            or not isinstance(value, wanted)
            or (isinstance(default, int) and value != int(value))
        ):
            raise BadRule(f"{name} cannot be {value!r}")
    if given.get("kind") not in KINDS:
        raise BadRule(f"there is no weather {given.get('kind')!r}; there is: {', '.join(KINDS)}")
    for name in given:
        if name not in ("kind", "id") and name not in _MAY[given["kind"]]:
            may = ", ".join(sorted(_MAY[given["kind"]])) or "nothing more"
            raise BadRule(f"{given['kind']} does not look at {name!r}; it may say: {may}")
    if given.get("direction", "down") not in ("down", "up"):
        raise BadRule("direction is up or down")
    if not 0 <= given.get("chance", 1.0) <= 1:
        raise BadRule("chance is between 0 and 1")
    if any(
        given.get(name, 0) < 0 for name in ("times", "skip", "at", "seconds", "delay", "after_bytes", "rate")
    ):
        raise BadRule("numbers count from 0")
    return Rule(**given)


def read_scenario(path: Path) -> dict[str, Any]:
    """A scenario file, JSON or TOML by its name: ``{"seed": 7, "weather": [rule, …]}``, every rule checked.

    Raises:
        BadRule: it cannot be parsed or holds a rule that is none.
        OSError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".toml":
            import tomllib  # noqa: PLC0415 - only for TOML

            scenario = tomllib.loads(text)
        else:
            scenario = json.loads(text)
    except ValueError as error:
        raise BadRule(f"{path.name}: {error}") from error
    check_scenario(scenario)
    return dict(scenario)


def check_scenario(scenario: Any) -> list[Rule]:
    """The rules of a scenario. Raises ``BadRule``."""
    if (
        not isinstance(scenario, dict)
        or not isinstance(scenario.get("weather"), list)
        or set(scenario) - {"seed", "weather"}
    ):
        raise BadRule('a scenario is {"seed": number, "weather": [rule, ...]}')
    if not isinstance(scenario.get("seed", 0), int):
        raise BadRule("seed is a whole number")
    return [parse(rule) if isinstance(rule, dict) else _no_rule(rule) for rule in scenario["weather"]]


def _no_rule(rule: Any) -> Rule:
    raise BadRule(f"a rule is an object, not {rule!r}")


class Weather:
    """The rules in force. Not for several threads at once but ``fault``, which only the loop and moto's thread call.

    Args:
        monotonic: seconds, never back.
        seed: of everything random.
    """

    def __init__(self, *, monotonic: Callable[[], float], seed: int = 0) -> None:
        self._monotonic = monotonic
        self._rules: list[tuple[Rule, float, random.Random]] = []
        self._made = 0
        self.seed = seed

    def set_seed(self, seed: int) -> None:
        """Everything random begins again from ``seed``, also for rules already in force."""
        self.seed = seed
        self._rules = [(rule, since, self._stream(rule.id)) for rule, since, _ in self._rules]

    def add(self, rule: Rule) -> Rule:
        """Put a rule in force from now; gives it an id when it has none."""
        self._made += 1
        rule.id = rule.id or f"w{self._made}"
        self._rules.append((rule, self._monotonic(), self._stream(rule.id)))
        return rule

    def remove(self, rule_id: str) -> bool:
        """Take a rule out of force; whether there was one."""
        kept = [each for each in self._rules if each[0].id != rule_id]
        found = len(kept) != len(self._rules)
        self._rules = kept
        return found

    def clear(self) -> None:
        """Fair weather; ids and random streams begin again."""
        self._rules.clear()
        self._made = 0

    def rules(self) -> list[dict[str, Any]]:
        """The rules in force, as JSON, without fields that say nothing."""
        usual = Rule("error")
        return [
            {
                name: value
                for name, value in asdict(rule).items()
                if name in ("kind", "id", "met", "hit") or value != getattr(usual, name)
            }
            for rule, _, _ in self._rules
        ]

    @property
    def calm(self) -> bool:
        """Whether no rule is in force."""
        return not self._rules

    def names(self, field: str) -> bool:
        """Whether a rule in force says something about ``field``."""
        return any(getattr(rule, field) for rule, _, _ in self._rules)

    def fault(
        self, facts: Mapping[str, str], *, kinds: tuple[str, ...] | None = None, naming: str = ""
    ) -> Fault | None:
        """What befalls a call with these facts (``service``, ``action``, ``region``, ``instance_type``, ...); None: nothing.

        A rule that asks for a fact the call does not have does not match. The first rule that strikes decides. Without
        ``kinds``, those that belong to the front: errors but capacity, and the wire. With ``naming``, only rules that say
        something about that field are asked.
        """
        wanted = kinds or tuple(kind for kind in (*ERRORS, *WIRE) if kind != "capacity")
        for rule, since, stream in self._rules:
            if (
                rule.kind in wanted
                and (not naming or getattr(rule, naming))
                and self._in_time(rule, since)
                and _matches(rule, facts)
                and _strikes(rule, stream)
            ):
                return _fault(rule, facts)
        return None

    def _in_time(self, rule: Rule, since: float) -> bool:
        age = self._monotonic() - since - rule.at
        return age >= 0 and (not rule.seconds or age < rule.seconds)

    def _stream(self, rule_id: str) -> random.Random:
        return random.Random(f"{self.seed}/{rule_id}")


_MATCHED = ("service", "action", "region", "zone", "instance_type", "market", "key", "instance", "access_key")


def _matches(rule: Rule, facts: Mapping[str, str]) -> bool:
    return all(
        fnmatchcase(facts.get(name, ""), pattern) and name in facts
        for name in _MATCHED
        if (pattern := getattr(rule, name))
    )


def _strikes(rule: Rule, stream: random.Random) -> bool:
    """Whether this matching call is one of those the rule disturbs; counts it."""
    rule.met += 1
    drawn = (
        stream.random()
    )  # drawn for every matching call, so that a rule's own counts do not shift the stream
    if rule.met <= rule.skip or (rule.times and rule.hit >= rule.times) or drawn >= rule.chance:
        return False
    rule.hit += 1
    return True


def _fault(rule: Rule, facts: Mapping[str, str]) -> Fault:
    if rule.kind == "slow":
        return Fault("slow", delay=rule.delay, rate=rule.rate or None)
    if rule.kind == "cut":
        up = rule.direction == "up"
        return Fault(
            "cut",
            delay=rule.delay,
            cut_up=rule.after_bytes if up else None,
            cut_down=None if up else rule.after_bytes,
        )
    service = facts.get("service", "*")
    code, message, status = (
        CODES.get((rule.kind, service)) or CODES.get((rule.kind, "*")) or ERRORS.get(rule.kind, ("", "", 0))
    )
    words = {"instance_type": "", "zone": "", "action": "", **facts}
    return Fault(
        rule.kind,
        code=rule.code or code,
        message=rule.message or message.format_map(words),
        status=rule.status or status,
        delay=rule.delay,
    )
