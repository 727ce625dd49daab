"""What a run has cost so far: price times time of every machine that was leased for it. Pure.

An entry of ``Run.machines`` is plain JSON::

    {"attempt": 1, "machine": "i-0abc", "type": "g5.xlarge", "place": "us-west-2a", "spot": true,
     "price_per_hour": "0.41", "currency": "USD", "least_seconds": 60,
     "from": "2026-11-25T10:00:00.000Z", "to": null}

``to`` is null while it is leased. Disks and traffic are not in it: they are small beside a machine, and said apart.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from runctl.core.events import RunCost
from runctl.core.model import RunState
from runctl.engine.records import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runctl.core.model import Machine, Run

HOUR = Decimal(3600)
CENT = Decimal("0.0001")  # bills are to the cent; short runs cost less than one


def leased(run: Run, machine: Machine, *, now: datetime, least_seconds: int) -> Run:
    """The run with ``machine`` among those leased for it, from ``now`` on. The same machine is entered once."""
    if any(each["machine"] == machine.id and each["to"] is None for each in run.machines):
        return run
    offer = machine.offer
    entry = {
        "attempt": run.attempt,
        "machine": machine.id,
        "type": offer.machine_type,
        "place": offer.zone or offer.region,
        "spot": offer.spot,
        "price_per_hour": str(offer.price_per_hour),
        "currency": offer.currency,
        "least_seconds": least_seconds,
        "from": timestamp(now),
        "to": None,
    }
    return replace(run, machines=(*run.machines, entry))


def returned(run: Run, *, now: datetime) -> Run:
    """The run with what is still leased given back ``now``, and so the last, which ``settled`` knew less well."""
    last = len(run.machines) - 1
    given = tuple(
        each if each["to"] and index != last else {**each, "to": timestamp(now)}
        for index, each in enumerate(run.machines)
    )
    return replace(run, machines=given)


def settled(run: Run) -> Run:
    """The run; once it has ended, nothing is leased for it: whatever nobody saw given back went when it ended.

    One that never said when it ended was never begun, and cost the least that is billed.
    """
    if run.state is not RunState.ENDED:
        return run
    given = tuple(
        each if each["to"] else {**each, "to": run.ended_at or each["from"]} for each in run.machines
    )
    return replace(run, machines=given)


def told(run: Run, *, now: datetime) -> RunCost:
    """What the run has cost, as an event."""
    currency = str(run.machines[-1]["currency"]) if run.machines else "USD"
    return RunCost(str(cost(run.machines, now=now)), currency, tuple(dict(each) for each in run.machines))


def cost(machines: Iterable[Mapping[str, Any]], *, now: datetime) -> Decimal:
    """Dollars, or whatever the currency is, to a hundredth of a cent; a machine still leased counts until ``now``."""
    total = Decimal(0)
    for each in machines:
        end = datetime.fromisoformat(each["to"]) if each["to"] else now
        seconds = (end - datetime.fromisoformat(each["from"])).total_seconds()
        billed = max(seconds, float(each["least_seconds"]), 0.0)
        total += Decimal(each["price_per_hour"]) * Decimal(str(billed)) / HOUR
    return total.quantize(CENT)
