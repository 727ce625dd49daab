"""``runctl resume``: go on with a run on another machine, or follow it where it still goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.arguments import add_run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from runctl.cli.session import Session
    from runctl.core.model import Run

EPILOG = """\
For a run whose machine is gone or that failed: the same code and command on another machine, from the newest complete
checkpoint in the store. A run that still goes on is followed, and nothing is bought. Any computer that shares
the store can do it.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from runctl.cli.train import add_detach  # noqa: PLC0415

    parser.epilog = EPILOG
    add_run(parser)
    add_detach(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Resume and follow; the status is as with ``train``.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``, ``run-has-no-store``, ``run-not-begun``.
        RunctlError: the run's own outcome, as ``train`` raises it.
    """
    from runctl import api  # noqa: PLC0415 - `resume --help` does without the engine
    from runctl.cli import train  # noqa: PLC0415
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    with install_signals(session.cancel, say=session.say):
        found = api.get_run(session.runtime, args.run)
        session.view.run = found.name
        if found.outcome == "succeeded":
            session.say(f"{found.name} has succeeded; there is nothing to go on with")
            return 0
        if found.state != "ended":
            session.say(f"{found.name} goes on; following it")
            return train.follow_started(
                session,
                lambda on_start: _follow(session, found, on_start),
                detach=args.detach,
            )
        price = f"about {found.price_per_hour} an hour"
        if not session.confirm(f"Buy another machine for {found.name} at {price}?"):
            return 0
        return train.follow_started(
            session,
            lambda on_start: api.resume(
                session.runtime,
                found,
                detach=args.detach,
                on_start=on_start,
                allow=train.fallback(session),
            ),
            detach=args.detach,
        )


def _follow(session: Session, found: Run, on_start: Callable[[Run], None]) -> Run:
    from runctl import api  # noqa: PLC0415 - as above

    on_start(found)
    return api.follow(session.runtime, found)
