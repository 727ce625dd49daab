"""``runctl clean``: pay what may be owed, or tidy up the store. The ledger says what; the providers confirm that it is gone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from runctl.cli.arguments import whole
from runctl.cli.session import install_signals
from runctl.core.quantities import count, size

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session
    from runctl.engine.ledger import Debt
    from runctl.engine.store_garbage import Garbage


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-n", "--dry-run", action="store_true", help="only list it, and do nothing")
    parser.add_argument(
        "--store", action="store_true", help="instead: delete code from the store that nobody used for long"
    )
    parser.add_argument(
        "--days",
        type=whole(1),
        metavar="N",
        default=60,
        help="with --store: how long that is; 60, at least 30",
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Release the machines of every open debt; the status is 0 when nothing is owed any more, else that of the error."""
    from runctl import api  # noqa: PLC0415 - `clean --help` does without the engine

    if args.store:
        return _tidy_up(args, session)
    owed = api.debts(session.runtime)
    if session.options.json:
        session.out_json([debt._asdict() for debt in owed])
    else:
        for debt in owed:
            session.out(_line(debt))
    if not owed:
        session.say("nothing is owed: no machine was bought that has not been seen gone")
    if args.dry_run or not owed or not session.confirm(f"Release the machines of {len(owed)} runs?"):
        return 0
    with install_signals(session.cancel, say=session.say):
        for debt in owed:
            api.clean(session.runtime, debt)
            session.say(f"{debt.run_id}: gone, nothing is owed")
    return 0


def _tidy_up(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    found = api.garbage(session.runtime, days=args.days)
    if session.options.json:
        session.out_json([asdict(each) for each in found])
    else:
        for each in found:
            session.out(_says(each))
    objects = sum(len(each.trees) + len(each.packs) for each in found)
    if args.dry_run or not objects or not session.confirm(f"Delete {count(objects, 'objects')}?"):
        return 0
    with install_signals(session.cancel, say=session.say):
        for each in found:
            api.collect(session.runtime, each)
    session.say(f"deleted {count(objects, 'objects')}, {size(sum(each.bytes for each in found))}")
    return 0


def _says(found: Garbage) -> str:
    gone = f"{count(len(found.trees), 'trees')} and {count(len(found.packs), 'packs')}, {size(found.bytes)}"
    return (
        f"{found.url}: {gone} unused; {count(found.kept_objects, 'objects')}, {size(found.kept_bytes)} stay"
    )


def _line(debt: Debt) -> str:
    machine = debt.machine_id or "a machine whose purchase was not confirmed"
    where = f" in {debt.region}" if debt.region else ""
    return f"{debt.run_id}  {debt.provider}: {machine} ({debt.machine_type}{where}), {debt.price_per_hour} an hour, since {debt.owed_at}"
