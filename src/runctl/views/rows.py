"""The tree of steps as lines of text: one row a step, a second one under a step that is at work. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.views import text
from runctl.views.progress import QUIET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runctl.views.progress import Step
    from runctl.views.style import Style

WIDEST = 100  # columns; a wider screen does not make a row easier to read
NARROW = 60  # columns below which a row has no room for bar and counts
PLACES = ("here", "machine")
_CLOCK = 8  # columns: "1:02:03" and a space, or "59m 59s"
_BAR = 16
_SETTLE = 0.5  # seconds before a step gets its second row, so that quick steps do not make the tree jump


def tree(
    steps: Iterable[Step],
    *,
    now: float,
    width: int,
    style: Style,
    beat: int | None,
    quiet_after: float = QUIET,
) -> list[str]:
    """The whole tree, grouped by place, no line wider than ``width``.

    Args:
        steps: in the order they began.
        now: the clock the steps were fed with.
        width: columns there are.
        style: colour and signs.
        beat: counts the frames and turns the spinner; None for the last frame, which stays on the screen.
        quiet_after: seconds without news after which a step is said to be still working.
    """
    width = min(width, WIDEST)
    lines = []
    by_place: dict[str, list[Step]] = {}
    for step in steps:
        by_place.setdefault(step.where, []).append(step)
    for place in sorted(by_place, key=lambda name: PLACES.index(name) if name in PLACES else len(PLACES)):
        lines.append(style.paint(style.clip(text.safe(place), width), "dim"))
        for step in by_place[place]:
            lines += _rows(step, now=now, width=width, style=style, beat=beat, quiet_after=quiet_after)
    return lines


def _rows(
    step: Step, *, now: float, width: int, style: Style, beat: int | None, quiet_after: float
) -> list[str]:
    if step.state != "running":
        return [_ended(step, width=width, style=style)]
    age = now - step.started
    mark, look = (style.waiting, "dim") if beat is None else (style.frames[beat % len(style.frames)], "busy")
    wide = width >= NARROW
    middle, middle_width = _gauge(step, style) if wide else ("", 0)
    row = _row(
        (mark, look),
        step.title,
        (middle, middle_width),
        text.clock(age),
        width=width,
        style=style,
        columns=wide,
    )
    if beat is None or age < _SETTLE:
        return [row]
    if step.silent(now) >= quiet_after:
        note, look = _quiet(step, now=now, width=width - 4, style=style), "warn"
    else:
        note, look = _pace(step, now=now, width=width - 4, style=style, amount=not wide), "dim"
    return [row, f"    {style.paint(note, look)}" if note else ""]


def _ended(step: Step, *, width: int, style: Style) -> str:
    mark, look = {
        "done": (style.done, "good"),
        "warned": (style.warned, "warn"),
        "skipped": (style.skipped, "dim"),
        "failed": (style.failed, "bad"),
    }[step.state]
    title, spent = text.safe(step.title), text.brief(step.seconds)
    wide = width >= NARROW
    used = max(_title_width(width), text.cells(title)) if wide else text.cells(title)
    room = width - 4 - used - 2 - max(_CLOCK, len(spent) + 1)
    summary = text.head(text.safe(step.summary), room, ellipsis=style.ellipsis) if room >= 8 else ""
    shown = style.paint(summary, look if step.state in ("failed", "warned") else "dim")
    return _row(
        (mark, look), title, (shown, text.cells(summary)), spent, width=width, style=style, columns=wide
    )


def _title_width(width: int) -> int:
    return min(28, width // 3)


def _row(
    mark: tuple[str, str],
    title: str,
    middle: tuple[str, int],
    right: str,
    *,
    width: int,
    style: Style,
    columns: bool,
) -> str:
    """``  ✓ title      middle            right``; ``middle`` comes painted, with its width in columns."""
    words, middle_width = middle
    room = width - 4 - max(_CLOCK, len(right) + 1)
    title = style.clip(text.safe(title), room - (middle_width + 2 if middle_width else 0))
    if columns:
        title = text.pad(title, min(_title_width(width), room))
    left = f"{title}  {words}" if words else title
    used = text.cells(title) + (2 + middle_width if words else 0)
    gap = " " * (width - 4 - used - len(right))
    return f"  {style.paint(*mark)} {left}{gap}{style.paint(right, 'dim')}"


def _gauge(step: Step, style: Style) -> tuple[str, int]:
    """Bar and counts of a step at work, painted, and their width."""
    if not step.unit:
        return "", 0
    said = text.amount(step.done, step.total, step.unit)
    if not step.total:
        return said, len(said)
    full, empty = style.bar(step.done, step.total, _BAR)
    return f"{style.paint(full, 'busy')}{style.paint(empty, 'dim')} {said}", _BAR + 1 + len(said)


def _quiet(step: Step, *, now: float, width: int, style: Style) -> str:
    note = f"still working, quiet for {text.duration(step.silent(now))}"
    room = width - text.cells(note) - len("; last: ")
    if step.item and room >= 8:
        note += f"; last: {style.clip(text.safe(step.item), room)}"
    return style.clip(note, width)


def _pace(step: Step, *, now: float, width: int, style: Style, amount: bool) -> str:
    """What stands under a step at work, as far as there is room: counts, estimate, rate, item."""
    left = step.remaining(now)
    speed = text.rate(step.rate(now), step.unit) if step.unit else ""
    # Padded to their usual widths, so that what follows stays where it is while the figures change.
    said = [
        text.pad(text.amount(step.done, step.total, step.unit), 14) if amount and step.unit else "",
        text.pad(speed, 9) if speed else "",
        "" if left is None else text.pad(text.remaining(left), 15),
    ]
    parts = [part for part in said if part]
    while parts and text.cells("  ".join(parts).rstrip()) > width:
        parts.remove(said[1] if said[1] in parts else parts[-1])  # how long still says more than how fast
    room = width - sum(text.cells(part) + 2 for part in parts)
    item = text.safe(step.item)
    if item and room >= min(12, text.cells(item)):
        parts.append(style.clip(item, room))
    return "  ".join(parts).rstrip()
