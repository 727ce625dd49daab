"""What the sandbox's parts tell each other: a call that arrived, who answers it, the cloud they are parts of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runctl.sandbox.http import Request, Response
    from runctl.sandbox.sigv4 import Identity
    from runctl.sandbox.state import State
    from runctl.sandbox.weather import Weather

BODY_LIMIT = 16 * 1024 * 1024  # bytes; no API but S3 takes more in a request


@dataclass(slots=True)
class Call:
    """One request as the front understood it.

    ``body`` is the whole body for every service but S3 and upgrades, whose body is still unread in the request.
    ``identity`` is None where the service checks its own credentials: S3, the message gateway, RunPod.
    """

    service: str
    region: str
    access_key: str
    account: str
    action: str
    request_id: str
    body: bytes = b""
    identity: Identity | None = None
    facts: dict[str, str] = field(default_factory=dict)


class Service(Protocol):
    """Answers the calls of one API."""

    async def handle(self, request: Request, call: Call) -> Response | None:
        """The answer; None when the request was upgraded to another protocol. Raises ``ApiError`` to refuse."""


class ApiError(Exception):
    """A refusal that the front writes in the protocol of the service: XML for query APIs, JSON for the others."""

    def __init__(self, code: str, message: str, *, status: int = 400, **fields: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields


class InstanceFacts(NamedTuple):
    """An EC2 instance as the other services see it."""

    id: str
    state: str  # pending, running, shutting-down, terminated, stopping, stopped
    profile: str  # name of the role behind its instance profile; empty: none
    tags: Mapping[str, str]
    platform: str  # Linux
    region: str
    instance_type: str
    address: str


class Machines(Protocol):
    """Where instances run. Every call may be repeated; an unknown id is no error for ``stop`` and ``terminate``.

    ``on_shutdown`` is set by its user: called with an id, on the loop, when a guest powers itself off or dies.
    """

    on_shutdown: Callable[[str], None] | None

    @property
    def weaker(self) -> tuple[str, ...]:
        """What is less than an instance of its own here, a sentence each; empty in namespaces."""

    async def boot(
        self,
        instance: str,
        *,
        image_disk: Path | None,
        user_data: bytes,
        instance_type: str,
        tags: Mapping[str, str],
        address: str,
        profile: str,
        spot: bool,
        region: str,
        zone: str,
        image_id: str,
    ) -> None:
        """Starts the instance for the first time; returns when its PID 1 runs. Raises OSError."""

    async def start(self, instance: str) -> None:
        """Starts a stopped instance on its disk."""

    async def stop(self, instance: str) -> None:
        """Asks the guest to end, then ends it; the disk stays."""

    async def reboot(self, instance: str) -> None:
        """The guest ends and begins again on its disk."""

    async def terminate(self, instance: str) -> None:
        """Ends the guest and deletes its disk."""

    async def kill(self, instance: str) -> None:
        """Ends the guest without any notice, as failing hardware does; the disk stays."""

    def notice(self, instance: str, action: str, at: float) -> None:
        """IMDS tells of ``action`` ("terminate", "stop") at ``at``, seconds since the epoch."""

    def rebalance(self, instance: str) -> None:
        """IMDS recommends a rebalance from now on."""

    def retag(self, instance: str, tags: Mapping[str, str]) -> None:
        """The instance's tags are now these."""

    async def fill_disk(self, instance: str, *, full: bool) -> None:
        """Writes in the instance fail with ENOSPC while ``full``."""

    async def snapshot_disk(self, instance: str) -> Path:
        """A copy of the instance's disk, for images; lives in the state folder until the sandbox ends."""

    def console(self, instance: str) -> bytes:
        """What the instance wrote to its console. Raises FileNotFoundError for one that is not there."""

    async def attach_volume(self, instance: str, volume_id: str, device: str, *, gib: int) -> None:
        """The volume appears in the instance; the first time it is empty and `gib` GiB large."""

    async def detach_volume(self, instance: str, volume_id: str) -> None:
        """Takes the volume out of the instance; its bytes stay."""

    async def delete_volume(self, volume_id: str) -> None:
        """Deletes the bytes of a volume or snapshot."""

    async def copy_volume(self, source: str, target: str) -> None:
        """The bytes of one volume or snapshot become another's."""

    async def close(self) -> None:
        """Ends every instance and gives back all it held of the host."""


class Directory(Protocol):
    """Who looks up instances (implemented by ``ec2_rules.Ec2``)."""

    def describe(self, instance: str) -> InstanceFacts | None:
        """An instance by id, in any region, terminated ones included; None when there never was one."""

    def instances(self, region: str | None = None) -> list[InstanceFacts]:
        """Every instance, of one region or of all."""


@dataclass
class Cloud:
    """One sandbox. ``services`` maps credential scopes (and the front's own names) to who answers them."""

    state: State
    weather: Weather
    services: dict[str, Service] = field(default_factory=dict)
    machines: Any = None  # ``Machines``, once they are ready
    ec2: Directory | None = None
    resets: list[Callable[[], Any]] = field(default_factory=list)  # called by reset, awaited when awaitable
    settings: dict[str, str] = field(default_factory=dict)  # --set NAME=VALUE of ``runctl sandbox up``
