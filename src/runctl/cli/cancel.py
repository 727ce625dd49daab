"""``runctl cancel``: end a run and every process it started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.cli.arguments import add_run, seconds
from runctl.core.errors import Cancelled

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session
    from runctl.core.model import Run

EPILOG = """\
The script gets SIGTERM, has the grace to save and leave, and is then killed with all its descendants, also those
that left its process group. The command waits for the end unless --no-wait. Repeating it with a smaller grace
shortens what is left of it.

examples:
  runctl cancel latest
  runctl cancel brave-otter-7k2m --grace 0
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    add_run(parser)
    parser.add_argument(
        "--grace", type=seconds, metavar="S", help="seconds between TERM and KILL (setting: grace_seconds)"
    )
    parser.add_argument("--no-wait", action="store_true", help="return once the machine has the request")


def run(args: argparse.Namespace, session: Session) -> int:
    """End the run; 0 once it has ended (or, with ``--no-wait``, once it is being ended). Safe to repeat.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``, ``run-unknown``.
        AgentError: ``cancel-slow``.
    """
    from runctl import api  # noqa: PLC0415 - `cancel --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    with install_signals(session.cancel, say=session.say):
        found = api.get_run(session.runtime, args.run)
        if found.state == "ended":
            return _tell(found, [], session, f"{found.name} had already ended: {found.outcome}")
        session.say(f"ending {found.name} …")
        try:
            ended, status = api.cancel(session.runtime, found, grace=args.grace, wait=not args.no_wait)
        except Cancelled:
            session.say(
                f"{found.name} may still be ending; look, or shorten its grace:\n"
                f"  runctl show {found.name}\n  runctl cancel {found.name} --grace 0"
            )
            raise
    killed = status["killed"]
    if ended.state != "ended":
        return _tell(ended, killed, session, f"{ended.name} is being ended; see: runctl show {ended.name}")
    if ended.outcome != "cancelled":
        return _tell(ended, killed, session, f"{ended.name} had ended by itself: {ended.outcome}")
    return _tell(ended, killed, session, f"{ended.name} was cancelled")


def _tell(found: Run, killed: list[dict[str, Any]], session: Session, text: str) -> int:
    if session.options.json:
        session.out_json({**found.to_json(), "killed": killed})
        return 0
    session.say(text)
    if killed:
        from runctl.views.text import safe  # noqa: PLC0415 - only when something had to be ended

        session.say("processes that were ended with it:")
        for process in killed:
            session.say(f"  {process['pid']:>7}  {safe(process['command'])}")
    return 0
