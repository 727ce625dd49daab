"""``runctl doctor``: is everything there that a run needs? Looked at side by side, each with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session
    from runctl.core.checks import Check

EPILOG = """\
The status is 0 when nothing failed, else that of the first failure. --json prints every check with its state (ok,
warn, fail, skipped), what was found, the facts, and the lines that mend it. What the settings ask of a machine (gpu,
instance_type, spot ...) is what its quota and its permissions are looked at for.

examples:
  runctl doctor
  runctl doctor --on aws
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.add_argument("--on", metavar="TARGET", help="look at this target too, other than the setting's")


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the checks; 0 when none failed, else the status of the first failure."""
    from runctl import api  # noqa: PLC0415 - `doctor --help` does without the engine
    from runctl.cli.output import is_live  # noqa: PLC0415
    from runctl.cli.signals import install_signals  # noqa: PLC0415
    from runctl.core.checks import first_error  # noqa: PLC0415

    target = args.on or session.config.text("target")
    live = is_live(session)
    with install_signals(session.cancel, say=session.say):
        checks = api.check(session.runtime, target, emit=session.view.emit if live else None)
    if live:
        session.view.settle()
    failure = first_error(checks)
    if session.options.json:
        session.out_json(
            {"target": target, "ok": failure is None, "checks": [check.to_json() for check in checks]}
        )
    else:
        session.out(_shown(checks, session, watched=live))
    return 0 if failure is None else failure.exit_code


def _shown(checks: tuple[Check, ...], session: Session, *, watched: bool) -> str:
    """All of it; only what stands badly where the same terminal has just shown the rest."""
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - not for --json
    from runctl.views.checks import findings, report  # noqa: PLC0415

    width = out_width()
    face = findings if watched and width is not None else report
    return face(checks, width=width, style=out_style(session))
