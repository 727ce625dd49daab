"""``runctl aws train``: as ``runctl train --on aws``, on an instance that exists or a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli import train
from runctl.cli.aws.arguments import TARGET

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
examples:
  runctl aws train train.py --gpu A10G --spot -- --epochs 30
  runctl aws train train.py --machine i-0abc1234def567890 -- --epochs 30
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what ``runctl train`` declares."""
    train.configure(parser)
    parser.epilog = EPILOG


def run(args: argparse.Namespace, session: Session) -> int:
    """Run the script; the status is as with ``runctl train``."""
    args.target = TARGET
    return train.run(args, session)
