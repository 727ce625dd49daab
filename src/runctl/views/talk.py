"""Events as plain lines of talk, for every view that speaks to people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.core import events
from runctl.views import text

if TYPE_CHECKING:
    from runctl.views.progress import Step
    from runctl.views.style import Style


def remark(
    event: events.Event, *, style: Style, verbose: bool, debug: bool, width: int | None = None
) -> str | None:
    """The line an event is worth that is not about a step, or None.

    Notices always, those of level ``detail`` with ``verbose``; commands, installer output, changes of state and checkpoints with ``verbose``; events of a kind
    this version does not know with ``debug``. ``width`` wraps notices, for a terminal; nothing else is wrapped.
    """
    match event:
        case events.Notice(level="warning", text=words):
            first, *rest = _folded(f"warning: {words}", width)
            return "\n".join([first.replace("warning:", style.paint("warning:", "warn"), 1), *rest])
        case events.Notice(level="detail", text=words):
            return style.paint(text.safe(words), "dim") if verbose else None
        case events.Notice(text=words):
            return "\n".join(_folded(words, width))
        case events.Unknown(raw=raw) if debug:
            return style.paint(f"unknown event {text.safe(str(raw.get('kind')))}", "dim")
    detail = _detail(event) if verbose else None
    return None if detail is None else style.paint(detail, "dim")


def _folded(words: str, width: int | None) -> list[str]:
    """Words wrapped with a hanging indent, or on one line. A line that starts with two spaces is a command: whole."""
    lines: list[str] = []
    for line in words.strip("\n").split("\n"):
        if width is None or line.startswith("  "):
            lines.append(text.safe(line))
        else:
            first, *rest = text.wrap(text.safe(line), width - 2) or [""]
            lines += [first, *(f"  {each}" for each in rest)]
    return lines


def _detail(event: events.Event) -> str | None:
    match event:
        case events.CommandRun(argv=argv, where=where, seconds=seconds, exit_code=code):
            ended = "did not end" if code is None else f"exit {code}"
            return f"$ {text.command(argv)}  ({text.safe(where)}, {ended}, {text.brief(seconds)})"
        case events.InstallerOutput(text=words):
            return f"| {text.safe(words)}"
        case events.RunChanged(state=state, pid=pid):
            return f"run is {text.safe(state)}" + (f", process {pid}" if pid else "")
        case events.CheckpointSeen(path=path, size=size):
            step = "" if event.step is None else f", step {event.step}"
            return f"checkpoint {text.safe(path)} ({text.safe(event.format)}, {text.size(size)}{step})"
    return None


def step_line(step: Step, *, now: float, style: Style) -> str:
    """A step's state in one line: started, how far, done, failed."""
    name = f"{text.safe(step.title)} ({text.safe(step.where)})"
    summary = text.safe(step.summary)
    match step.state:
        case "done":
            tail = f", {summary}" if summary else ""
            return f"{name}: {style.paint('done', 'good')} in {text.brief(step.seconds)}{tail}"
        case "warned":
            return f"{name}: {style.paint('done', 'warn')} in {text.brief(step.seconds)}, {summary}"
        case "skipped":
            return f"{name}: nothing to do" + (f", {summary}" if summary else "")
        case "failed":
            return f"{name}: {style.paint('failed', 'bad')} after {text.brief(step.seconds)}: {summary}"
    if not step.unit:
        return f"{name}: started"
    left = step.remaining(now)
    said = (
        text.amount(step.done, step.total, step.unit, of="of"),
        text.rate(step.rate(now), step.unit),
        "" if left is None else text.remaining(left),
        text.safe(step.item),
    )
    return f"{name}: {', '.join(filter(None, said))}"


def quiet_line(step: Step, *, now: float) -> str:
    """The sign of life of a step that has said nothing for a while."""
    last = f": last {text.safe(step.item)}" if step.item else ""
    return f"still working on {text.safe(step.title)} ({text.duration(now - step.started)}){last}"
