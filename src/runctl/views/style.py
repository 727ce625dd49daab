"""Colour, used sparingly, and the few signs; both have a plain form."""

from __future__ import annotations

from runctl.views import text

# SGR parameters. Only the eight basic colours, which every theme has chosen to be readable.
_CODES = {"good": "32", "bad": "31", "warn": "33", "busy": "36", "dim": "2", "bold": "1"}

# What a word says about a run or a step, wherever it is shown.
STATES = {
    "succeeded": "good",
    "ok": "good",
    "failed": "bad",
    "lost": "bad",
    "running": "busy",
    "preparing": "busy",
    "cancelled": "warn",
    "preempted": "warn",
}


class Style:
    """How text may look here.

    Args:
        color: whether escape sequences for colour may be written.
        unicode: whether the stream can show more than ASCII.
    """

    def __init__(self, *, color: bool = False, unicode: bool = True) -> None:
        self.color = color
        self.unicode = unicode
        self.done, self.failed, self.skipped, self.waiting = "✓✗○…" if unicode else "+x-:"
        self.warned = "!"
        self.frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if unicode else "|/-\\"
        self.ellipsis = text.ELLIPSIS if unicode else "..."
        self.dot = " · " if unicode else ", "
        self._full, self._empty = "━─" if unicode else "#-"

    def paint(self, words: str, look: str) -> str:
        """``words`` in the look called ``good``, ``bad``, ``warn``, ``busy``, ``dim``, ``bold``; ``""`` is none."""
        if not (self.color and look and words):
            return words
        return f"\x1b[{_CODES[look]}m{words}\x1b[0m"

    def state(self, word: str) -> str:
        """A state or an outcome, in its colour."""
        return self.paint(word, STATES.get(word.strip(), ""))

    def clip(self, words: str, width: int) -> str:
        """``text.clip`` with an ellipsis this stream can show."""
        return text.clip(words, width, ellipsis=self.ellipsis)

    def bar(self, done: int, total: int, width: int) -> tuple[str, str]:
        """The full and the empty part of a bar of ``width`` columns; full only when everything is done."""
        full = width if done >= total else min(width - 1, max(0, width * done // max(1, total)))
        return self._full * full, self._empty * (width - full)
