"""``runctl aws logs`` (and ``monitor``): the output of what runs, or ran last, on an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.aws.arguments import TARGET, add_machine

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "As `runctl logs` of the run that the instance was bought for, or that this computer started on it."
    )
    add_machine(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument("--tail", type=int, metavar="N", help="only so many lines from the end")


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the output, 0. Raises ``run-not-found`` when the instance has no run."""
    from runctl import api  # noqa: PLC0415 - `--help` does without the engine
    from runctl.api import machines  # noqa: PLC0415
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        found = machines.machine(rt, TARGET, args.machine)
        follow = bool(args.follow or args.verb == "monitor")
        api.logs(rt, machines.last_run(rt, found), on_output=session.view.emit, follow=follow, tail=args.tail)
    return 0
