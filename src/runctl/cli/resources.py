"""``runctl resources``: everything that exists and may cost money, at every provider."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from runctl.views.text import safe

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from runctl.api.resources import Resource
    from runctl.cli.session import Session
    from runctl.core.model import Held

EPILOG = """\
Asks each provider for the machines that carry runctl's tag, whoever started them, and adds what this computer's ledger
says may still be owed. Images, volumes and snapshots of yours follow: they are billed by the month, whether a machine
runs or not. What stands here and belongs to no run that goes on is given back by `runctl clean`. Uploads of this
computer that were cut off are told, too: a bucket bills their parts.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare no options; explain."""
    parser.epilog = EPILOG


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the list, 0. With --quiet the ids of machines alone."""
    del args
    from runctl import api  # noqa: PLC0415 - `resources --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    with install_signals(session.cancel, say=session.say):
        found = api.resources(session.runtime)
        lying = api.held(session.runtime)
    for each in api.unfinished_uploads(session.runtime):
        session.say(f"an upload was cut off: {safe(each.address)}; its parts are billed")
        session.say(f"  go on with the same command, or: runctl s3 cleanup {safe(shlex.quote(each.address))}")
    if session.options.json:
        now = session.runtime.clock.now()
        session.out_json([*(each.to_json(now) for each in found), *(each.to_json() for each in lying)])
        return 0
    if found or not lying or session.options.quiet:
        show(found, session, nothing="nothing exists and nothing is owed")
    if lying and not session.options.quiet:
        session.out(_held_table(lying, session))
        month = sum(each.price_per_month or 0 for each in lying)
        more = (
            "; images and snapshots, by what they hold, come on top"
            if any(each.price_per_month is None for each in lying)
            else ""
        )
        session.say(f"{month} USD a month for volumes{more}")
    return 0


def show(found: list[Resource], session: Session, *, nothing: str) -> int:
    """The table and the sum; ids alone with --quiet; ``nothing`` is said of an empty list."""
    if session.options.quiet:
        for each in found:
            if each.machine is not None:
                session.out(each.machine.id)
        return 0
    if not found:
        session.say(nothing)
        return 0
    session.out(_table(found, session, session.runtime.clock.now()))
    total = sum(each.price_per_hour for each in found)
    session.say(f"{total} USD an hour in all" if total else "nothing of it costs machine time now")
    return 0


def _held_table(lying: list[Held], session: Session) -> str:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415
    from runctl.views.table import Column, table  # noqa: PLC0415

    columns = (
        Column("ID"),
        Column("KIND"),
        Column("STATE", state=True),
        Column("GB", right=True),
        Column("$/MONTH", right=True),
        Column("PLACE", spare=True),
        Column("ON", spare=True),
        Column("NAME", flexible=True),
    )
    rows = [
        (
            each.id,
            each.kind,
            each.state,
            str(each.gb),
            "" if each.price_per_month is None else str(each.price_per_month),
            each.place,
            each.machine,
            each.name,
        )
        for each in lying
    ]
    return table(columns, rows, width=out_width(), style=out_style(session))


def _table(found: list[Resource], session: Session, now: datetime) -> str:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415
    from runctl.views.table import Column, table  # noqa: PLC0415

    columns = (
        Column("MACHINE"),
        Column("STATE", state=True),
        Column("TYPE"),
        Column("PLACE", spare=True),
        Column("MARKET"),
        Column("$/H", right=True),
        Column("COST", right=True),
        Column("NAME", flexible=True),
    )
    rows = []
    for each in found:
        row = each.to_json(now)
        market = {None: "", True: "spot", False: "on demand"}[row["spot"]]
        rows.append(
            (
                row["machine"] or "(not seen)",
                row["state"],
                row["type"],
                row["place"],
                market,
                row["price_per_hour"],
                row["cost"],
                (row["name"] or row["run"]) + (", owed" if row["debt"] else ""),
            )
        )
    return table(columns, rows, width=out_width(), style=out_style(session))
