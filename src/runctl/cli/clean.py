"""``runctl clean``: pay what may be owed. The ledger says what; the providers confirm that it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session
    from runctl.engine.ledger import Debt


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-n", "--dry-run", action="store_true", help="only list what may be owed")


def run(args: argparse.Namespace, session: Session) -> int:
    """Release the machines of every open debt; the status is 0 when nothing is owed any more, else that of the error."""
    from runctl import api  # noqa: PLC0415 - `clean --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

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


def _line(debt: Debt) -> str:
    machine = debt.machine_id or "a machine whose purchase was not confirmed"
    where = f" in {debt.region}" if debt.region else ""
    return f"{debt.run_id}  {debt.provider}: {machine} ({debt.machine_type}{where}), {debt.price_per_hour} an hour, since {debt.owed_at}"
