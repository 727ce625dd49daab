"""``runctl aws``: what one does with an AWS account and its instances, one file per verb."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

# verb -> (module, summary); a module has `configure(parser)` and `run(args, session)`
VERBS: dict[str, tuple[str, str]] = {
    "create": ("runctl.cli.aws.create", "buy an instance that stays until it is ended"),
    "train": ("runctl.cli.aws.train", "run a script on a new or an existing instance"),
    "list": ("runctl.cli.aws.list", "list instances with state, cost and run"),
    "status": ("runctl.cli.aws.status", "show one instance"),
    "wait": ("runctl.cli.aws.wait", "wait until an instance runs, can be reached, or has ended"),
    "logs": ("runctl.cli.aws.logs", "print the output of an instance's run"),
    "monitor": ("runctl.cli.aws.logs", "follow the output of an instance's run"),
    "processes": ("runctl.cli.aws.processes", "show what an instance is busy with"),
    "exec": ("runctl.cli.exec", "run a command on an instance"),
    "shell": ("runctl.cli.shell", "open a shell on an instance"),
    "port-forward": ("runctl.cli.port_forward", "bring a port of an instance to this computer"),
    "ssh-config": ("runctl.cli.ssh_config", "print what ssh needs to reach an instance"),
    "start": ("runctl.cli.aws.start", "start a stopped instance"),
    "stop": ("runctl.cli.aws.stop", "let its runs save, and stop an instance"),
    "terminate": ("runctl.cli.aws.terminate", "let its runs save, and end an instance for good"),
    "ami": ("runctl.cli.aws.ami", "bake images that have an environment in them, and manage them"),
    "ebs": ("runctl.cli.aws.ebs", "volumes that outlive machines: make, mount, copy and delete them"),
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
