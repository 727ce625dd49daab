"""The closing block: how the run ended, where the time went, what is left and what to type next. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.views import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runctl.core.events import CheckpointSeen, RunEnded
    from runctl.views.progress import Step
    from runctl.views.style import Style

_LABEL = 13  # columns: two spaces and the longest label
_TAIL = 50  # lines of output worth reading first after a failure


def closing(
    ended: RunEnded,
    *,
    run: str,
    steps: Iterable[Step],
    checkpoints: Sequence[CheckpointSeen],
    width: int,
    style: Style,
) -> str:
    """The block, in lines of at most ``width`` columns; paths and commands stay whole, to be copied."""
    good = ended.outcome == "succeeded"
    mark = style.paint(style.done, "good") if good else style.paint(style.failed, "bad")
    facts = [text.safe(run), _exit(ended), text.brief(ended.seconds)]
    lines = [
        f"{mark} {style.state(text.safe(ended.outcome))}{style.dot}{style.dot.join(filter(None, facts))}"
    ]
    if ended.reason:
        lines += _section("because", text.wrap(text.safe(ended.reason), width - _LABEL), style)
    spent = [
        f"{text.safe(step.title)} {text.brief(step.seconds)}"
        for step in steps
        if step.state in ("done", "failed")
    ]
    lines += _section("time", _flow(spent, width - _LABEL), style)
    lines += _section("checkpoints", _checkpoints(checkpoints), style)
    lines += _section(
        "killed", [text.safe(f"{one.get('pid')} {one.get('command')}") for one in ended.killed], style
    )
    lines += _section("next", _next(ended, run, kept=bool(checkpoints)) if run else [], style)
    return "\n".join(lines)


def _exit(ended: RunEnded) -> str:
    if ended.signal:
        return f"signal {text.safe(ended.signal)}"
    return "" if ended.exit_code is None else f"exit code {ended.exit_code}"


def _section(label: str, body: Sequence[str], style: Style) -> list[str]:
    head = style.paint(f"  {label}".ljust(_LABEL), "dim")
    return [f"{head if not index else ' ' * _LABEL} {line}" for index, line in enumerate(body)]


def _flow(items: Sequence[str], width: int) -> list[str]:
    """Items separated by commas, none torn."""
    lines: list[str] = []
    for item in items:
        if lines and text.cells(lines[-1]) + 3 + text.cells(item) <= width:
            lines[-1] += f", {item}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(item)
    return lines


def _checkpoints(seen: Sequence[CheckpointSeen]) -> list[str]:
    """How many, and where the newest is; newest by step where steps are known, else by when it was seen."""
    if not seen:
        return []
    places = {event.path: event for event in seen}  # one written again counts once
    stepped = [event for event in places.values() if event.step is not None]
    newest = max(stepped, key=lambda event: event.step or 0) if stepped else seen[-1]
    at = "" if newest.step is None else f" at step {newest.step}"
    return [
        f"{text.count(len(places), 'checkpoints')}, the newest{at} ({text.size(newest.size)}):",
        text.safe(newest.path),
    ]


def _next(ended: RunEnded, run: str, *, kept: bool) -> list[str]:
    name = text.command([run])
    logs = f"runctl logs {name}" if ended.outcome == "succeeded" else f"runctl logs --tail {_TAIL} {name}"
    return [
        *([f"runctl checkpoint list {name}"] if kept else []),
        logs,
        f"runctl show {name}",
    ]
