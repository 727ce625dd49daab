"""Sandboxes and their weather as lines of text. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from runctl.views.table import Column, table
from runctl.views.text import wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runctl.views.style import Style

_ALWAYS = ("kind", "id", "met", "hit")  # of a rule; all else is what was asked for


def sandboxes(found: Sequence[Mapping[str, Any]], *, width: int | None, style: Style) -> str:
    """One line for each sandbox, and below them what is to be said about one."""
    rows, notes = [], []
    for each in found:
        name = each["name"]
        if each["state"] != "up":
            rows.append((name, "gone", "", "", ""))
            notes.append(f"{name} ended without being taken down: runctl sandbox down --name {name}")
            continue
        counted = ", ".join(f"{count} {state}" for state, count in sorted(each["instances"].items()))
        rules = len(each["weather"])
        weather = "fair" if not rules else f"{rules} rule{'s' if rules > 1 else ''}"
        rows.append((name, each["endpoint"], str(each["pid"]), counted or "none", weather))
        weaker = each.get("weaker", ())  # one that an older runctl started does not say
        notes += [f"{name} is weaker than it could be:"] if weaker else []
        for words in weaker:
            first, *rest = wrap(words, (width or 110) - 4)
            notes += [f"  - {first}", *(f"    {line}" for line in rest)]
    columns = (
        Column("NAME"),
        Column("ADDRESS"),
        Column("PID", right=True),
        Column("INSTANCES", flexible=True),
        Column("WEATHER"),
    )
    return "\n".join([table(columns, rows, width=width, style=style), *notes])


def rules(found: Sequence[Mapping[str, Any]], *, width: int | None, style: Style) -> str:
    """The weather in force, each rule as it would be typed again, and how often it struck."""
    rows = [(each["id"], asked(each), str(each["met"]), str(each["hit"])) for each in found]
    columns = (
        Column("ID"),
        Column("WEATHER", flexible=True),
        Column("CALLS", right=True),
        Column("STRUCK", right=True),
    )
    return table(columns, rows, width=width, style=style)


def asked(rule: Mapping[str, Any]) -> str:
    """A rule in the words of ``runctl sandbox weather``."""
    more = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in rule.items()
        if name not in _ALWAYS
    ]
    return " ".join([rule["kind"], *more])


def happened(event: Mapping[str, Any], *, at: float) -> str:
    """What an event of the weather meets; ``at`` seconds from now."""
    kind, met = event["kind"], event["instances"]
    if kind == "clear":
        return "fair weather"
    if kind == "skew":
        return "the sandbox's clock is set"
    when = f" in {at:g} s" if at else ""
    return f"{kind}{when}: {', '.join(met) if met else 'no running instance is meant'}"
