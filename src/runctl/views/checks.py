"""Checks as people read them: a line each, and below what stands badly, what to do about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.core.checks import CheckState
from runctl.core.quantities import count
from runctl.views import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runctl.core.checks import Check
    from runctl.views.style import Style

_LOOKS = {"ok": "good", "warn": "warn", "fail": "bad", "skipped": "dim"}
_BAD = (CheckState.FAIL, CheckState.WARN)


def report(checks: Sequence[Check], *, width: int | None, style: Style) -> str:
    """Every check, grouped by where it was made, and how many stand how. ``width`` None: nothing is wrapped."""
    lines: list[str] = []
    column = max((text.cells(check.title) for check in checks), default=0)
    for where in dict.fromkeys(check.where for check in checks):
        lines.append(style.paint(where, "dim"))
        for check in checks:
            if check.where == where:
                lines += _check(check, column=column, width=width, style=style)
    return "\n".join([*lines, "", summary(checks, style=style)])


def findings(checks: Sequence[Check], *, width: int | None, style: Style) -> str:
    """Only what stands badly, and how many stand how: for whoever has watched the rest."""
    lines: list[str] = []
    for check in checks:
        if check.state in _BAD:
            lines += [*_check(check, column=text.cells(check.title), width=width, style=style), ""]
    return "\n".join([*lines, summary(checks, style=style)])


def summary(checks: Sequence[Check], *, style: Style) -> str:
    """How many stand how, in one line."""
    number = {state: sum(check.state is state for check in checks) for state in CheckState}
    words = [
        (f"{number[CheckState.FAIL]} failed", "bad") if number[CheckState.FAIL] else ("", ""),
        (f"{number[CheckState.WARN]} to look at", "warn") if number[CheckState.WARN] else ("", ""),
        (f"{number[CheckState.SKIPPED]} not looked at", "dim") if number[CheckState.SKIPPED] else ("", ""),
    ]
    told = ", ".join(style.paint(*each) for each in words if each[0])
    if not told:
        return style.paint(f"all {count(len(checks), 'checks')} are fine", "good")
    return f"{told}, {number[CheckState.OK]} fine"


def _check(check: Check, *, column: int, width: int | None, style: Style) -> list[str]:
    mark = {"ok": style.done, "warn": style.warned, "fail": style.failed, "skipped": style.skipped}[
        check.state
    ]
    look = _LOOKS[check.state]
    beside = column + 6
    first, *rest = _wrapped([check.what], width, beside) or [""]
    shown = first if check.state in _BAD else style.paint(first, "dim")
    lines = [f"  {style.paint(mark, look)} {text.pad(text.safe(check.title), column)}  {shown}".rstrip()]
    lines += [" " * beside + (each if check.state in _BAD else style.paint(each, "dim")) for each in rest]
    for index, line in enumerate(_fixes(check.fix, width)):
        lines.append(f"      {style.paint('fix:', 'bold') if not index else '    '}  {line}")
    return lines


def _fixes(fix: Iterable[str], width: int | None) -> list[str]:
    """Prose wrapped; a line that starts with two spaces is a command and stays whole."""
    lines: list[str] = []
    for each in fix:
        lines += [f"  {text.safe(each.strip())}"] if each.startswith("  ") else _wrapped([each], width, 12)
    return lines


def _wrapped(paragraphs: Iterable[str], width: int | None, indent: int) -> list[str]:
    words = [text.safe(each) for each in paragraphs]
    if width is None:
        return words
    return [line for each in words for line in text.wrap(each, max(24, width - indent))]
