"""The figures of ``runctl stats`` as text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.views import text
from runctl.views.table import Column, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.views.style import Style

_P = (Column("P50", right=True), Column("P95", right=True))
STEPS = (
    Column("STEP"),
    Column("WHERE"),
    Column("COUNT", right=True),
    Column("FAILED", right=True),
    Column("SKIPPED", right=True),
    *_P,
)
PROJECTS = (Column("RUNS", right=True), Column("SUCCESS", right=True), *_P, Column("PROJECT"))


def render(figures: Mapping[str, Any], *, style: Style) -> str:
    """Outcomes in a line, then a table of steps, then one of projects where there are several."""
    outcomes = ", ".join(f"{number} {word}" for word, number in figures["outcomes"].items() if number)
    active = f", {figures['active']} active" if figures["active"] else ""
    lines = [
        f"{text.count(figures['runs'], 'runs')}: {(outcomes + active).removeprefix(', ')}",
        (
            f"success rate {percent(figures['success_rate'])}; a script ran {_time(figures['duration']['p50'])} (p50), "
            f"{_time(figures['duration']['p95'])} (p95)"
        ),
    ]
    if figures["steps"]:
        rows = [
            (
                each["step"],
                each["where"],
                str(each["count"]),
                str(each["failed"]),
                str(each["skipped"]),
                _time(each["p50"]),
                _time(each["p95"]),
            )
            for each in figures["steps"]
        ]
        lines += ["", table(STEPS, rows, style=style)]
    if len(figures["projects"]) > 1:
        projects = [
            (
                str(each["runs"]),
                percent(each["success_rate"]),
                _time(each["duration"]["p50"]),
                _time(each["duration"]["p95"]),
                each["project"],
            )
            for each in figures["projects"]
        ]
        lines += ["", table(PROJECTS, projects, style=style)]
    return "\n".join(lines)


def percent(share: float | None) -> str:
    """``97 %``; never 100 unless all, never 0 unless none; ``-`` of nothing."""
    if share is None:
        return "-"
    whole = round(share * 100)
    if share < 1:
        whole = min(whole, 99)
    return f"{max(whole, 1) if share > 0 else 0} %"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else text.brief(seconds)
