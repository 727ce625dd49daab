"""This machine as a provider: one offer, free, there already, holding as many runs as it is given."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from runctl.core.model import Endpoint, Machine, Offer
from runctl.core.ports import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Purchase, Resources
    from runctl.core.ports import Surroundings

MACHINE_ID = "local"


class LocalProvider:
    """Leases the machine runctl runs on. Acquiring and releasing it changes nothing, so there is no debt."""

    name = "local"
    features = Features(costs_money=False, exclusive=False)

    def __init__(self, surroundings: Surroundings) -> None:
        self._env = surroundings.env

    def offers(self, need: Resources, cancel: CancelToken) -> Sequence[Offer]:  # noqa: ARG002 - what this machine has is checked by the probe
        """The one offer there is."""
        return (Offer(self.name, f"this machine ({platform.node() or 'localhost'})"),)

    def endpoint(self, offer: Offer) -> Endpoint:  # noqa: ARG002 - there is only one
        """This machine, with the interpreter that runs runctl itself to run the agent."""
        return Endpoint("local", python=sys.executable, home=self._env.get("RUNCTL_HOME", ""))

    def store(self) -> str:
        """None: the run's folder is here."""
        return ""

    def acquire(self, offer: Offer, purchase: Purchase, cancel: CancelToken) -> Machine:
        """The machine. Nothing begins; safe to repeat."""
        cancel.check()
        return Machine(MACHINE_ID, self.name, self.endpoint(offer), offer, purchase.run_id)

    def machines(self, cancel: CancelToken) -> Sequence[Machine]:  # noqa: ARG002
        """Nothing is leased, so nothing is listed."""
        return ()

    def release(self, machine_id: str, cancel: CancelToken) -> None:
        """Nothing ends."""
