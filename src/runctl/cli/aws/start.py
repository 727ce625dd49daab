"""``runctl aws start``: start a stopped instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.aws.arguments import TARGET, add_machine, add_not_mine, done

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "Its disk is as it was; runs that were on it have ended. It costs its price again from now on."
    )
    add_machine(parser)
    add_not_mine(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Start it; 0 once it runs. Raises ``aws-not-ours``, ``aws-no-capacity``, ``aws-instance-unknown``."""
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        found = machines.machine(rt, TARGET, args.machine)
        price = f"{found.offer.price_per_hour} {found.offer.currency}"
        if found.offer.price_per_hour and not session.confirm(f"Start {found.id} for {price} an hour?"):
            return 0
        found = machines.start(rt, TARGET, found.endpoint.address, not_mine=args.not_mine)
    return done(found, session, "running")
