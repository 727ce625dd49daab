"""``runctl exec``: a command on a machine, its streams and its exit status as if it ran here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from runctl.cli.arguments import MACHINE_HELP
from runctl.core.stdout import to_stdout

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from runctl.cli.session import Session

READ = 1 << 16
EPILOG = """\
The exit status is the command's own, 128 + N when signal N ended it. No shell looks at the command: for pipes and
wildcards say `sh -c '...'`. What stands on stdin here, unless it is a terminal, is the command's input. Ctrl+C ends the
command there, with all it started. On an instance it runs as root in root's home.

examples:
  runctl exec i-0abc1234def567890 -- nvidia-smi
  runctl exec latest -- sh -c 'tail -f /var/log/syslog | grep -i nvrm'
  runctl exec local -- df -h
  tar c data | runctl exec brave-otter-7k2m -- tar x -C /mnt
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("machine", metavar="MACHINE", help=MACHINE_HELP)
    parser.add_argument("--no-input", action="store_true", help="do not read stdin")


def run(args: argparse.Namespace, session: Session) -> int:
    """Run it; its status.

    Raises:
        UsageError: ``usage`` without a command; ``machine-unknown``.
        UnreachableError: the machine cannot be reached, or the connection was cut: the command was ended then.
    """
    from runctl import api  # noqa: PLC0415 - `exec --help` does without the engine
    from runctl.cli.corrections import usage  # noqa: PLC0415 - as above
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - as above

    if not args.script_args:
        raise usage("exec needs a command after --", fix=(f"  runctl exec {args.machine} -- hostname",))
    kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    quiet = session.options.json
    with install_signals(session.cancel, say=lambda _text: None):
        name, done = api.execute(
            session.runtime,
            args.machine,
            args.script_args,
            stdin=() if args.no_input or sys.stdin is None or sys.stdin.isatty() else piped(),
            on_output=kept["stdout"].extend if quiet else to_out,
            on_errors=kept["stderr"].extend if quiet else _err,
        )
    if quiet:
        streams: dict[str, Any] = {}
        for stream, data in kept.items():
            streams |= _told(stream, bytes(data))
        session.out_json({"machine": name, "exit_code": done.exit_code, **streams})
    return done.exit_code if done.exit_code >= 0 else 128 - done.exit_code


def _told(name: str, data: bytes) -> dict[str, str]:
    """A stream as text, or as base64 where it is none."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415 - only for bytes

        return {f"{name}_base64": base64.b64encode(data).decode()}


def piped() -> Iterator[bytes]:
    """What stands on stdin."""
    while data := os.read(0, READ):
        yield data


def to_out(data: bytes) -> None:
    """Write to stdout, at once. Raises ``BrokenPipeError``, ``StdoutFailed``."""
    with to_stdout():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _err(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()
