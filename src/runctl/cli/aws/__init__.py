"""``runctl aws``: what one does with an AWS account and its instances, one file per verb."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

# verb -> (module, summary); a module has `configure(parser)` and `run(args, session)`
VERBS: dict[str, tuple[str, str]] = {
    "setup": ("runctl.cli.aws.setup", "prepare the account: a bucket, and a role for machines"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl aws``."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        importlib.import_module(module).configure(verb)


def run(args: argparse.Namespace, session: Session) -> int:
    """Do what the verb says."""
    return int(importlib.import_module(VERBS[args.verb][0]).run(args, session))
