"""``runctl aws list``: the instances that runctl made, with state, cost and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.aws.arguments import TARGET, machine_json

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
All that carry runctl's tag, whoever made them, in every region of the settings, dearest first. --quiet prints their
ids alone, one a line.

examples:
  runctl aws list
  runctl aws list --json | jq -r '.[] | select(.state == "stopped") | .machine'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare no options; explain."""
    parser.epilog = EPILOG


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the list, 0."""
    del args
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.api.resources import Resource  # noqa: PLC0415
    from runctl.cli.resources import show  # noqa: PLC0415
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    with install_signals(session.cancel, say=session.say):
        found = machines.machines(session.runtime, TARGET)
    if session.options.json:
        now = session.runtime.clock.now()
        session.out_json(
            [machine_json(each) | {"cost": str(Resource(each, None).cost(now))} for each in found]
        )
        return 0
    return show([Resource(each, None) for each in found], session, nothing="no instance carries runctl's tag")
