"""A provider that sells machines and misbehaves on request, for tests of whoever holds a lease."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import TYPE_CHECKING

from runctl.core.model import Endpoint, Machine, Offer
from runctl.core.ports import Features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Purchase, Resources


class FakeCloud:
    """Machines in a dictionary. Hooks run inside the calls, so that a test decides what happens there."""

    name = "fake"
    features = Features(costs_money=True, exclusive=True, spot=True, notice_seconds=120)

    def __init__(self) -> None:
        self.alive: dict[str, Machine] = {}
        self.during_acquire: Callable[[Machine], None] = lambda machine: None  # noqa: ARG005
        self.during_release: Callable[[str], None] = lambda machine_id: None  # noqa: ARG005
        self._made = 0
        self._lock = threading.Lock()

    def offers(self, need: Resources, cancel: CancelToken) -> Sequence[Offer]:  # noqa: ARG002 - it sells one thing
        """One offer at a price."""
        return (Offer(self.name, "small", "here", Decimal("0.5")),)

    def endpoint(self, offer: Offer) -> Endpoint | None:  # noqa: ARG002
        """Nothing exists before it is bought."""
        return None

    def store(self) -> str:
        """Its machines reach no store."""
        return ""

    def acquire(self, offer: Offer, purchase: Purchase, cancel: CancelToken) -> Machine:
        """Buy a machine; ``during_acquire`` is called when it exists and before the buyer learns of it."""
        cancel.check()
        with self._lock:
            for machine in self.alive.values():
                if (machine.run_id, machine.attempt) == (purchase.run_id, purchase.attempt):
                    return machine
            self._made += 1
            machine = Machine(
                f"m-{self._made}",
                self.name,
                Endpoint("local"),
                offer,
                purchase.run_id,
                attempt=purchase.attempt,
            )
            self.alive[machine.id] = machine
        self.during_acquire(machine)
        return machine

    def machines(self, cancel: CancelToken) -> Sequence[Machine]:  # noqa: ARG002
        """What exists now."""
        return tuple(self.alive.values())

    def release(self, machine_id: str, cancel: CancelToken) -> None:  # noqa: ARG002
        """End one; ``during_release`` may raise before it does."""
        self.during_release(machine_id)
        self.alive.pop(machine_id, None)
