"""Pods and their life: created, running, stopped with only their volume left, gone."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runctl.core.errors import RunctlError
from runctl.sandbox import sshd
from runctl.sandbox.instances.pump import Forward
from runctl.sandbox.runpod import catalog

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Cloud
    from runctl.sandbox.instances.machines import Machines

log = logging.getLogger("runctl.sandbox.runpod")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
NO_CAPACITY = "There are no longer any instances available with the requested specifications. Please refresh and try again."
_FIRST = b"#!/bin/sh\nmkdir -p '%s'\n"  # a pod's image has the folder that its volume is mounted on
ACTIONS = {
    "PROVISIONING": ["terminate"],
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "ERROR": ["terminate"],
}


class Refused(Exception):
    """What RunPod will not do; `status` is REST's, the text is for both APIs."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass
class Pod:
    """One pod. `volume` is the path of what a stop keeps; `price` is in USD an hour while it runs."""

    id: str
    name: str
    image: str
    price: float
    gpu: dict[str, Any] | None = None
    cpu: dict[str, Any] | None = None
    args: str = ""
    disk: int = 20
    volume: str = ""
    volume_gb: int = 0
    ports: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    cloud: str = "SECURE"
    ssh: bool = False
    interruptable: bool = False
    bid: float | None = None
    template: str | None = None
    status: str = "PROVISIONING"
    locked: bool = False
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    open: dict[str, Forward] = field(default_factory=dict)
    host_key: sshd.Key | None = None

    @property
    def cost(self) -> float:
        """What it costs an hour as things are (its volume is not counted)."""
        return self.price if self.status in {"PROVISIONING", "RUNNING"} else 0.0


