"""What the sandbox's parts tell each other: a call that arrived, who answers it, the cloud they are parts of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runctl.sandbox.http import Request, Response
    from runctl.sandbox.iam.guard import Guard
    from runctl.sandbox.iam.principal import Principal
    from runctl.sandbox.instances.machines import Machines
    from runctl.sandbox.sigv4 import Identity
    from runctl.sandbox.state import State
    from runctl.sandbox.weather import Weather

BODY_LIMIT = 16 * 1024 * 1024  # bytes; no API but S3 takes more in a request


@dataclass(slots=True)
class Call:
    """One request as the front understood it.

    ``body`` is the whole body for every service but S3 and upgrades, whose body is still unread in the request.
    ``identity`` is None where the service checks its own credentials: S3, the message gateway, RunPod. ``principal`` is
    who signed, None for the root user of the account.
    """

    service: str
    region: str
    access_key: str
    account: str
    action: str
    request_id: str
    body: bytes = b""
    identity: Identity | None = None
    principal: Principal | None = None
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
    guard: Guard | None = None  # None: everybody who can sign may do everything
    machines: Machines | None = None  # once they are ready
    ec2: Directory | None = None
    resets: list[Callable[[], Any]] = field(default_factory=list)  # called by reset, awaited when awaitable
    settings: dict[str, str] = field(default_factory=dict)  # --set NAME=VALUE of ``runctl sandbox up``
