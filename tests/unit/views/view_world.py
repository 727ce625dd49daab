"""What the tests of views share: a clock in the hand, and streams that keep what was written, in order."""

from __future__ import annotations

import re

from runctl.views.streams import Streams


class Hand:
    """Monotonic seconds that move only when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class Screen:
    """Both streams of a view; ``all`` is what a terminal showing both has received."""

    def __init__(self, *, shared: bool = True, encoding: str = "utf-8") -> None:
        self.clock = Hand()
        self.out, self.err, self.all = bytearray(), bytearray(), bytearray()
        self.streams = Streams(self._out, self._err, shared=shared, encoding=encoding, clock=self.clock)

    def _out(self, data: bytes) -> None:
        self.out += data
        self.all += data

    def _err(self, data: bytes) -> None:
        self.err += data
        self.all += data

    @property
    def said(self) -> str:
        return self.err.decode()


def display(data: bytes, columns: int) -> list[str]:
    """What a terminal of that width shows after ``data``, without a limit of rows; fails on a sequence it does not know.

    It knows what the views may use: line breaks, cursor up, erasing, colours, and the modes of a frame.
    """
    rows, row, column, wraps = [""], 0, 0, True
    for sequence, character in re.findall(r"\x1b\[([?\d;]*[A-Za-z])|(.)", data.decode(), re.DOTALL):
        if character == "\n":
            row, column = row + 1, 0  # as a terminal line driver makes of it
            rows += [""] * (row - len(rows) + 1)
        elif character == "\r":
            column = 0
        elif character:
            assert character.isprintable(), repr(character)
            if column >= columns:
                assert wraps, "a frame wider than the screen"
                row, column = row + 1, 0
                rows += [""] * (row - len(rows) + 1)
            rows[row] = rows[row].ljust(column)[:column] + character + rows[row][column + 1 :]
            column += 1
        elif sequence.endswith("A"):
            row -= int(sequence[:-1])
            assert row >= 0
        elif sequence == "K":
            rows[row] = rows[row][:column]
        elif sequence == "2K":
            rows[row] = ""
        elif sequence == "J":
            rows[row] = rows[row][:column]
            del rows[row + 1 :]
        elif sequence in ("?7l", "?7h"):
            wraps = sequence == "?7h"
        else:
            assert sequence.endswith("m") or sequence in ("?2026h", "?2026l"), sequence
    return [line.rstrip() for line in rows]
