"""What a view is, and what it wants to know of the options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from runctl.core.errors import RunctlError
    from runctl.core.events import Event


class View(Protocol):
    """A face of what happens. All methods may be called from any thread, and from a signal handler.

    ``run`` is the name of the run the events are about; ``RunPlanned`` sets it, and so does a command that
    knows it (``attach``). It is stamped on JSON and fills the commands that are suggested at the end.
    """

    run: str

    def emit(self, event: Event) -> None:
        """Show one event. Raises ``BrokenPipeError`` when nobody reads stdout any more; never for stderr."""

    def error(self, error: RunctlError, *, traceback: str | None) -> None:
        """Show why the command ends; the traceback only under ``--debug``. An error already shown is not repeated."""

    def settle(self) -> None:
        """Let what is drawn live stand for good, so that others may write to the terminal. Safe to repeat."""

    def close(self) -> None:
        """Finish what is on the screen and stop the clockwork. Safe to repeat."""


class ViewOptions(Protocol):
    """The options that decide about the face; ``cli.session.Options`` has them."""

    @property
    def json(self) -> bool:
        """One JSON object per event on stdout."""

    @property
    def alone(self) -> bool:
        """With ``json``: stdout is for one value that the command prints, not for events."""

    @property
    def quiet(self) -> bool:
        """Nothing on stderr but errors."""

    @property
    def verbose(self) -> bool:
        """Every command and intermediate result."""

    @property
    def debug(self) -> bool:
        """Tracebacks and timings, on top of ``verbose``."""

    @property
    def quiet_after_seconds(self) -> float:
        """After how long without news a step gets a "still working"."""

    @property
    def log_level(self) -> str:
        """The least level the log keeps: debug, info, warning, error."""

    @property
    def log_file(self) -> Path | None:
        """Where structured logs go as well."""

    @property
    def color(self) -> str | None:
        """``auto`` (or None), ``always`` or ``never``."""


def name_in(plan: dict[str, object]) -> str:
    """The name of the run in a plan as ``RunPlanned`` carries it; empty when it has none."""
    return str(plan.get("name") or "")
