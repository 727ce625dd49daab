"""``runctl attach``: follow a run again, as ``train`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.arguments import add_run
from runctl.core.errors import Cancelled

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
The status is the run's, as with `train`: 0 when it succeeded, 1 when its script failed, and so on. Ctrl+C detaches:
the run goes on and the status is 130, because how the run ends is not known yet.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    add_run(parser)
    parser.add_argument(
        "--new", action="store_true", help="only output from now on, not what is there already"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Follow the run to its end: 0 when it succeeded, 130 after Ctrl+C, else raises what says how it ended.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``.
        RunctlError: the run's own outcome, as ``train`` raises it.
    """
    from runctl import api  # noqa: PLC0415 - `attach --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415
    from runctl.cli.train import detached  # noqa: PLC0415

    with install_signals(session.cancel, say=session.say):
        found = api.get_run(session.runtime, args.run)
        session.view.run = found.name
        try:
            ended = api.attach(session.runtime, found, from_start=not args.new)
        except Cancelled:
            return detached(found, session)
        except OSError:  # nobody reads stdout any more, or it cannot be written
            detached(found, session)
            raise
    api.raise_for_outcome(session.runtime, ended)
    return 0
