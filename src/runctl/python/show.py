"""How a call shows what happens: in a notebook's cell, as the command line would, or not at all."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl import views
from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runctl.python.place import Place
    from runctl.views.base import View


class Look(NamedTuple):
    """What ``views.base.ViewOptions`` asks for; colour and log come from the settings."""

    color: str | None
    quiet_after_seconds: float
    log_level: str
    log_file: Path | None
    json: bool = False
    alone: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False


def in_notebook() -> bool:
    """Whether this program is a Jupyter kernel. IPython is looked at where it is loaded already, and never loaded."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class Showing(NamedTuple):
    """A face, and what draws it anew while nothing happens: the clocks of its steps go on."""

    view: View
    beat: Callable[[], None]


def showing(place: Place, *, cancelled: Callable[[], bool]) -> Showing:
    """The face for this program. Outside the main thread it is plain lines: two trees cannot be drawn over each other.

    Raises ``log-unwritable`` when the log file of the settings cannot be opened.
    """
    look = Look(**place.config.talk())
    if in_notebook():
        return _notebook(look)
    alone = threading.current_thread() is threading.main_thread()
    face = views.choose(
        look,
        stdin_tty=_is_terminal(sys.stdin),
        stdout_tty=_is_terminal(sys.stdout),
        stderr_tty=alone and _is_terminal(sys.stderr),
        env=place.env,
        cancelled=cancelled,
    )
    return Showing(face, lambda: None)  # it has a clock of its own


def _notebook(look: Look) -> Showing:
    from IPython.display import display  # noqa: PLC0415 - only where it is loaded already

    from runctl.views.assemble import beside_log, text_writer  # noqa: PLC0415 - as above
    from runctl.views.notebook import Notebook  # noqa: PLC0415 - as above

    handles: list[Any] = []

    def show(bundle: dict[str, str]) -> None:
        if handles:
            handles[0].update(bundle, raw=True)
        else:
            handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            handles.append(handle)

    face = Notebook(show, text_writer(sys.stdout), quiet_after=look.quiet_after_seconds)
    return Showing(beside_log(face, look), face.beat)


def agreed(question: str) -> bool:
    """Ask whoever sits before the notebook or the terminal.

    Raises:
        UsageError: ``confirmation-needed`` when nobody does.
    """
    if not in_notebook() and not _is_terminal(sys.stdin):
        raise known("confirmation-needed", question=question)
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, NotImplementedError) as error:  # a notebook that is executed has nobody before it
        raise known("confirmation-needed", question=question) from error


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream is not None and stream.isatty())
    except ValueError:  # closed
        return False
