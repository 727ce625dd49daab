"""This machine as a provider: one offer, free, there already, holding as many runs as it is given."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from runctl.core.model import Endpoint, Machine, Offer
from runctl.core.ports import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Resources

MACHINE_ID = "local"


class LocalProvider:
    """Leases the machine runctl runs on. Acquiring and releasing it changes nothing, so there is no debt."""

    name = "local"
    features = Features(costs_money=False, exclusive=False)

    def offers(self, need: Resources) -> Sequence[Offer]:  # noqa: ARG002 - what this machine has is checked by the probe
        """The one offer there is."""
        return (Offer(self.name, f"this machine ({platform.node() or 'localhost'})"),)

    def endpoint(self, offer: Offer) -> Endpoint:  # noqa: ARG002 - there is only one
        """This machine, with the interpreter that runs runctl itself to run the agent."""
        return Endpoint("local", python=sys.executable, home=os.environ.get("RUNCTL_HOME", ""))

    def acquire(self, offer: Offer, run_id: str, cancel: CancelToken) -> Machine:
        """The machine. Nothing begins; safe to repeat."""
        cancel.check()
        return Machine(MACHINE_ID, self.name, self.endpoint(offer), offer, run_id)

    def machines(self) -> Sequence[Machine]:
        """Nothing is leased, so nothing is listed."""
        return ()

    def release(self, machine_id: str) -> None:
        """Nothing ends."""
