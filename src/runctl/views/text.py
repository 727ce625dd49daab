"""Values as short text: sizes, durations, counts, and text from elsewhere made safe to show. Pure functions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runctl.core.quantities import amount, count, size

__all__ = ["amount", "count", "size"]  # as they are: one place to take words from

if TYPE_CHECKING:
    from collections.abc import Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_ZERO_WIDTH_JOINER = "\N{ZERO WIDTH JOINER}"  # joins emoji; harmless, and replacing it would tear them


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601, UTC, milliseconds: the ``ts`` of every event."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def seconds(timestamp: str) -> float | None:
    """The inverse of ``timestamp``, for any ISO 8601 time with a zone; None for what is none."""
    from datetime import datetime  # noqa: PLC0415 - only for events that carry a time

    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return None


def rate(per_second: float, unit: str) -> str:
    """``12.3 MB/s``, ``40 files/s``; empty when nothing whole passes in a second."""
    if per_second < 1:
        return ""
    return f"{size(per_second)}/s" if unit == "bytes" else f"{per_second:,.0f} {unit}/s"


def duration(seconds: float) -> str:
    """Whole seconds in words: ``59s``, ``1m 30s``, ``25h 1m 1s``. Never negative, never in days."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m {rest}s"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


def brief(seconds: float) -> str:
    """A duration where fractions matter: ``0.04s``, ``1.2s``, ``59.9s``, then as ``duration``."""
    seconds = max(0.0, seconds)
    if seconds < 0.995:
        return f"{seconds:.2f}s"
    return f"{seconds:.1f}s" if seconds < 59.95 else duration(round(seconds))


def clock(seconds: float) -> str:
    """A running clock: ``0:07``, ``12:00``, ``1:02:03``."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def remaining(seconds: float) -> str:
    """An estimate, as coarse as it deserves: ``about 12 s left``, ``about 45 s left``, ``about 3 min left``."""
    if seconds < 20:
        return f"about {max(1, round(seconds))} s left"
    if seconds < 57.5:
        return f"about {5 * round(seconds / 5)} s left"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min left"
    hours, tens = divmod(round(minutes / 10), 6)
    return f"about {hours} h {tens * 10} min left" if tens else f"about {hours} h left"


def cells(text: str) -> int:
    """How many terminal columns ``text`` takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(character: str) -> int:
    if character.isascii():
        return 1
    import unicodedata  # noqa: PLC0415 - only for text that is not ASCII

    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1


def clip(text: str, width: int, *, ellipsis: str = ELLIPSIS) -> str:
    """``text`` in at most ``width`` columns, cut in the middle: both ends of a path say something."""
    if cells(text) <= width:
        return text
    room = width - cells(ellipsis)
    if room < 2:
        return _prefix(text, max(0, width))
    tail = _prefix(text[::-1], room // 2)[::-1]
    return _prefix(text, room - cells(tail)) + ellipsis + tail


def head(text: str, width: int, *, ellipsis: str = ELLIPSIS) -> str:
    """``text`` in at most ``width`` columns, cut at the end: for sentences, whose beginning says most."""
    return (
        text
        if cells(text) <= width
        else _prefix(text, max(0, width - cells(ellipsis))).rstrip(" ,;") + ellipsis
    )


def _prefix(text: str, width: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _cell(character)
        if used > width:
            return text[:index]
    return text


def pad(text: str, width: int) -> str:
    """``text`` followed by spaces up to ``width`` columns."""
    return text + " " * (width - cells(text))


def safe(text: str) -> str:
    """One line that cannot move the cursor, colour the screen or reorder text: for names and messages from elsewhere.

    Line breaks, tabs and unusual spaces become a space; control characters, direction marks and bytes that are not
    text become a replacement character. Safe to repeat.
    """
    if text.isprintable():
        return text
    return "".join(map(_safe, text))


def _safe(character: str) -> str:
    if character.isprintable() or character == _ZERO_WIDTH_JOINER:
        return character
    return " " if character.isspace() and character not in "\x1c\x1d\x1e\x1f\x85" else REPLACEMENT


def command(argv: Sequence[str]) -> str:
    """The words as one line to paste into a shell."""
    import shlex  # noqa: PLC0415 - only where a command is shown

    return safe(shlex.join(argv))


def wrap(text: str, width: int) -> list[str]:
    """Words in lines of at most ``width`` columns; a word longer than that stays whole, so it can be copied."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines
