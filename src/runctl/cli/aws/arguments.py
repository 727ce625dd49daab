"""What the verbs about instances share: how one is named, what is said before something is lost, and rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session
    from runctl.core.model import Machine

TARGET = "aws"


def add_machine(parser: argparse.ArgumentParser) -> None:
    """The argument MACHINE."""
    parser.add_argument("machine", metavar="MACHINE", help="an instance's id (i-0abc…), or id@region")


def add_not_mine(parser: argparse.ArgumentParser) -> None:
    """The option --not-mine."""
    parser.add_argument(
        "--not-mine",
        action="store_true",
        help="also an instance that runctl did not make: it has no tag of ours",
    )


def save_before(found: Machine, session: Session, *, verb: str, loses: str) -> bool:
    """Ask, with what would be lost; let runs on the machine save and end. False: the answer was no.

    Args:
        found: the machine.
        session: where to ask.
        verb: what is going to be done, as in ``terminate``.
        loses: what that loses, runs aside.
    """
    from runctl.api import machines  # noqa: PLC0415

    running = machines.runs_on(session.runtime, found.id)
    price = (
        f", {found.offer.price_per_hour} {found.offer.currency} an hour" if found.offer.price_per_hour else ""
    )
    session.say(f"{found.id}  {found.offer.machine_type}, {found.state}{price}")
    for run in running:
        session.say(f"  {run.name} is {run.state}: it is told to save, has its grace, and is ended")
    session.say(f"  {loses}")
    if not session.confirm(f"{verb.capitalize()} {found.id}?"):
        return False
    machines.save_runs(session.runtime, running)
    return True


def done(found: Machine, session: Session, words: str) -> int:
    """Say that it is done: the id alone with --quiet, the machine as JSON."""
    if session.options.json:
        session.out_json(machine_json(found))
    elif session.options.quiet:
        session.out(found.id)
    else:
        session.out(f"{found.id}  {words}")
    return 0


def machine_json(found: Machine) -> dict[str, object]:
    """A machine as plain JSON values; money is text."""
    offer = found.offer
    return {
        "machine": found.id,
        "state": found.state,
        "type": offer.machine_type,
        "region": offer.region,
        "zone": offer.zone,
        "spot": offer.spot,
        "price_per_hour": str(offer.price_per_hour),
        "currency": offer.currency,
        "run": found.run_id,
        "attempt": found.attempt,
        "name": found.name,
        "project": found.project,
        "owner": found.owner,
        "started_at": None if found.started_at is None else found.started_at.isoformat(),
        "expires_at": None if found.expires_at is None else found.expires_at.isoformat(),
        "address": found.endpoint.address,
        "notes": dict(found.notes),
    }
