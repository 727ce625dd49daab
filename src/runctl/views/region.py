"""The live part of the screen: its last lines, drawn over in place. Returns what to write; writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.views import text

if TYPE_CHECKING:
    from collections.abc import Sequence

# Frames between these appear at once on terminals that know them (mode 2026), and the others ignore them. Within a
# frame, lines are cut at the edge instead of folded (mode 7): a multiplexer tells of a new width up to a quarter of a
# second after the fact, and a frame drawn meanwhile must take the rows it is counted to take.
_BEGIN, _END = "\x1b[?2026h\x1b[?7l", "\x1b[?7h\x1b[?2026l"


class Region:
    """Remembers what stands on the screen, so that the next frame can go over it.

    The cursor rests at the start of the line below. Nothing about the terminal is changed (no hidden cursor, no raw
    mode), so a killed process leaves it as it was. Lines are overwritten, not erased first, so nothing flickers.
    """

    def __init__(self) -> None:
        self._widths: list[int] = []
        self._columns = 0

    def paint(self, lines: Sequence[str], *, plain: Sequence[str], columns: int) -> str:
        """The sequence that replaces what stands there by ``lines``.

        Args:
            lines: what to show, each narrower than the screen, colour included.
            plain: the same without colour, to be measured.
            columns: of the screen now. A screen made narrower has folded the old lines; they are counted folded.
        """
        up = self._height(columns)
        # A resize leaves marks on folded lines, by which the next one joins them; erasing whole lines takes those away.
        wipe = "\x1b[2K" if columns != self._columns else ""
        self._columns = columns
        body = "".join(f"{wipe}{line}\x1b[K\r\n" for line in lines)
        self._widths = [text.cells(line) for line in plain]
        return f"{_BEGIN}{_up(up)}\r{body}\x1b[J{_END}"

    def clear(self, *, columns: int) -> str:
        """The sequence that takes everything away, leaving the cursor where the first line stood."""
        up = self._height(columns)
        self._widths = []
        return f"{_up(up)}\r\x1b[J" if up else ""

    def forget(self) -> None:
        """Let what stands there stay for good."""
        self._widths = []

    def _height(self, columns: int) -> int:
        return sum(max(1, -(-width // max(1, columns))) for width in self._widths)


def _up(lines: int) -> str:
    return f"\x1b[{lines}A" if lines else ""
