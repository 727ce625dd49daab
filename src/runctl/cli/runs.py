"""``runctl runs``: the list. Asks the machines only about runs that have not ended, and loads the engine only then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.cli.arguments import whole
from runctl.engine.index import Index
from runctl.project.places import state_dir

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from runctl.cli.session import Session

SHOWN = 20  # rows of the table unless --all or --limit
STATES = ("active", "pending", "preparing", "running", "ended", "lost")
OUTCOMES = ("succeeded", "failed", "preempted", "cancelled")

EPILOG = f"""\
The newest {SHOWN} runs, and every older one that has not ended. --json prints one array with all of them, newest
first, as they are recorded.

examples:
  runctl runs --state failed --all
  runctl runs --json | jq -r '.[] | select(.state == "running") | .name'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.add_argument("-a", "--all", action="store_true", help="all runs ever recorded here")
    parser.add_argument(
        "--everywhere",
        action="store_true",
        help="also runs that other computers started, by the store they share",
    )
    parser.add_argument("-n", "--limit", type=whole(1), metavar="N", help="at most so many, the newest")
    parser.add_argument(
        "--state", choices=(*STATES, *OUTCOMES), metavar="STATE", help=", ".join((*STATES, *OUTCOMES))
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the list; always 0. What machines say of runs that have not ended is recorded on the way."""
    if args.everywhere:
        from runctl import api  # noqa: PLC0415 - as below

        api.learn_runs(session.runtime)
    limit = None if args.all else args.limit
    default_limit = None if args.all or args.limit or session.options.json else SHOWN
    records, total = recorded(session, limit=limit or default_limit, state=args.state, active=not args.limit)
    if any(record["state"] != "ended" for record in records):
        from runctl import api  # noqa: PLC0415 - 30 ms that a list of ended runs must not pay

        records = api.refresh(session.runtime, records)
        records = [record for record in records if fits(record, args.state)]
    if session.options.json:
        session.out_json(records)
        return 0
    _show(records, session)
    if default_limit and total > len(records) >= default_limit:
        session.say(f"{len(records)} of {total} runs; all: runctl runs --all")
    return 0


def fits(record: dict[str, Any], state: str | None) -> bool:
    """Whether a record, as it is now, is one that ``--state`` asks for."""
    if state == "active":
        return bool(record["state"] != "ended")
    return state is None or state in (record["state"], record["outcome"])


def recorded(
    session: Session, *, limit: int | None, state: str | None, active: bool
) -> tuple[list[dict[str, Any]], int]:
    """The newest ``limit`` records and, with ``active``, the older ones that have not ended; and how many there are.

    A state folder that may not be written is read all the same; one that is not there is not made.
    """
    from runctl.core.errors import AccessError  # noqa: PLC0415 - already loaded by the dispatcher

    folder = state_dir(session.env)
    if not folder.is_dir():
        return [], 0
    try:
        with Index(folder, notice=lambda text: session.say(f"warning: {text}")) as index:
            return _read(index, limit=limit, state=state, active=active)
    except AccessError:
        with Index(folder, read_only=True) as index:
            return _read(index, limit=limit, state=state, active=active)


def _read(
    index: Index, *, limit: int | None, state: str | None, active: bool
) -> tuple[list[dict[str, Any]], int]:
    found = index.runs(limit=limit, state=state)
    if limit is None or len(found) < limit:
        return found, len(found)
    if active and state is None:
        there = {record["id"] for record in found}
        found += [record for record in index.runs(state="active") if record["id"] not in there]
    return found, index.count(state=state)


def _show(records: Sequence[dict[str, Any]], session: Session) -> None:
    if not records:
        session.say("no runs yet; start one: runctl train SCRIPT")
        return
    import time  # noqa: PLC0415 - only for the table

    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - as above
    from runctl.views.runs import listing  # noqa: PLC0415 - as above

    session.out(listing(records, now=time.time(), width=out_width(), style=out_style(session)))
