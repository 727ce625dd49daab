"""``runctl verify``: prove what a run ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.arguments import add_run

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
The machine hashes the run's code anew and says which environment it used; both are compared with what was decided here. Where
the machine is gone, the receipt is that it gave when it started the script, and the request in the run's store. The exit status
is 1 when something contradicts the record.

examples:
  runctl verify latest
  runctl verify brave-otter-7k2m --json
"""
_MARKS = {True: "=", False: "!", None: "?"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.epilog = EPILOG
    add_run(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the proofs; 0, or 1 when one of them fails. Raises ``run-not-found`` or ``run-ambiguous``."""
    from runctl import api  # noqa: PLC0415 - `verify --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    with install_signals(session.cancel, say=session.say):
        found = api.verify(session.runtime, args.run)
    if session.options.json:
        session.out_json(found.to_json())
    elif not session.options.quiet:
        session.out(f"{found.run.name}, by its {found.by}")
        for proof in found.proofs:
            session.out(f"  {_MARKS[proof.holds]} {proof.what:12} {proof.detail}")
    return 0 if found.holds else 1
