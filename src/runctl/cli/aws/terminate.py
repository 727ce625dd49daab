"""``runctl aws terminate``: let runs on an instance save, end it for good, and see it gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.aws.arguments import TARGET, add_machine, add_not_mine, done, save_before

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
Runs on it get SIGTERM, their grace to save, and are ended first; what they saved is in the store and can be resumed
from. The disk is deleted with the instance. Repeating it is harmless.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    add_machine(parser)
    add_not_mine(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Terminate it; 0 once it is seen to end. Raises ``aws-not-ours``, ``aws-release-unsure``, ``aws-instance-unknown``."""
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        found = machines.machine(rt, TARGET, args.machine)
        machines.check_ours(found, not_mine=args.not_mine)
        if not save_before(found, session, verb="terminate", loses="its disk is deleted"):
            return 0
        machines.terminate(rt, TARGET, found, not_mine=args.not_mine)
    return done(found, session, "terminated; nothing of it is billed any more")