class Pods:
    """All pods of a sandbox. Methods belong to its event loop and raise Refused."""

    def __init__(self, cloud: Cloud, machines: Callable[[], Machines]) -> None:
        self._cloud = cloud
        self._machines = machines
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self.all: dict[str, Pod] = {}
        self.keys: list[str] = []  # of the account: what `startSsh` lets in

    def find(self, pod_id: str) -> Pod:
        """A pod that is there. Raises Refused 404."""
        pod = self.all.get(pod_id)
        if pod is None:
            raise Refused(404, f"pod {pod_id} not found")
        return pod

    def create(self, pod: Pod) -> Pod:
        """Begins a pod's life; it is PROVISIONING when this returns. Raises Refused without capacity."""
        kind = (pod.gpu or pod.cpu or {}).get("id", "")
        facts = {
            "service": "runpod",
            "instance_type": kind,
            "market": "spot" if pod.interruptable else "on-demand",
        }
        if self._cloud.weather.fault(facts, kinds=("capacity",)) is not None:
            raise Refused(500, NO_CAPACITY)
        self.all[pod.id] = pod
        self._go(self._boot(pod))
        return pod

    def _go(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _address(self) -> str:
        self._count += 1
        return f"10.65.{self._count // 250}.{self._count % 250 + 1}"

    def _services(self, pod: Pod, *, plainly: bool) -> list[dict[str, Any]]:
        authorized = [key for key in (*self.keys, pod.env.get("PUBLIC_KEY", "")) if key]
        if not pod.ssh and "PUBLIC_KEY" not in pod.env:
            return []
        pod.host_key = pod.host_key or sshd.make_key(pod.id)
        env = {**pod.env, "PUBLIC_KEY": "\n".join(authorized), "RUNPOD_POD_ID": pod.id}
        return [
            sshd.service(authorized="\n".join(authorized), host_key=pod.host_key, plainly=plainly, env=env)
        ]

    async def _boot(self, pod: Pod) -> None:
        machines = self._machines()
        try:
            services = await asyncio.to_thread(self._services, pod, plainly=bool(machines.weaker))
            await machines.boot(
                pod.id,
                address=self._address(),
                user_data=b"" if machines.weaker else _FIRST % (pod.volume or "/workspace").encode(),
                services=services,
                instance_type="runpod",
                name=pod.id,
                on_end=self._ended,
            )
            await self._running(pod, services)
        except (OSError, RunctlError) as error:
            log.warning("pod %s: %s", pod.id, error)
            pod.status = "ERROR"

    def _ended(self, pod_id: str) -> None:
        """A pod powered itself off, or died."""
        pod = self.all.get(pod_id)
        if pod is not None and pod.status == "RUNNING":
            pod.status = "EXITED"
            self._go(self._shut(pod))

    async def _running(self, pod: Pod, services: list[dict[str, Any]]) -> None:
        machines = self._machines()
        if pod.id not in self.all:  # terminated meanwhile
            await machines.terminate(pod.id)
            return
        for port in pod.ports:
            number, _, _ = port.partition("/")
            inside = services[0]["port"] if services and number == "22" else int(number)

            async def dial(inside: int = inside) -> Any:
                return await machines.dial(pod.id, inside)

            pod.open[port] = Forward(dial)
            await pod.open[port].start()
        if services:
            await sshd.answers(lambda: machines.dial(pod.id, services[0]["port"]))
        pod.started = datetime.now(UTC)
        pod.status = "RUNNING"

    async def _shut(self, pod: Pod) -> None:
        for forward in pod.open.values():
            await forward.close()
        pod.open.clear()
        pod.started = None

    async def stop(self, pod_id: str) -> Pod:
        """Stops a pod: its volume stays, all else is lost. Safe to repeat. Raises Refused 409 while it provisions."""
        pod = self.find(pod_id)
        if pod.status == "PROVISIONING":
            raise Refused(409, f"pod {pod_id} is not running yet")
        if pod.status == "RUNNING":
            pod.status = "EXITED"
            await self._shut(pod)
            await self._machines().stop(pod_id)
        return pod

    async def start(self, pod_id: str, *, bid: float | None = None) -> Pod:
        """Starts a stopped pod on a fresh disk with its volume, at another address. Raises Refused."""
        pod = self.find(pod_id)
        if pod.status != "EXITED":
            raise Refused(409, f"pod {pod_id} is {pod.status}")
        if bid is not None:
            pod.bid = pod.price = bid
        pod.status = "PROVISIONING"
        self._go(self._start(pod))
        return pod

    async def _start(self, pod: Pod) -> None:
        machines = self._machines()
        try:
            keep = (["/" if machines.weaker else pod.volume]) if pod.volume else []
            await machines.renew(pod.id, keep=keep, address=self._address())
            await machines.start(pod.id)
            await self._running(pod, machines.services(pod.id))
        except OSError as error:
            log.warning("pod %s: %s", pod.id, error)
            pod.status = "ERROR"

    async def terminate(self, pod_id: str) -> None:
        """Deletes a pod with its volume. Raises Refused 404."""
        pod = self.find(pod_id)
        if pod.locked:
            raise Refused(409, f"pod {pod_id} is locked")
        del self.all[pod_id]
        await self._shut(pod)
        await self._machines().terminate(pod_id)

    async def reset(self) -> None:
        """Terminates all pods and forgets the account's keys."""
        for pod in list(self.all.values()):
            pod.locked = False
            await self.terminate(pod.id)
        self.keys.clear()


def new_id() -> str:
    """An id as RunPod gives them: 14 small letters and digits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(14))


def price_of(gpu_id: str, count: int, cloud: str) -> float:
    """What GPUs cost an hour. Raises Refused for a type or a number that is not sold."""
    gpu = catalog.find(gpu_id)
    each = gpu and gpu.price(cloud)
    if gpu is None or each is None:
        raise Refused(400, f"{gpu_id!r} is not a GPU type of the {cloud} cloud")
    if not 1 <= count <= gpu.most:
        raise Refused(400, f"a pod has 1 to {gpu.most} of {gpu_id}")
    return round(each * count, 4)
