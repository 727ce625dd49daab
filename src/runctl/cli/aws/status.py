"""``runctl aws status``: all that is known of one instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.cli.aws.arguments import TARGET, add_machine, machine_json

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    add_machine(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the page, 0. Raises ``aws-instance-unknown``."""
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.api.resources import FREE_STATES, Resource  # noqa: PLC0415
    from runctl.cli.signals import install_signals  # noqa: PLC0415
    from runctl.views.runs import local_time  # noqa: PLC0415

    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        found = machines.machine(rt, TARGET, args.machine)
        running = machines.runs_on(rt, found.id)
    cost = Resource(found, None).cost(rt.clock.now())
    if session.options.json:
        runs = [each.to_json() for each in running]
        session.out_json(machine_json(found) | {"cost": str(cost), "runs": runs})
        return 0
    offer = found.offer
    market = "spot" if offer.spot else "on demand"
    price = f"{offer.price_per_hour} {offer.currency} an hour" if offer.price_per_hour else ""
    over = found.state in ("shutting-down", "terminated")
    if price:  # what one cost that does not run any more is not known of the instance, only of its run
        price += " while it runs" if found.state in FREE_STATES else f", {cost} so far"
    rows = [
        ("machine", f"{found.id}  {found.name}".rstrip()),
        ("state", found.state + (f": {found.notes['reason']}" if found.notes.get("reason") else "")),
        ("type", f"{offer.machine_type}, {market}, {offer.zone or offer.region}"),
        ("price", price or "not bought by runctl"),
        ("started", "" if found.started_at is None else local_time(found.started_at.isoformat())),
        ("ends", "" if found.expires_at is None or over else local_time(found.expires_at.isoformat())),
        ("owner", found.owner),
        *(("run", f"{each.name}, {each.state}, {each.script}") for each in running),
    ]
    for label, value in rows:
        if value:
            session.out(f"{label:<9}{value}")
    return 0
