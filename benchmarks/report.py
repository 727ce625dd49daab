"""The one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.measure import Row

HEAD = ("", "median", "floor", "ratio", "target", "", "")
MARKS = {True: "ok", False: "MISSED", None: ""}


def table(groups: Mapping[str, Iterable[Row]]) -> str:
    """All groups as one table with aligned columns. Pure."""
    lines: list[tuple[str, ...]] = [HEAD]
    for group, rows in groups.items():
        lines += [("",), (group,), *map(_cells, rows)]
    rows_only = [line for line in lines if len(line) == len(HEAD)]
    widths = [max(len(line[column]) for line in rows_only) for column in range(len(HEAD))]
    shown = []
    for line in lines:
        if len(line) == 1:
            shown.append(line[0])
            continue
        cells = [
            f"{cell:>{width}}" if 1 <= column <= 3 else f"{cell:{width}}"
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)


def _cells(row: Row) -> tuple[str, ...]:
    floor, ratio = "", ""
    if row.floor:
        floor = amount(row.floor, row.unit)
        ratio = f"{row.value / row.floor:.2f}×"
    target = row.limit.text(row.unit) if row.limit else ""
    return (f"  {row.name}", amount(row.value, row.unit), floor, ratio, target, MARKS[row.met], row.note)


def amount(value: float, unit: str) -> str:
    """A figure with its unit; seconds below one as milliseconds."""
    if unit == "s":
        return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.0f} {unit}"
