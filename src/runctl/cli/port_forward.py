"""``runctl port-forward``: a port of a machine, or of what it can reach, on this computer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from runctl.cli.arguments import MACHINE_HELP
from runctl.core.errors import Cancelled
from runctl.core.stdout import to_stdout

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
Connections to the local port are made again by the machine, so `localhost` is the machine itself, and what only it can
reach is reached. It goes on until Ctrl+C; any number of connections at once.

examples:
  runctl port-forward latest 6006
  runctl port-forward i-0abc1234def567890 8888:6006
  runctl port-forward latest 5432:database.internal:5432
"""


class Wanted(NamedTuple):
    """A forwarding; local port 0 is any free one."""

    local: int
    host: str
    port: int


def wanted(text: str) -> Wanted:
    """An argparse type: ``PORT``, ``LOCAL:PORT``, ``HOST:PORT`` or ``LOCAL:HOST:PORT``."""
    from argparse import ArgumentTypeError  # noqa: PLC0415 - loaded already when this runs

    parts = text.rsplit(":", 2)
    numbers = [_port(part) for part in parts]
    if numbers[-1]:
        port = numbers[-1]
        if len(parts) == 1:
            return Wanted(port, "localhost", port)
        if len(parts) == 2 and numbers[0] is not None:
            return Wanted(numbers[0], "localhost", port)
        if len(parts) == 2:
            return Wanted(port, parts[0], port)
        if numbers[0] is not None and parts[1]:
            return Wanted(numbers[0], parts[1], port)
    raise ArgumentTypeError(f"{text!r} is no [LOCAL:][HOST:]PORT")


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) < 65536 else None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("machine", metavar="MACHINE", help=MACHINE_HELP)
    parser.add_argument(
        "port", metavar="[LOCAL:][HOST:]PORT", type=wanted, help="a LOCAL port of 0 is any that is free"
    )
    parser.add_argument(
        "--stdio", action="store_true", help="one connection, on stdin and stdout (for ssh's ProxyCommand)"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Forward until Ctrl+C, which is its normal end; with ``--stdio`` until the other end hangs up.

    Raises:
        UsageError: ``port-taken``, ``machine-unknown``, ``transport-cannot``.
        AccessError: ``needs-session``.
        UnreachableError: the machine cannot be reached; ``connection-refused-there`` with ``--stdio``.
    """
    from runctl import api  # noqa: PLC0415 - `port-forward --help` does without the engine
    from runctl.cli.exec import piped, to_out  # noqa: PLC0415 - as above
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - as above

    where: Wanted = args.port
    with install_signals(session.cancel, say=lambda _text: None):
        if args.stdio:
            api.connect(
                session.runtime, args.machine, where.host, where.port, stdin=piped(), on_output=to_out
            )
            return 0

        def ready(name: str, local: int) -> None:
            if session.options.json:
                session.out_json(
                    {"machine": name, "local_port": local, "host": where.host, "port": where.port}
                )
            else:
                session.out(f"127.0.0.1:{local} is {where.host}:{where.port} on {name}; Ctrl+C ends it")
            with to_stdout():
                sys.stdout.flush()  # whoever reads a pipe wants to connect now

        try:
            api.forward(session.runtime, args.machine, where.local, where.host, where.port, on_ready=ready)
        except Cancelled:
            return 0
    return 0
