"""Hold a machine for a while: debt before purchase, undo by tag, and a result that a failed release never replaces."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl.core.cancel import limited
from runctl.core.catalogue import known
from runctl.core.errors import AccessError, CapacityError, NotBought, ReleaseOwed, RunctlError, UsageError
from runctl.core.events import Notice
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.model import Machine, Offer, Purchase
    from runctl.core.ports import Provider
    from runctl.engine.ledger import Ledger

# The provider's own word that nothing was bought. Anything else (a timeout, a broken link) leaves the debt standing.
REFUSED = (CapacityError, AccessError, UsageError, NotBought)
ARRIVES_SECONDS, LOOK_SECONDS = (
    5.0,
    0.5,
)  # what a purchase that was cut off gets to show up, and between two looks
CLEAN_UP_SECONDS = (
    10.0  # for giving a machine back when something went wrong; a second Ctrl+C ends it at once
)
CONFIRM_SECONDS = 180.0  # for seeing it gone after a run that ended well


@dataclass
class Lease:
    """A machine held. ``keep`` leaves it to itself when the block ends: the debt stands, ``runctl clean`` pays it."""

    machine: Machine
    kept: bool = False
    told: bool = False

    def keep(self, *, told: bool = False) -> None:
        """Do not release at the end of the block. Safe to repeat. ``told``: the caller says what becomes of it."""
        self.kept, self.told = True, told


def _anything(_offer: Offer, _instead_of: Offer) -> bool:
    return True


@contextmanager
def lease(
    provider: Provider,
    offers: Sequence[Offer],
    purchase: Purchase,
    *,
    ledger: Ledger,
    emit: Emit,
    clock: Clock,
    cancel: CancelToken,
    allow: Callable[[Offer, Offer], bool] = _anything,
) -> Iterator[Lease]:
    """A machine, released when the block ends, however it ends, unless it was told to ``keep`` it.

    Args:
        offers: tried in this order; one that has no capacity gives way to the next.
        allow: whether the first offer may be taken instead of the second, which is not to be had; asked where the
            market changes from spot to on demand.

    Raises:
        CapacityError, AccessError, UsageError: the provider refused; nothing is owed.
        ReleaseOwed: the block ended well but the machine could not be confirmed gone; the debt stands in the ledger.
        Cancelled: before or during the purchase; whatever it became is released by tag, or stays a debt.
    """
    if not provider.features.costs_money or offers[0].machine:
        yield Lease(provider.acquire(offers[0], purchase, cancel))
        return
    run_id = purchase.run_id
    owed_before = any(debt.run_id == run_id for debt in ledger.debts())
    held: Lease | None = None
    try:
        with step("acquire", "get a machine", emit=emit, clock=clock) as doing:
            machine = _buy(provider, offers, purchase, ledger=ledger, emit=emit, cancel=cancel, allow=allow)
            doing.summary = f"{machine.id}: {offer_words(machine.offer)}"
        held = Lease(machine)
        yield held
    except BaseException as error:
        if held is None and isinstance(error, REFUSED) and not owed_before:
            ledger.strike(run_id, "refused")
        elif held is None or not held.kept:
            with limited(cancel, CLEAN_UP_SECONDS) as soon:
                if held is None:
                    _await_purchase(provider, run_id, clock=clock, cancel=soon)
                settle(
                    provider,
                    run_id,
                    ledger=ledger,
                    emit=emit,
                    cancel=soon,
                    fate_known=held is not None,
                    failing=True,
                )
        raise
    if held.kept:
        if not held.told:
            offer = held.machine.offer
            price = f"{offer.price_per_hour} {offer.currency}"
            emit(
                Notice(
                    "warning", f"{held.machine.id} stays and costs {price} an hour; end it with: runctl clean"
                )
            )
        return
    with limited(cancel, CONFIRM_SECONDS) as soon:
        settle(provider, run_id, ledger=ledger, emit=emit, cancel=soon, fate_known=True, failing=False)


def _buy(
    provider: Provider,
    offers: Sequence[Offer],
    purchase: Purchase,
    *,
    ledger: Ledger,
    emit: Emit,
    cancel: CancelToken,
    allow: Callable[[Offer, Offer], bool],
) -> Machine:
    """Walk the offers until one is to be had. The debt is written before each try."""
    refused: list[CapacityError] = []
    for position, offer in enumerate(offers):
        if position and offers[position - 1].spot and not offer.spot and not allow(offer, offers[0]):
            break
        if position:
            emit(Notice("warning", f"{refused[-1].what}; trying {offer_words(offer)}"))
        ledger.owe(purchase.run_id, offer)
        try:
            machine = provider.acquire(offer, purchase, cancel)
        except CapacityError as error:
            if not error.transient:  # a quota: the same wall stands before the others
                raise
            refused.append(error)
            continue
        ledger.bought(purchase.run_id, machine.id)
        return machine
    tried = ", ".join(dict.fromkeys(offer_words(offer) for offer in offers[: len(refused)]))
    raise known("no-capacity", tried=tried, detail=refused[-1].what) from refused[-1]


def _await_purchase(provider: Provider, run_id: str, *, clock: Clock, cancel: CancelToken) -> None:
    """Give a purchase that was cut off the time to show up, so that it can be undone here and now."""
    deadline = clock.monotonic() + ARRIVES_SECONDS
    with suppress(RunctlError):  # whoever settles the debt will say what is wrong
        while clock.monotonic() < deadline:
            if any(machine.run_id == run_id for machine in provider.machines(cancel)):
                return
            clock.sleep(LOOK_SECONDS, cancel)


def offer_words(offer: Offer) -> str:
    """An offer in a few words: what, where, at what price."""
    market = "spot" if offer.spot else "on demand"
    place = offer.zone or offer.region
    return (
        f"{offer.machine_type} {market}{' in ' + place if place else ''} at ${offer.price_per_hour} an hour"
    )


def settle(
    provider: Provider,
    run_id: str,
    *,
    ledger: Ledger,
    emit: Emit,
    cancel: CancelToken,
    fate_known: bool,
    failing: bool,
) -> None:
    """Release everything that carries the tag of ``run_id``, and only that; strike the debt when it is surely gone.

    Args:
        cancel: ends the attempt; the debt then stands.
        fate_known: the purchase returned. Without that, an empty listing proves nothing and the debt stands.
        failing: an error is already on its way; what is still owed is then a notice, not another error.
    """
    owed = ""
    try:
        mine = [machine for machine in provider.machines(cancel) if machine.run_id == run_id]
        for machine in mine:
            provider.release(machine.id, cancel)
        left = (
            [machine.id for machine in provider.machines(cancel) if machine.run_id == run_id] if mine else ()
        )
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
