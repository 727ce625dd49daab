"""What exists and costs money now: every machine of ours at every provider, and every debt that is still open."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from runctl import registry
from runctl.api.cleaning import strike_gone
from runctl.core.errors import RunctlError
from runctl.core.events import Notice
from runctl.core.ports import Holds

if TYPE_CHECKING:
    from datetime import datetime

    from runctl.api.runtime import Runtime
    from runctl.core.model import Held, Machine
    from runctl.engine.ledger import Debt

FREE_STATES = ("stopped", "stopping", "shutting-down", "terminated")  # no machine time is billed in them


@dataclass(frozen=True)
class Resource:
    """A machine, a debt, or a machine with its debt. A debt without a machine may still become one."""

    machine: Machine | None
    debt: Debt | None

    @property
    def run_id(self) -> str:
        """The run it was leased for; empty when none is known."""
        return self.machine.run_id if self.machine is not None else (self.debt.run_id if self.debt else "")

    @property
    def price_per_hour(self) -> Decimal:
        """What it costs an hour now; of a machine that is not seen, what it would."""
        if self.machine is None:
            return Decimal(self.debt.price_per_hour) if self.debt else Decimal(0)
        return Decimal(0) if self.machine.state in FREE_STATES else self.machine.offer.price_per_hour

    def cost(self, now: datetime) -> Decimal:
        """What it has cost since it was started, as far as that is known."""
        if self.machine is None or self.machine.started_at is None:
            return Decimal(0)
        hours = Decimal(str(max(0.0, (now - self.machine.started_at).total_seconds()))) / 3600
        return (self.price_per_hour * hours).quantize(Decimal("0.0001"))

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Plain JSON values; money is text."""
        machine, debt = self.machine, self.debt
        return {
            "kind": "machine",
            "run": self.run_id,
            "provider": machine.provider if machine else (debt.provider if debt else ""),
            "machine": machine.id if machine else (debt.machine_id if debt else ""),
            "name": machine.name if machine else "",
            "state": machine.state if machine else "not seen",
            "type": machine.offer.machine_type if machine else (debt.machine_type if debt else ""),
            "place": (machine.offer.zone or machine.offer.region)
            if machine
            else (debt.region if debt else ""),
            "spot": machine.offer.spot if machine else None,
            "owner": machine.owner if machine else "",
            "price_per_hour": str(self.price_per_hour),
            "cost": str(self.cost(now)),
            "started_at": machine.started_at.isoformat() if machine and machine.started_at else None,
            "expires_at": machine.expires_at.isoformat() if machine and machine.expires_at else None,
            "debt": debt is not None,
        }


def held(rt: Runtime) -> list[Held]:
    """What is billed by its size although no machine runs: images, volumes, snapshots. Reads only.

    A provider that does not let itself be asked is left out: ``resources`` has said so.
    """
    found: list[Held] = []
    for name in registry.names("providers"):
        try:
            provider = rt.provider(name, read_only=True)
            if isinstance(provider, Holds):
                found += provider.held(rt.cancel)
        except RunctlError as error:
            rt.emit(Notice("detail", f"{name} was not asked for disks and images: {error.what}"))
    return found


def resources(rt: Runtime) -> list[Resource]:
    """Everything, dearest first. Touches no machine; a debt whose machine is seen gone is struck.

    A provider that nobody has set up here has nothing to list; one that fails while it holds a debt is an error.
    """
    debts = {debt.run_id: debt for debt in rt.ledger().debts()}
    found: list[Resource] = []
    for name in registry.names("providers"):
        owed = any(debt.provider == name for debt in debts.values())
        try:
            provider = rt.provider(name, read_only=True)
            machines = provider.machines(rt.cancel) if provider.features.costs_money else ()
        except RunctlError as error:
            if owed:
                raise
            rt.emit(Notice("info", f"{name} was not asked: {error.what}"))
            continue
        found += [Resource(machine, debts.pop(machine.run_id, None)) for machine in machines]
        if provider.features.costs_money:
            for debt in strike_gone(rt, [each for each in debts.values() if each.provider == name], machines):
                del debts[debt.run_id]
    found += [Resource(None, debt) for debt in debts.values()]
    return sorted(found, key=lambda each: (-each.price_per_hour, each.run_id))
