"""The closing block: how the run ended, where the time went, what is left and what to type next. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.views import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runctl.core.events import CheckpointSeen, RunCost, RunEnded
    from runctl.views.progress import Step
    from runctl.views.style import Style

_INDENT, _NARROW_INDENT = 14, 4  # columns before the facts, beside their label or below it
_NARROW = 60  # columns below which labels get lines of their own
_NOTICED = 0.05  # seconds; where the time went is not told by steps shorter than anybody notices
_TAIL = 50  # lines of output worth reading first after a failure


def closing(
    ended: RunEnded,
    *,
    run: str,
    steps: Iterable[Step],
    checkpoints: Sequence[CheckpointSeen],
    cost: RunCost | None = None,
    width: int,
    style: Style,
) -> str:
    """The block, in lines of at most ``width`` columns; paths and commands stay whole, to be copied."""
    good = ended.outcome == "succeeded"
    mark = style.paint(style.done, "good") if good else style.paint(style.failed, "bad")
    facts = [text.safe(run), _exit(ended), text.brief(ended.seconds)]
    lines = [f"{mark} {style.state(text.safe(ended.outcome))}"]
    used = 2 + text.cells(text.safe(ended.outcome))
    for fact in filter(None, facts):
        used += len(style.dot) + text.cells(fact)
        if used <= width:
            lines[-1] += style.dot + fact
        else:
            lines.append(f"  {fact}")
            used = 2 + text.cells(fact)
    room = width - (_NARROW_INDENT if width < _NARROW else _INDENT)
    noticed = [
        step for step in steps if step.state in ("done", "warned", "failed") and step.seconds >= _NOTICED
    ]
    behind = hidden(noticed)
    spent = [_took(step) for step in noticed if step.name not in behind]
    beside = [
        f"{_took(step)} behind {text.safe(behind[step.name])}" for step in noticed if step.name in behind
    ]
    for label, body in (
        ("because", text.wrap(text.safe(ended.reason), room)),
        ("time", _flow(spent, room)),
        ("hidden", _flow(beside, room)),
        ("cost", _cost(cost, room)),
        ("checkpoints", _checkpoints(checkpoints, room)),
        ("killed", [text.safe(f"{one.get('pid')} {one.get('command')}") for one in ended.killed]),
        ("next", _next(ended, run, kept=bool(checkpoints), away=cost is not None) if run else []),
    ):
        lines += _section(label, body, narrow=width < _NARROW, style=style)
    return "\n".join(lines)


def _took(step: Step) -> str:
    return f"{text.safe(step.title)} {text.brief(step.seconds)}"


def hidden(steps: Sequence[Step]) -> dict[str, str]:
    """Steps that took no time of their own because a longer one went on all the while: name → title of that one.

    Only steps of one side are compared: two machines have two clocks.
    """
    found = {}
    for step in steps:
        for other in steps:
            early = (step.over - step.seconds) - (other.over - other.seconds)
            late = other.over - step.over
            inside = other.seconds > step.seconds and min(early, late) > -_NOTICED
            if inside and other is not step and other.where == step.where:
                found[step.name] = other.title
                break
    return found


def _cost(cost: RunCost | None, room: int) -> list[str]:
    """The sum, and what each machine was."""
    if cost is None:
        return []
    said: dict[str, int] = {}
    for each in cost.machines:
        market = "spot" if each["spot"] else "on demand"
        words = f"{each['type']} {market} in {each['place']}, {each['price_per_hour']} an hour"
        said[words] = said.get(words, 0) + 1
    machines = [f"{times} times {words}" if times > 1 else words for words, times in said.items()]
    return _flow([text.safe(f"{cost.cost} {cost.currency}"), *map(text.safe, machines)], room)


def _exit(ended: RunEnded) -> str:
    if ended.signal:
        return f"signal {text.safe(ended.signal)}"
    return "" if ended.exit_code is None else f"exit code {ended.exit_code}"


def _section(label: str, body: Sequence[str], *, narrow: bool, style: Style) -> list[str]:
    if not body:
        return []
    if narrow:
        return [style.paint(f"  {label}", "dim"), *(" " * _NARROW_INDENT + line for line in body)]
    head, indent = style.paint(f"  {label}".ljust(_INDENT), "dim"), " " * _INDENT
    return [f"{indent if index else head}{line}" for index, line in enumerate(body)]


def _flow(items: Sequence[str], width: int) -> list[str]:
    """Items separated by commas, none torn."""
    lines: list[str] = []
    for item in items:
        if lines and text.cells(lines[-1]) + 2 + text.cells(item) < width:
            lines[-1] += f", {item}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(item)
    return lines


def _checkpoints(seen: Sequence[CheckpointSeen], width: int) -> list[str]:
    """How many, and where the newest is; newest by step where steps are known, else by when it was seen."""
    if not seen:
        return []
    places = {event.path: event for event in seen}  # one written again counts once
    stepped = [event for event in places.values() if event.step is not None]
    newest = max(stepped, key=lambda event: event.step or 0) if stepped else seen[-1]
    at = "" if newest.step is None else f" at step {newest.step}"
    said = f"{len(places):,}, the newest{at} ({text.size(newest.size)}):"
    path = text.safe(newest.path)
    return [f"{said} {path}"] if text.cells(said) + 1 + text.cells(path) <= width else [said, path]


def _next(ended: RunEnded, run: str, *, kept: bool, away: bool) -> list[str]:
    """``away``: the machine was bought and is gone; what was saved has to be fetched to be used here."""
    name = text.command([run])
    saved = f"runctl checkpoint {'pull' if away else 'list'} {name}"
    logs = f"runctl logs {name}" if ended.outcome == "succeeded" else f"runctl logs --tail {_TAIL} {name}"
    return [*([saved] if kept else []), logs, f"runctl show {name}"]
