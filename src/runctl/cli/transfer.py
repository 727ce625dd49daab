"""``runctl transfer``: files between this computer, machines and buckets, whatever two of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runctl.cli import copying

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
An end is a path here, MACHINE:PATH (a run, an instance, an SSH host; relative to the home there), ssh://HOST/PATH, or an
address s3://BUCKET/PREFIX. A machine and a bucket exchange files without this computer, if the machine may use the
bucket. What is the same is not sent again; what was cut off goes on where it was; what arrives is verified.

examples:
  runctl transfer data/ gpubox:data
  runctl transfer latest:/mnt/out ./out --include '*.pt'
  runctl transfer i-0abc1234def567890:/mnt/out s3://my-bucket/out
  runctl transfer s3://my-bucket/data ssh://ada@gpubox/data --dry-run
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("source", metavar="SOURCE", help="a path, MACHINE:PATH, or an address")
    parser.add_argument("target", metavar="TARGET", help="likewise; `/` at its end makes it a folder")
    copying.add_options(parser, delete=True)


def run(args: argparse.Namespace, session: Session) -> int:
    """Copy; the status is 1 when something could not be copied.

    Raises:
        UsageError: ``objects-none``, ``objects-ends``, ``objects-pattern``, ``machine-unknown``.
        UnreachableError: a machine does not answer, or the link broke; the same command goes on.
        AccessError: ``objects-disk``, or what a store says.
    """
    from runctl import api  # noqa: PLC0415 - `transfer --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - as above

    if args.dry_run:
        session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        return copying.make(partial(api.plan_transfer, session.runtime), args, session)
