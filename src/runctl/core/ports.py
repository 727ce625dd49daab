"""The sockets. An adapter is one file (or folder) and one line in ``registry``.

Engine code asks for a capability (``features``), never for a name. Every method may be repeated safely unless it
says otherwise; every blocking method takes a ``CancelToken`` and returns within ``cancel.SLICE`` of its being set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path, PurePosixPath

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Endpoint, Machine, Offer, Resources


@dataclass(frozen=True)
class Features:
    """What a provider can do, so that nobody has to ask for its name."""

    costs_money: bool  # acquire starts a bill; the ledger is written first
    exclusive: bool  # a machine of it holds one run unless the user shares it
    spot: bool = False
    notice_seconds: int = 0  # warning before it takes a machine back; 0: none


class Provider(Protocol):
    """Leases machines."""

    name: str
    features: Features

    def offers(self, need: Resources) -> Sequence[Offer]:
        """What could satisfy ``need``, cheapest first. Read-only. Raises ``CapacityError`` when nothing can."""

    def endpoint(self, offer: Offer) -> Endpoint | None:
        """How to reach the machine of ``offer`` if it exists already, so that a plan can ask it; None: it has to be bought."""

    def acquire(self, offer: Offer, run_id: str, cancel: CancelToken) -> Machine:
        """Begin a lease tagged with ``run_id``; repeating it with the same run returns the same machine."""

    def machines(self) -> Sequence[Machine]:
        """Every machine of ours that exists now, by tag. Read-only."""

    def release(self, machine_id: str) -> None:
        """End the lease; a machine that is already gone is a success. Raises ``ReleaseOwed`` when it is not sure."""


@dataclass(frozen=True)
class Completed:
    """How a command on a machine ended. ``stderr`` is its last 64 KiB; a negative code is a signal."""

    exit_code: int
    stderr: bytes = b""


class Transport(Protocol):
    """Reaches one machine. Strings meet a shell only in here."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: Iterable[bytes] = (),
        on_output: Callable[[bytes], None] | None = None,
        cancel: CancelToken,
    ) -> Completed:
        """Run ``argv`` there; feed ``stdin`` while it runs, hand over stdout in chunks as they arrive.

        Raises:
            UnreachableError: the machine does not answer, or the link broke (transient; ask again by offset).
            MachineGone: the machine no longer exists.
            Cancelled: the token was set; the process there has been asked to end.
        """

    def put(self, source: Path, target: PurePosixPath, cancel: CancelToken) -> None:
        """Copy one file there, complete or not at all."""

    def get(self, source: PurePosixPath, target: Path, cancel: CancelToken) -> None:
        """Copy one file here, complete or not at all."""

    def close(self) -> None:
        """Let go of connections. Safe to repeat."""


class TransportFactory(Protocol):
    """What a transport module registers."""

    def __call__(self, endpoint: Endpoint) -> Transport:
        """Open nothing yet; just bind the endpoint."""
