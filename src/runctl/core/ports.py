"""The sockets. An adapter is one file (or folder) and one line in ``registry``.

Engine code asks for a capability (``features``), never for a name. Every method may be repeated safely unless it
says otherwise; every blocking method takes a ``CancelToken`` and returns within ``cancel.SLICE`` of its being set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from runctl.core.cancel import CancelToken
    from runctl.core.checks import Probe
    from runctl.core.clock import Clock
    from runctl.core.errors import RunctlError
    from runctl.core.events import Emit
    from runctl.core.model import CacheVolume, Endpoint, Held, Machine, Offer, Purchase, Resources


@dataclass(frozen=True)
class Surroundings:
    """What an adapter is made with: it reads no global, so a test can give it another world.

    ``setting`` looks up one value of the configuration by its key; ``emit`` hears of calls and retries;
    ``read_only`` forbids any write, also to a cache on this computer (a dry run); ``shared`` holds what adapters of one
    vendor have in common, by the vendor's name: a session and its connections are made once.
    """

    setting: Callable[[str], Any]
    env: Mapping[str, str]
    clock: Clock
    emit: Emit
    cancel: CancelToken
    random: Random = field(default_factory=Random)
    read_only: bool = False
    shared: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """What a provider can do, so that nobody has to ask for its name."""

    costs_money: bool  # acquire starts a bill; the ledger is written first
    exclusive: bool  # a machine of it holds one run unless the user shares it
    spot: bool = False
    notice_seconds: int = 0  # warning before it takes a machine back; 0: none
    boots_agent: bool = False  # its machines run user data, and so begin the run from the store by themselves
    home: str = ""  # $RUNCTL_HOME on the machines it boots
    least_billed_seconds: int = 0  # what a machine costs however short it lived
    purchase_open_seconds: float = float("inf")  # how long a purchase that was cut off may still arrive


class Provider(Protocol):
    """Leases machines."""

    name: str
    features: Features

    def offers(self, need: Resources, cancel: CancelToken) -> Sequence[Offer]:
        """What could satisfy ``need``, in the order to try. Read-only. Raises ``CapacityError`` when nothing can."""

    def endpoint(self, offer: Offer) -> Endpoint | None:
        """How to reach the machine of ``offer`` if it exists already, so that a plan can ask it; None: it has to be bought."""

    def store(self) -> str:
        """The URL of the store its machines can reach; empty: they have none, bytes go through the transport."""

    def acquire(self, offer: Offer, purchase: Purchase, cancel: CancelToken) -> Machine:
        """Begin a lease tagged with the run; repeating the same purchase returns the same machine.

        Raises:
            CapacityError: this offer is not to be had now; another may be.
            AccessError, UsageError: the provider refused for good; nothing was bought.
            NotBought: cancelled before anything was asked for.
            Cancelled: cancelled later; what became of it only the provider's listing can tell.
        """

    def machines(self, cancel: CancelToken) -> Sequence[Machine]:
        """Every machine of ours that exists now, by tag. Read-only."""

    def release(self, machine_id: str, cancel: CancelToken) -> None:
        """End the lease; a machine that is already gone is a success. Raises ``ReleaseOwed`` when it is not sure."""


@runtime_checkable
class Kept(Protocol):
    """A provider whose machines live on between runs: they are looked at, stopped, started and ended by their id.

    ``not_mine`` allows a machine that does not carry our tag, because somebody named it.
    """

    def machine(self, machine_id: str, cancel: CancelToken) -> Machine:
        """Any machine there is. Raises ``MachineGone`` for one that nobody knows."""

    def start(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> Machine:
        """Start a stopped machine and wait until it runs."""

    def stop(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> None:
        """Stop a machine and wait until it has; its disk stays, and is billed."""

    def end(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> None:
        """End a machine for good, as ``release`` does."""


@runtime_checkable
class Holds(Protocol):
    """A provider where things of ours lie that are billed although no machine runs."""

    def held(self, cancel: CancelToken) -> Sequence[Held]:
        """All of them, by what carries our tag. Reads only."""


@runtime_checkable
class Caches(Protocol):
    """A provider with volumes that keep caches from one machine to the next, each in one zone."""

    def cache_volumes(
        self, need: Resources, zones: Sequence[str], cancel: CancelToken
    ) -> Sequence[CacheVolume]:
        """What a run with ``need`` would find in each of ``zones``, in their order. Reads only."""

    def attach_cache(self, need: Resources, machine: Machine, cancel: CancelToken) -> CacheVolume:
        """Attach the volume of the machine's zone, made where there is none. A failure leaves none that was made.

        Raises ``cache-volume-busy`` when another machine has it.
        """

    def copy_cache(self, cache: CacheVolume, *, changed: bool, cancel: CancelToken) -> str:
        """Begin a snapshot, if there is none yet or it ``changed``; its id, empty when none was begun.

        Copies of the same name that an earlier call began and a newer one replaces are deleted.
        """


@runtime_checkable
class Examined(Protocol):
    """A provider that can say beforehand whether its account is ready for a run, and afterwards why it failed."""

    def probes(self, need: Resources) -> Sequence[Probe]:
        """Everything there is to look at, for a machine that satisfies ``need``. Asks nothing yet."""

    def probes_for(self, offers: Sequence[Offer], data: Sequence[str]) -> Sequence[Probe]:
        """What has to hold before one of ``offers`` is bought for a run that reads ``data``, addresses.

        Looking at it writes nothing; asks nothing yet.
        """

    def explain(
        self,
        error: RunctlError,
        *,
        cancel: CancelToken,
        machine_id: str = "",
        offer: Offer | None = None,
        more: Sequence[Probe] = (),
    ) -> RunctlError:
        """``error`` with what is found out about a machine, about an offer that was not to be had, and by ``more``.

        The same object; never raises, takes seconds at most, and does nothing once ``cancel`` is set.
        """


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
        on_errors: Callable[[bytes], None] | None = None,
        cancel: CancelToken,
    ) -> Completed:
        """Run ``argv`` there; feed ``stdin`` while it runs, hand over stdout and stderr in chunks as they arrive.

        Making ``stdin`` may wait for what ``on_output`` is given: each goes on while the other waits.

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


