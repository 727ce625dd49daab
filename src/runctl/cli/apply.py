"""``runctl apply``: do exactly what a saved plan says, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
Plans again and compares: the code, the dependencies, the command, the machine and its price have to be what the file
says (a lower price is welcome). Nothing is asked: the plan was the question.

example:
  runctl apply plan.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from runctl.cli.train import add_detach  # noqa: PLC0415

    parser.epilog = EPILOG
    parser.add_argument("plan", metavar="FILE", help="what `runctl plan -o FILE` wrote")
    add_detach(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Apply the plan and follow the run. Raises ``plan-unreadable``, ``plan-drifted``, and what ``train`` raises."""
    from runctl import api  # noqa: PLC0415 - `apply --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415
    from runctl.cli.train import apply  # noqa: PLC0415

    kept = (session.cwd / Path(args.plan).expanduser()).resolve()
    saved = api.load_plan(kept)
    script = saved.script
    session.use_project(script.parent, flags=saved.settings)
    with install_signals(session.cancel, say=session.say):
        fresh = api.make_plan(
            session.runtime,
            str(script),
            args=saved.args,
            cwd=script.parent,
            resume=saved.resume,
            dry=False,
            without=kept,
        )
        return apply(saved.hold(fresh), session, detach=args.detach)
