"""Hold a machine for a while: debt before purchase, undo by tag, and a result that a failed release never replaces."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl.core.catalogue import known
from runctl.core.errors import AccessError, CapacityError, ReleaseOwed, UsageError
from runctl.core.events import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.core.cancel import CancelToken
    from runctl.core.events import Emit
    from runctl.core.model import Machine, Offer
    from runctl.core.ports import Provider
    from runctl.engine.ledger import Ledger

# The provider's own word that nothing was bought. Anything else (a timeout, a broken link) leaves the debt standing.
REFUSED = (CapacityError, AccessError, UsageError)


@dataclass
class Lease:
    """A machine held. ``keep`` leaves it to itself when the block ends: the debt stands, ``runctl clean`` pays it."""

    machine: Machine
    kept: bool = False

    def keep(self) -> None:
        """Do not release at the end of the block. Safe to repeat."""
        self.kept = True


@contextmanager
def lease(
    provider: Provider, offer: Offer, run_id: str, *, ledger: Ledger, emit: Emit, cancel: CancelToken
) -> Iterator[Lease]:
    """A machine, released when the block ends, however it ends, unless it was told to ``keep`` it.

    Raises:
        CapacityError, AccessError, UsageError: the provider refused; nothing is owed.
        ReleaseOwed: the block ended well but the machine could not be confirmed gone; the debt stands in the ledger.
        Cancelled: before or during the purchase; whatever it became is released by tag, or stays a debt.
    """
    if not provider.features.costs_money:
        yield Lease(provider.acquire(offer, run_id, cancel))
        return
    ledger.owe(run_id, offer)
    held: Lease | None = None
    try:
        held = Lease(provider.acquire(offer, run_id, cancel))
        ledger.bought(run_id, held.machine.id)
        yield held
    except BaseException as error:
        if held is None and isinstance(error, REFUSED):
            ledger.strike(run_id, "refused")
        elif held is None or not held.kept:
            settle(provider, run_id, ledger=ledger, emit=emit, fate_known=held is not None, failing=True)
        raise
    if held.kept:
        price = f"{offer.price_per_hour} {offer.currency}"
        emit(
            Notice("warning", f"{held.machine.id} stays and costs {price} an hour; end it with: runctl clean")
        )
        return
    settle(provider, run_id, ledger=ledger, emit=emit, fate_known=True, failing=False)


def settle(
    provider: Provider, run_id: str, *, ledger: Ledger, emit: Emit, fate_known: bool, failing: bool
) -> None:
    """Release everything that carries the tag of ``run_id``, and only that; strike the debt when it is surely gone.

    Args:
        fate_known: the purchase returned. Without that, an empty listing proves nothing and the debt stands.
        failing: an error is already on its way; what is still owed is then a notice, not another error.
    """
    owed = ""
    try:
        mine = [machine for machine in provider.machines() if machine.run_id == run_id]
        for machine in mine:
            provider.release(machine.id)
        left = [machine.id for machine in provider.machines() if machine.run_id == run_id]
        if left:
            owed = f"{', '.join(left)} still exists"
        elif not fate_known and not mine:
            owed = "the purchase was interrupted and may still arrive"
    except ReleaseOwed as error:
        owed = error.what
    except Exception as error:  # noqa: BLE001 - whatever it is, the debt stands and is said
        owed = f"{type(error).__name__}: {error}"
    if not owed:
        ledger.strike(run_id, "gone")
        return
    debt = known("release-owed", run=run_id, provider=provider.name, detail=owed)
    if not failing:
        raise debt
    emit(Notice("warning", f"{debt.what}: {owed}; pay it with: runctl clean"))