class Terminal(Protocol):
    """The terminal a person sits at, raw: every key is a byte, nothing is echoed by it."""

    def keys(self, seconds: float) -> bytes | None:
        """What was typed, after at most ``seconds``; None: nothing, empty: the terminal is gone."""

    def show(self, data: bytes) -> None:
        """Bytes of the other side, as they are."""

    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""


@runtime_checkable
class Shells(Protocol):
    """A transport that can open a shell on its machine."""

    def shell(self, terminal: Terminal, cancel: CancelToken) -> None:
        """A shell with a terminal of its own, until it ends. Raises as ``Transport.exec`` does."""


@runtime_checkable
class Forwards(Protocol):
    """A transport that can carry TCP connections from here to what its machine can reach."""

    def forward(
        self,
        local_port: int,
        host: str,
        port: int,
        *,
        on_ready: Callable[[int], None],
        cancel: CancelToken,
    ) -> None:
        """Listen on 127.0.0.1 and carry each connection to ``host:port`` as the machine sees them, until ``cancel``.

        Args:
            local_port: 0 takes one that is free.
            host: ``localhost`` is the machine itself.
            port: there.
            on_ready: told the local port once connections are accepted.
            cancel: ends it; what is connected then is cut.

        Raises:
            UsageError: ``port-taken``.
            UnreachableError, MachineGone, AccessError: as ``Transport.exec``.
        """

    def carry(
        self,
        host: str,
        port: int,
        *,
        stdin: Iterable[bytes],
        on_output: Callable[[bytes], None],
        cancel: CancelToken,
    ) -> None:
        """One connection whose bytes come from ``stdin`` and go to ``on_output``, until the other end hangs up."""


@runtime_checkable
class OverSsh(Protocol):
    """A transport that is ssh already."""

    def ssh_settings(self) -> Mapping[str, str]:
        """What a block of an SSH configuration says to reach the machine as this does. Reads only, connects nowhere."""


class TransportFactory(Protocol):
    """What a transport module registers."""

    def __call__(self, endpoint: Endpoint, surroundings: Surroundings) -> Transport:
        """Open nothing yet; just bind the endpoint."""


@dataclass(frozen=True)
class Stored:
    """One object of a store, as a listing shows it. Size in bytes, ``modified`` in seconds since the epoch."""

    key: str
    size: int
    modified: float
    etag: str = ""


class Store(Protocol):
    """Keeps bytes under keys, relative to its own prefix. An object is there whole or not at all."""

    url: str

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        cancel: CancelToken,
        on_bytes: Callable[[int], None] | None = None,
        notes: Path | None = None,
    ) -> bool:
        """Keep ``data`` under ``key``; false when ``if_absent`` and something was there. Safe to repeat.

        Args:
            key: relative to the store's prefix.
            data: what, or the file that holds it.
            if_absent: replace nothing.
            cancel: ends it; nothing of it stays then.
            on_bytes: told how many bytes of a file have just arrived.
            notes: a file of its own for each key and source, in a folder that exists. What is there of a large file
                whose sending was cut off is noted in it, and the next call sends the rest.
        """

    def give_up(self, key: str, notes: Path, cancel: CancelToken) -> None:
        """Delete what is there of a ``put`` that was cut off, as its ``notes`` say, and them. Safe to repeat."""

    def get(self, key: str, *, start: int = 0, length: int | None = None, cancel: CancelToken) -> bytes:
        """Bytes ``[start, start+length)`` of an object, fewer at its end. Raises ``store-missing``."""

    def fetch(
        self,
        key: str,
        target: Path,
        *,
        cancel: CancelToken,
        on_bytes: Callable[[int], None] | None = None,
        resume: bool = False,
    ) -> None:
        """Copy an object to a file, complete or not at all. Raises ``store-missing``.

        With ``resume`` a call that fails may leave what it has beside the target, and the next one goes on with that.
        """

    def list(self, prefix: str, *, after: str = "", cancel: CancelToken) -> Iterator[Stored]:
        """The objects whose keys begin with ``prefix``, by key; only those behind the key ``after``."""

    def delete(self, keys: Iterable[str], cancel: CancelToken) -> None:
        """Remove objects; what is not there is a success."""

    def access(self) -> Mapping[str, str]:
        """How a machine reaches this store: the ``StoreAccess`` object of the agent's requests. Holds no secret."""

    def close(self) -> None:
        """Let go of connections. Safe to repeat; the store can be used again."""
