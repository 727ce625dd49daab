"""``runctl aws wait``: until an instance runs, can be reached, or has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.arguments import seconds
from runctl.cli.aws.arguments import TARGET, add_machine, done

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

WANTED = ("running", "reached", "ended")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "`reached`: a command can be run on it through Systems Manager, which is what a run needs."
    )
    add_machine(parser)
    parser.add_argument("--for", dest="wanted", choices=WANTED, default="reached", help="what to wait for")
    parser.add_argument(
        "--timeout", type=seconds, default=600.0, metavar="S", help="seconds, 600 unless given"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Wait; 0 once it is so. Raises ``machine-not-yet``, ``instance-gone``, ``aws-instance-unknown``."""
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    with install_signals(session.cancel, say=session.say):
        found = machines.wait(session.runtime, TARGET, args.machine, args.wanted, seconds=args.timeout)
    return done(found, session, args.wanted)
