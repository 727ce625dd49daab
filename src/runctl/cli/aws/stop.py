"""``runctl aws stop``: let runs on an instance save, and stop it; its disk stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.aws.arguments import TARGET, add_machine, add_not_mine, done, save_before

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
Runs on it get SIGTERM, their grace to save, and are ended first; what they saved is in the store. The disk stays, and
is billed; `runctl aws start` brings the instance back. A one-time spot instance cannot be stopped, only terminated.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    add_machine(parser)
    add_not_mine(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Stop it; 0 once it has. Raises ``aws-not-ours``, ``aws-spot-cannot-stop``, ``aws-instance-unknown``."""
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        found = machines.machine(rt, TARGET, args.machine)
        machines.check_ours(found, not_mine=args.not_mine)
        if not save_before(
            found, session, verb="stop", loses="its memory is lost, its disk stays and is billed"
        ):
            return 0
        machines.stop(rt, TARGET, found.endpoint.address, not_mine=args.not_mine)
        found = machines.machine(rt, TARGET, found.endpoint.address)
    return done(found, session, "stopped; its disk is still billed")
