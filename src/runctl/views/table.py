"""Aligned columns for listings; fast, and plain when piped. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runctl.views import text
from runctl.views.style import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "  "
_LEAST = 8  # columns a column keeps when it has to give room


class Column(NamedTuple):
    """A column: its title, whether it is right-aligned (numbers), may be cut, or holds states to be coloured.

    ``spare``: left out of a terminal that is too narrow for all; a wider one, a pipe and ``--json`` have it.
    """

    title: str
    right: bool = False
    flexible: bool = False
    state: bool = False
    spare: bool = False


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    style: Style | None = None,
) -> str:
    """The listing, one line a row below a header, without a line break at the end.

    Args:
        columns: what each cell of a row is.
        rows: as many cells as there are columns; control characters in them are replaced.
        width: columns of the terminal: the widest flexible column is cut in the middle until the lines fit.
            None, for a pipe: nothing is cut.
        style: colour and signs; none when left out.
    """
    style = style or Style(color=False)
    cells = [[column.title for column in columns], *([text.safe(cell) for cell in row] for row in rows)]
    widths = [max(map(text.cells, each)) for each in zip(*cells, strict=True)]
    if width is not None and _shrink(columns, widths, width) > 0 and any(each.spare for each in columns):
        kept = [index for index, each in enumerate(columns) if not each.spare]
        fewer = [[row[index] for index in kept] for row in rows]
        return table([columns[index] for index in kept], fewer, width=width, style=style)
    header, *body = (
        GAP.join(
            _cell(cell, column, at, style if index else None)
            for cell, column, at in zip(row, columns, widths, strict=True)
        ).rstrip()
        for index, row in enumerate(cells if width is None else _cut(cells, widths, style))
    )
    return "\n".join([style.paint(header, "bold"), *body])


def _shrink(columns: Sequence[Column], widths: list[int], width: int) -> int:
    """Take from the widest flexible column until a line fits, or none has anything to give; what is still too much."""
    flexible = [index for index, column in enumerate(columns) if column.flexible]
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while over > 0 and flexible:
        widest = max(flexible, key=lambda index: widths[index])
        if widths[widest] <= max(_LEAST, text.cells(columns[widest].title)):
            break
        widths[widest] -= 1
        over -= 1
    return over


def _cut(cells: list[list[str]], widths: list[int], style: Style) -> list[list[str]]:
    return [[style.clip(cell, at) for cell, at in zip(row, widths, strict=True)] for row in cells]


def _cell(cell: str, column: Column, width: int, style: Style | None) -> str:
    gap = " " * (width - text.cells(cell))
    shown = style.state(cell) if style and column.state else cell
    return gap + shown if column.right else shown + gap
