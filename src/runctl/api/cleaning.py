"""Pay what may be owed."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from runctl import registry
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import Notice
from runctl.engine import store_garbage
from runctl.engine.lease import settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runctl.api.runtime import Runtime
    from runctl.core.model import Machine, Run
    from runctl.engine.ledger import Debt
    from runctl.engine.store_garbage import Garbage

GONE_SECONDS, LOOK_SECONDS = 15.0, 1.0  # what a machine gets to give itself back, and between two looks


def debts(rt: Runtime) -> tuple[Debt, ...]:
    """The leases not yet proven ended, oldest first. Reads only."""
    return rt.ledger().debts()


def strike_gone(rt: Runtime, owed: Iterable[Debt], machines: Iterable[Machine]) -> list[Debt]:
    """Strike those debts whose machine was bought and is, by its provider's listing, no more; which ones."""
    alive = {name for machine in machines for name in (machine.run_id, machine.id)}
    gone = [debt for debt in owed if debt.machine_id and not alive & {debt.run_id, debt.machine_id}]
    for debt in gone:
        rt.ledger().strike(debt.run_id, "gone")
    return gone


def see_gone(rt: Runtime, run: Run) -> None:
    """After a run that was followed to its end: its machine gives itself back; see that, and strike what was owed.

    Gives up after some seconds, or when the provider does not answer; the debt then stands.
    """
    owed = [debt for debt in debts(rt) if debt.run_id == run.id]
    deadline = rt.clock.monotonic() + GONE_SECONDS
    with suppress(RunctlError):
        while owed and not strike_gone(rt, owed, tuple(rt.provider(run.provider).machines(rt.cancel))):
            if rt.clock.monotonic() > deadline:
                return
            rt.clock.sleep(LOOK_SECONDS, rt.cancel)


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


def garbage(rt: Runtime, *, days: float) -> list[Garbage]:
    """What of each provider's store no sync has used for ``days``. Reads only; a provider not set up here is told.

    Raises:
        UsageError: ``usage`` for fewer days than a running sync may count on.
    """
    if days < store_garbage.LEAST_DAYS:
        raise known("usage", why=f"a sync that goes on counts on {store_garbage.LEAST_DAYS:g} days")
    found = []
    for url in _stores(rt):
        store = registry.store(url, rt.surroundings(read_only=True))
        found.append(store_garbage.find_garbage(store, days=days, now=rt.clock.now(), cancel=rt.cancel))
    return found


def _stores(rt: Runtime) -> list[str]:
    """The stores of the providers that are set up here, each once."""
    urls: dict[str, None] = {}
    for name in registry.names("providers"):
        try:
            urls[rt.provider(name, read_only=True).store()] = None
        except RunctlError as error:
            rt.emit(Notice("info", f"{name} was not asked: {error.what}"))
    return [url for url in urls if url]


def collect(rt: Runtime, found: Garbage) -> None:
    """Delete what ``garbage`` found in one store. Safe to repeat."""
    store_garbage.remove_garbage(registry.store(found.url, rt.surroundings()), found, rt.cancel)
