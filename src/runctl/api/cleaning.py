"""Pay what may be owed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from runctl.engine.lease import settle

if TYPE_CHECKING:
    from runctl.api.runtime import Runtime
    from runctl.engine.ledger import Debt


def debts(rt: Runtime) -> tuple[Debt, ...]:
    """The leases not yet proven ended, oldest first. Reads only."""
    return rt.ledger().debts()


def clean(rt: Runtime, debt: Debt) -> None:
    """Release everything that carries the debt's run as its tag, and strike the debt when it is surely gone.

    Safe to repeat. Raises ``ReleaseOwed`` when it could not be confirmed: the debt stands.
    """
    rt.cancel.check()
    provider = rt.provider(debt.provider)
    age = (rt.clock.now() - datetime.fromisoformat(debt.owed_at)).total_seconds()
    settle(
        provider,
        debt.run_id,
        ledger=rt.ledger(),
        emit=rt.emit,
        cancel=rt.cancel,
        fate_known=bool(debt.machine_id) or age > provider.features.purchase_open_seconds,
        failing=False,
    )
