"""What a command that prints a table has to know of stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runctl.views.style import Style

if TYPE_CHECKING:
    from runctl.cli.session import Session


def out_width() -> int | None:
    """The columns of stdout; None, and nothing is cut, when it is no terminal."""
    if not sys.stdout.isatty():
        return None
    import shutil  # noqa: PLC0415 - 8 ms, only in a terminal

    return shutil.get_terminal_size((100, 24)).columns


def out_style(session: Session) -> Style:
    """Colour on stdout as ``--color`` and the environment want it, and signs it can show."""
    from runctl import views  # noqa: PLC0415 - a package that loads its faces when they are used

    choice = views.decide(
        session.options, stdin_tty=False, stdout_tty=sys.stdout.isatty(), stderr_tty=False, env=session.env
    )
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "")
    return Style(color=choice.color_out, unicode=encoding.startswith("utf"))


def is_live(session: Session) -> bool:
    """Whether what happens is drawn on a terminal, so that steps are worth being told."""
    from runctl import views  # noqa: PLC0415 - as above

    choice = views.decide(
        session.options, stdin_tty=False, stdout_tty=False, stderr_tty=sys.stderr.isatty(), env=session.env
    )
    return choice.face == "terminal"
