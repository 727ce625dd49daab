"""Faces of what happens: terminal, plain lines, JSON lines, logs; all fed by events.

Importing this package is cheap: a face is imported when it is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runctl.views.base import View, ViewOptions


class Choice(NamedTuple):
    """Which face (``terminal``, ``plain``, ``json``, ``quiet``), and whether stderr and stdout may have colour."""

    face: str
    color: bool  # on stderr
    color_out: bool  # on stdout, for the tables that commands print


def decide(
    options: ViewOptions, *, stdin_tty: bool, stdout_tty: bool, stderr_tty: bool, env: Mapping[str, str]
) -> Choice:
    """Choose the face. Pure.

    ``--json`` and ``--quiet`` decide by themselves. Otherwise the live tree needs stderr to be a terminal that can
    move its cursor, and a person before it (``CI`` unset). Colour: ``--color``, then ``NO_COLOR``, then
    ``FORCE_COLOR`` (both count when not empty: no-color.org, force-color.org), then whether it is a terminal.
    """
    del stdin_tty  # prompts depend on it, faces do not
    smart = env.get("TERM", "") != "dumb"
    watched = env.get("CI", "").lower() in ("", "0", "false")
    if options.json or options.quiet:
        face = "json" if options.json else "quiet"
    else:
        face = "terminal" if stderr_tty and smart and watched else "plain"
    wish = options.color
    if wish in (None, "auto"):
        wish = "never" if env.get("NO_COLOR") else "always" if env.get("FORCE_COLOR") else "auto"
    auto = wish == "auto" and smart
    return Choice(
        face,
        color=wish == "always" or (auto and stderr_tty),
        color_out=wish == "always" or (auto and stdout_tty),
    )


def choose(
    options: ViewOptions,
    *,
    stdin_tty: bool,
    stdout_tty: bool,
    stderr_tty: bool,
    env: Mapping[str, str],
    cancelled: Callable[[], bool] = lambda: False,
) -> View:
    """Build the face ``decide`` chose, on this process's stdout and stderr, and a log file beside it if asked.

    Once ``cancelled`` says so, a reader that stands still holds nobody any more. Raises ``log-unwritable`` when the log file cannot be opened.
    """
    from runctl.views.assemble import assemble  # noqa: PLC0415 - the faces cost more than this decision

    choice = decide(options, stdin_tty=stdin_tty, stdout_tty=stdout_tty, stderr_tty=stderr_tty, env=env)
    return assemble(choice, options, cancelled=cancelled)
