"""``runctl stats``: how often runs succeed and how long their steps take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runctl.cli.arguments import SINCE_HELP, since
from runctl.engine.index import Index
from runctl.project.places import state_dir

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from runctl.cli.session import Session

EPILOG = """\
The success rate leaves out runs that were cancelled. Percentiles of a step leave out the times it was skipped
(a cached environment, an unchanged tree). Nothing leaves this machine: the figures come from its own records.

examples:
  runctl stats --since 7d
  runctl stats --openmetrics > /var/lib/node_exporter/textfile/runctl.prom
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.add_argument("--since", type=since, metavar="TIME", help=f"only runs created since {SINCE_HELP}")
    parser.add_argument("--project", metavar="DIR", help="only runs of the project with this root")
    parser.add_argument("--openmetrics", action="store_true", help="print the OpenMetrics text format")


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the figures, 0. Reads the records only; no machine is asked."""
    from runctl.engine import stats  # noqa: PLC0415 - `stats --help` does without

    figures = stats.summary(*_rows(args, session))
    if args.openmetrics:
        session.out(stats.openmetrics(figures).removesuffix("\n"))
    elif session.options.json:
        session.out_json(figures)
    elif not figures["runs"]:
        session.say("no runs recorded" + (" in that time" if args.since else ""))
    else:
        from runctl.cli.output import out_style  # noqa: PLC0415 - not for --json
        from runctl.views.figures import render  # noqa: PLC0415

        session.out(render(figures, style=out_style(session)))
    return 0


def _rows(args: argparse.Namespace, session: Session) -> tuple[list[Mapping[str, Any]], list[Any]]:
    from runctl.views.text import timestamp  # noqa: PLC0415

    folder = state_dir(session.env)
    if not folder.is_dir():
        return [], []
    moment = None if args.since is None else timestamp(args.since(time.time()))
    project = None if args.project is None else str((session.cwd / args.project).resolve())
    with Index(folder, notice=lambda text: session.say(f"warning: {text}")) as index:
        runs = index.runs(project=project, since=moment)
        return list(runs), index.steps(project=project, since=moment)
