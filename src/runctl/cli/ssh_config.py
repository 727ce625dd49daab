"""``runctl ssh-config``: what ssh needs to reach a machine by runctl's name for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.arguments import MACHINE_HELP

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
The block goes into ~/.ssh/config. ssh, scp, rsync and editors then reach the machine through `runctl port-forward`; it
has to run sshd, and to know your key. Images of Amazon Linux call their user ec2-user, those of Ubuntu ubuntu. Of an SSH
host it is what your own configuration says of it, under the name that runctl knows it by.

examples:
  runctl ssh-config latest --user ubuntu >> ~/.ssh/config
  ssh i-0abc1234def567890
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("machine", metavar="MACHINE", help=MACHINE_HELP)
    parser.add_argument("--user", default="", metavar="NAME", help="whom to log in as (ec2-user)")
    parser.add_argument("--port", default="", metavar="N", help="where its sshd listens (22)")


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the block. Raises ``machine-unknown``, ``transport-cannot``."""
    from runctl import api  # noqa: PLC0415 - `ssh-config --help` does without the engine

    name, lines = api.ssh_settings(session.runtime, args.machine, user=args.user, port=args.port)
    if session.options.json:
        session.out_json({"host": name, **lines})
        return 0
    session.out("\n".join([f"Host {name}", *(f"    {key} {value}" for key, value in lines.items())]))
    return 0
