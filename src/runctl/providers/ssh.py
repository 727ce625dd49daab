"""SSH hosts as a provider: machines that are there already, one by its address or several as a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.core import ssh_address
from runctl.core.catalogue import known
from runctl.core.model import Endpoint, Machine, Offer
from runctl.core.ports import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Purchase, Resources
    from runctl.core.ports import Surroundings

PYTHON = "python3"  # runs the agent where the address names no other


class SshProvider:
    """Leases hosts nobody pays for. Nothing is begun there and nothing ended, so there is no debt.

    A machine of a pool holds one run; the agent there sees to that, and so no host has to be given back by hand.
    """

    name = "ssh"

    def __init__(self, surroundings: Surroundings, target: str = "") -> None:  # noqa: ARG002 - the socket's shape
        """``target``: the addresses, separated by spaces. Raises ``ssh-address``."""
        self._addresses = [ssh_address.parse(each) for each in target.split()]
        self.features = Features(costs_money=False, exclusive=len(self._addresses) > 1)

    def offers(self, need: Resources, cancel: CancelToken) -> Sequence[Offer]:  # noqa: ARG002 - what a host has it says itself
        """Every host, in the order they were named. Asks nobody. Raises ``ssh-address`` where none was named."""
        if not self._addresses:
            raise known("ssh-address", address=self.name, detail="it has to say which host")
        return tuple(Offer(self.name, each.where, machine=each.url) for each in self._addresses)

    def endpoint(self, offer: Offer) -> Endpoint:
        """How the host is reached."""
        address = ssh_address.parse(offer.machine)
        return Endpoint("ssh", address.where, python=address.python or PYTHON, home=address.home)

    def store(self) -> str:
        """None: bytes go through the connection."""
        return ""

    def acquire(self, offer: Offer, purchase: Purchase, cancel: CancelToken) -> Machine:
        """The machine. Nothing begins; safe to repeat."""
        cancel.check()
        return Machine(offer.machine_type, self.name, self.endpoint(offer), offer, purchase.run_id)

    def machines(self, cancel: CancelToken) -> Sequence[Machine]:  # noqa: ARG002
        """Nothing is leased, so nothing is listed."""
        return ()

    def release(self, machine_id: str, cancel: CancelToken) -> None:
        """Nothing ends."""
