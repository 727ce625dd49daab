"""``runctl plan``: decide, show, and keep the decision for ``runctl apply``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runctl.cli.train import add_what_to_run, settings_given, show_plan

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
Shows what `runctl train` would do and does none of it, as `train --dry-run` does. With --output-plan the plan is also
kept in a file; `runctl apply FILE` then does exactly that, or nothing when code, dependencies or price have changed.

examples:
  runctl plan train.py --on aws --gpu A10G --spot -o plan.json -- --epochs 30
  runctl apply plan.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    add_what_to_run(parser)
    parser.add_argument("-o", "--output-plan", metavar="FILE", help="keep the plan in FILE")


def run(args: argparse.Namespace, session: Session) -> int:
    """Show the plan, 0; write it where that is asked for."""
    from runctl import api  # noqa: PLC0415 - `plan --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    cwd = session.cwd
    given = settings_given(args)
    session.use_project((cwd / Path(args.script).expanduser()).parent, flags=given)
    session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        kept = (cwd / Path(args.output_plan).expanduser()).resolve() if args.output_plan else None
        plan = api.make_plan(
            session.runtime, args.script, args=args.script_args, cwd=cwd, resume=args.resume, without=kept
        )
        if kept is not None:
            asked = {"resume": args.resume, "settings": {k: v for k, v in given.items() if v is not None}}
            api.save_plan(kept, plan, asked)
        status = show_plan(plan, session)
        if kept is not None:
            session.say(f"the plan is in {args.output_plan}; do it with:\n  runctl apply {args.output_plan}")
        return status
