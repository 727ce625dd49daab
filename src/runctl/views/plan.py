"""A plan as people read it: what is reused, sent, created, run, paid, left out and worth a look. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from runctl.views import text
from runctl.views.style import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = 8  # lines of a long list that are shown without --verbose
_WIDEST = 44  # columns of the first part; longer ones have their detail on the next line
_SECTIONS = (
    ("=", "Uses what is there", ""),
    ("-", "Leaves out", "dim"),
    (">", "Sends", "busy"),
    ("+", "Creates", "good"),
    ("%", "Runs", ""),
    ("$", "Costs", ""),
    ("@", "Asks the provider for", ""),
    ("!", "Mind", "warn"),
)
CHANGES = (  # of a plan that changes an account
    ("=", "Is as it should be, or stays", ""),
    ("+", "Creates", "good"),
    ("~", "Changes", "warn"),
    ("x", "Removes", "bad"),
    ("!", "Mind", "warn"),
)


class Line(Protocol):
    """One line of a plan: what happens, and what there is to know about it."""

    @property
    def symbol(self) -> str:
        """``+`` create, ``>`` send, ``=`` reuse, ``%`` command, ``$`` price, ``-`` left out, ``!`` warning, ``@`` calls."""

    @property
    def what(self) -> str:
        """What happens; an item of the line before it starts with two spaces."""

    @property
    def detail(self) -> str:
        """What there is to know about it; may be empty."""


def render(
    name: str,
    lines: Sequence[Line],
    *,
    width: int = 80,
    verbose: bool = False,
    style: Style | None = None,
    sections: Sequence[tuple[str, str, str]] = _SECTIONS,
) -> str:
    """The plan of the run called ``name`` in sections, without a line break at the end.

    Paths and commands are never cut, so that they can be copied. Lists of files sent and left out stop after ``FEW``
    and say how many more there are, unless ``verbose``.
    """
    style = style or Style(color=False)
    out = [f"Plan for {style.paint(text.safe(name), 'bold')}"]
    for symbol, heading, look in sections:
        section = [line for line in lines if line.symbol == symbol]
        if section:
            out += ["", heading, *_section(section, width=width, verbose=verbose, style=style, look=look)]
    return "\n".join(out)


def _section(lines: Sequence[Line], *, width: int, verbose: bool, style: Style, look: str) -> list[str]:
    symbol = lines[0].symbol
    shown, hidden = list(lines), 0
    if not verbose and symbol == "@":
        shown = shown[:1]  # a number says enough to most; who grants rights wants them all
    elif not verbose and symbol in ">-":
        keep = FEW + sum(not line.what.startswith("  ") for line in lines if symbol == ">")
        shown, hidden = list(lines[:keep]), max(0, len(lines) - keep)
    widths = [text.cells(text.safe(line.what)) for line in shown]
    column = max((each for each in widths if each <= _WIDEST), default=0)
    out: list[str] = []
    for line in shown:
        out += _line(line, column=column, width=width, style=style, look=look)
    if hidden:
        indent = "  " if symbol == ">" else ""
        out.append(style.paint(f"    {indent}and {hidden:,} more; --verbose lists all", "dim"))
    return out


def _line(line: Line, *, column: int, width: int, style: Style, look: str) -> list[str]:
    what, detail = text.safe(line.what), text.safe(line.detail)
    head = f"  {style.paint(line.symbol, look)} "
    if not detail:
        return [f"{head}{what}"]
    beside = 4 + column + 2
    if line.symbol == "%" or text.cells(what) > column or width - beside < 24:
        return [
            f"{head}{what}",
            *(style.paint(f"      {part}", "dim") for part in text.wrap(detail, width - 6)),
        ]
    first, *rest = text.wrap(detail, width - beside)
    return [
        f"{head}{text.pad(what, column)}  {style.paint(first, 'dim')}",
        *(style.paint(" " * beside + part, "dim") for part in rest),
    ]
