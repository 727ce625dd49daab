"""The same facts as HTML, for notebooks. Pure; whatever comes from elsewhere is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from runctl.views import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runctl.views.progress import Step

_PRE = '<pre style="margin:0;line-height:1.35">{}</pre>'
_CELL = '<td style="text-align:left;padding:1px 12px 1px 0">{}</td>'
_MARKS = {
    "running": "…",
    "done": '<span style="color:#1a7f37">✓</span>',
    "warned": '<span style="color:#9a6700">!</span>',
    "skipped": "○",
    "failed": '<span style="color:#cf222e">✗</span>',
}


def pre(words: str) -> str:
    """Text as it would stand in a terminal."""
    return _PRE.format(escape("\n".join(map(text.safe, words.split("\n")))))


def progress(run: str, steps: Iterable[Step], lines: Sequence[str], *, now: float) -> str:
    """The run's name, a row for each step, a bar where it is known how far it is, and our lines below."""
    rows = "".join(_row(step, now) for step in steps)
    head = f"<b>{escape(text.safe(run))}</b>" if run else ""
    table = f'<table style="border:0;margin:2px 0">{rows}</table>' if rows else ""
    return f"<div>{head}{table}{pre(chr(10).join(lines)) if lines else ''}</div>"


def _row(step: Step, now: float) -> str:
    spent = text.clock(now - step.started) if step.state == "running" else text.brief(step.seconds)
    title = escape(text.safe(step.title))
    cells = (_MARKS[step.state], title, escape(text.safe(step.where)), _middle(step), spent)
    return f"<tr>{''.join(map(_CELL.format, cells))}</tr>"


def _middle(step: Step) -> str:
    if step.state != "running":
        return escape(text.safe(step.summary))
    if not step.unit:
        return ""
    bar = f'<progress value="{step.done}" max="{step.total}"></progress> ' if step.total else ""
    item = f" {text.safe(step.item)}" if step.item else ""
    return bar + escape(text.amount(step.done, step.total, step.unit) + item)
