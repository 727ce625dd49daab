"""``runctl logs``: a run's output, byte for byte."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runctl.cli.arguments import SINCE_HELP, add_run, since, whole
from runctl.core.errors import Cancelled
from runctl.core.stdout import to_stdout

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session
    from runctl.core.events import Output

EPILOG = """\
Status 0 also when -f is ended with Ctrl+C: the run goes on, and how it ends is what `runctl attach` reports.

examples:
  runctl logs latest --tail 50
  runctl logs -f --since 10m brave-otter-7k2m
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    add_run(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument(
        "--since", type=since, metavar="TIME", help=f"only what was written since {SINCE_HELP}"
    )
    parser.add_argument("--tail", type=whole(0), metavar="N", help="only the last N lines of what is there")


def run(args: argparse.Namespace, session: Session) -> int:
    """Write the output to stdout, bytes untouched; with ``--json`` as ``output`` events.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``, ``run-unknown`` (its machine has it no more).
        BrokenPipeError: nobody reads stdout any more.
        StdoutFailed: it cannot be written.
    """
    from runctl import api  # noqa: PLC0415 - `logs --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415
    from runctl.views.assemble import stdout_writer  # noqa: PLC0415

    runtime = session.runtime
    out = stdout_writer(lambda: session.cancel.cancelled)

    def write(chunk: Output) -> None:
        with to_stdout():
            out(chunk.data)

    with install_signals(session.cancel, say=lambda _text: None):
        found = api.get_run(runtime, args.run)
        session.view.run = found.name
        try:
            api.logs(
                runtime,
                found,
                on_output=session.view.emit if session.options.json else write,
                follow=args.follow,
                since=None if args.since is None else args.since(time.time()),
                tail=args.tail,
            )
        except Cancelled:
            if not args.follow:
                raise
    return 0
