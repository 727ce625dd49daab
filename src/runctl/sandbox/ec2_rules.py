"""How instances live: pending → running → stopping → stopped → shutting-down → terminated, driven by real machines.

moto holds the records and this class their truth: ``ec2_hooks.py`` tells it what was asked for, it moves the machines
one step at a time (a lock each) and writes the state that is true back in moto's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runctl.sandbox import spot
from runctl.sandbox.call import InstanceFacts
from runctl.sandbox.ec2_events import BROKEN, Events
from runctl.sandbox.ec2_groups import Groups
from runctl.sandbox.ec2_hooks import install
from runctl.sandbox.ec2_refill import Refill
from runctl.sandbox.moto_bend import refuse

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from runctl.sandbox.call import Cloud
    from runctl.sandbox.instances.machines import Machines
    from runctl.sandbox.moto_services import Moto

log = logging.getLogger("runctl.sandbox.ec2")

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
GUEST = (
    "Client.InstanceInitiatedShutdown",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)


@dataclass
class Tracked:
    """One instance: moto's record, and what we know beside it."""

    record: Any
    region: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    booted: bool = False
    dying: bool = False

    @property
    def id(self) -> str:
        """The instance's id."""
        return str(self.record.id)

    @property
    def state(self) -> str:
        """One of ``CODES``."""
        return str(self.record._state.name)  # noqa: SLF001 - moto's own record of the state


class Ec2:
    """The life of every instance. Methods named ``on_...`` are called in moto's thread, all others on the loop."""

    def __init__(self, cloud: Cloud, moto: Moto) -> None:
        self.cloud = cloud
        self.moto = moto
        self.images: dict[str, Path] = {}  # AMI -> the disk it was made from
        self._all: dict[str, Tracked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.refill = Refill(self)
        self.events = Events(self)
        moto.when_loaded("ec2", lambda: install(self))
        moto.when_loaded("autoscaling", lambda: self._install_groups(moto))

    def _install_groups(self, moto: Moto) -> None:
        moto.backend("ec2", self.cloud.state.region)  # what groups launch, EC2 has to know of
        Groups(self).install()

    # What others ask.

    def describe(self, instance: str) -> InstanceFacts | None:
        """An instance as the other services see it, in any region; None when there never was one."""
        found = self._all.get(instance)
        return None if found is None else facts_of(found)

    def instances(self, region: str | None = None) -> list[InstanceFacts]:
        """Every instance, terminated ones included, in the order they were launched."""
        return [facts_of(each) for each in list(self._all.values()) if region in (None, each.region)]

    def tracked(self) -> list[Tracked]:
        """Every instance, terminated ones included."""
        return list(self._all.values())

    # What moto's thread asks and reports.

    def take_place(self, region: str, kind: str, zone: str, zones: list[str], *, is_spot: bool) -> str:
        """The zone in which an instance of a kind is launched: the given one, else the first of several with room.

        Raises:
            EC2ClientError: the weather has room in none.
        """
        facts = {
            "service": "ec2",
            "action": "RunInstances",
            "region": region,
            "instance_type": kind,
            "market": "spot" if is_spot else "on-demand",
        }
        weather = self.cloud.weather
        fault = weather.fault({**facts, "zone": zone} if zone else facts, kinds=("capacity",))
        if fault is None and not zone:
            for each in zones:
                fault = weather.fault({**facts, "zone": each}, kinds=("capacity",), naming="zone")
                if fault is None:
                    return each
        if fault is not None:
            raise refuse(fault.code, fault.message, no_room=True)
        return zone

    def take_place_again(self, record: Any) -> None:
        """A stopped instance needs room where it was. Raises EC2ClientError when there is none."""
        zone, is_spot = str(record.placement.zone), record.lifecycle == "spot"
        self.take_place(record.region_name, str(record.instance_type), zone, [], is_spot=is_spot)

    def on_launch(self, record: Any, region: str) -> None:
        """An instance was recorded: it is pending, and boots."""
        set_state(record, "pending")
        tracked = Tracked(record, region)
        self._all[tracked.id] = tracked
        self.go(self._boot(tracked))

    def on_start(self, record: Any) -> None:
        """A stopped instance is to run again."""
        if record._state.name == "stopped":  # noqa: SLF001 - moto's own record of the state
            set_state(record, "pending")
            spot.started(record)
            self.go(self._start(self._all[record.id]))

    def on_stop(self, record: Any, reason: tuple[str, str] = USER) -> None:
        """A running instance is to stop."""
        if record._state.name in ("pending", "running"):  # noqa: SLF001 - moto's own record of the state
            set_state(record, "stopping", reason)
            spot.stopped(record, reason[0])
            self.go(self._stop(self._all[record.id], reason))

    def on_terminate(self, record: Any, reason: tuple[str, str] = USER) -> None:
        """An instance is to be gone; moto has let go of its volumes and addresses."""
        set_state(record, "shutting-down", reason)
        self.go(self._terminate(self._all[record.id], reason))

    def on_reboot(self, record: Any) -> None:
        """A running instance is to boot again."""
        self.go(self._reboot(self._all[record.id]))

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` on the loop, from any thread; a failure is logged."""
        self._loop.call_soon_threadsafe(self.begin, work)

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do ``work``, from the loop; a failure is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an instance's step failed", exc_info=task.exception())

    # The steps.

    async def _boot(self, tracked: Tracked) -> None:
        async with tracked.lock:
            facts = await self.moto.run(
                lambda: facts_of(tracked)
            )  # after the call that launched it has ended
            record, machines = tracked.record, self.machines
            try:
                await machines.boot(
                    tracked.id,
                    image_disk=self.images.get(record.image_id),
                    user_data=user_data_of(record),
                    instance_type=facts.instance_type,
                    tags=facts.tags,
                    address=facts.address,
                    profile=facts.profile,
                    spot=record.lifecycle == "spot",
                    region=tracked.region,
                    zone=str(record.placement.zone),
                    image_id=str(record.image_id),
                )
            except OSError as error:
                log.exception("%s did not boot", tracked.id)
                reason = (BROKEN[0], f"{BROKEN[1]}: {error}")
                await self._set(tracked, "terminated", reason)
                return
            tracked.booted = True
            for device, block in list(record.block_device_mapping.items()):
                if device != record.root_device_name:
                    await machines.attach_volume(
                        tracked.id, block.volume_id, device, gib=int(block.size or 8)
                    )
            await self._set(tracked, "running", only_from="pending")

    async def _start(self, tracked: Tracked) -> None:
        async with tracked.lock:
            if tracked.state == "pending":
                await self.machines.start(tracked.id)
                await self._set(tracked, "running", only_from="pending")

    async def _stop(self, tracked: Tracked, reason: tuple[str, str]) -> None:
        async with tracked.lock:
            if tracked.state == "stopping":
                await self.machines.stop(tracked.id)
                await self._set(tracked, "stopped", reason, only_from="stopping")
        self.refill.wake()

    async def _reboot(self, tracked: Tracked) -> None:
        async with tracked.lock:
            if tracked.state == "running":
                await self.machines.reboot(tracked.id)

    async def _terminate(self, tracked: Tracked, reason: tuple[str, str]) -> None:
        async with tracked.lock:
            if tracked.state != "shutting-down":
                return
            await self.machines.terminate(tracked.id)
            self.cloud.state.forget_instance(tracked.id)
            await self._set(tracked, "terminated", reason)
            await self.moto.run(lambda: spot.gone(tracked.record, reason[0]))
        self.refill.wake()

    async def _set(
        self, tracked: Tracked, state: str, reason: tuple[str, str] = ("", ""), *, only_from: str = ""
    ) -> None:
        def change() -> None:
            if not only_from or tracked.state == only_from:
                set_state(tracked.record, state, reason)

        await self.moto.run(change)

    @property
    def machines(self) -> Machines:
        """Where instances run."""
        assert self.cloud.machines is not None
        return self.cloud.machines

    # What happens to instances without anybody asking EC2.

    def guest_ended(self, instance: str) -> None:
        """A guest powered itself off, or died: what its shutdown behaviour says happens."""
        tracked = self._all.get(instance)
        if tracked is not None and not tracked.dying:
            self.begin(self._guest_ended(tracked))

    async def _guest_ended(self, tracked: Tracked) -> None:
        record = tracked.record
        ends = record.instance_initiated_shutdown_behavior == "terminate" or record.lifecycle == "spot"

        def change() -> None:
            if tracked.state not in ("pending", "running"):
                return
            if ends:
                record.terminate()
                self.on_terminate(record, GUEST)
            else:
                self.on_stop(record, GUEST)

        await self.moto.run(change)

    async def reset(self) -> None:
        """Every instance ends at once and is forgotten; so are events that were to come."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._all.clear()
        self.images.clear()

    async def close(self) -> None:
        """No further step is begun."""
        await self.reset()


def set_state(record: Any, state: str, reason: tuple[str, str] = ("", "")) -> None:
    """Write a state into moto's record, and why as EC2 words it. In moto's thread only."""
    from moto.ec2.models.instances import StateReason  # noqa: PLC0415 - heavy

    record._state.name, record._state.code = state, CODES[state]  # noqa: SLF001 - moto's own record of the state
    code, message = ("pending", "pending") if state == "pending" else reason
    record.state_reason = StateReason(message, code) if code else None
    by = "Service" if code.startswith("Server.") else "User"
    stamp = time.strftime("%Y-%m-%d %H:%M:%S GMT", time.gmtime())
    record._reason = f"{by} initiated ({stamp})" if reason[0] else ""  # noqa: SLF001 - as above


def facts_of(tracked: Tracked) -> InstanceFacts:
    """What other services may know of an instance."""
    record = tracked.record
    return InstanceFacts(
        id=tracked.id,
        state=tracked.state,
        profile=role_of(record),
        tags={tag["key"]: tag["value"] for tag in record.get_tags()},
        platform="Linux",
        region=tracked.region,
        instance_type=str(record.instance_type),
        address=str(record.private_ip),
    )


def role_of(record: Any) -> str:
    """The role behind an instance's profile; empty without a profile, or when the profile has no role."""
    held = record.ec2_backend.iam_instance_profile_associations.get(record.id)
    roles = held.iam_instance_profile.roles if held is not None else []
    return str(roles[0].name) if roles else ""


def user_data_of(record: Any) -> bytes:
    """The bytes given as user data, decoded."""
    import base64  # noqa: PLC0415 - next to its only use

    text = "" if record.user_data is None else str(record.user_data)
    try:
        return base64.b64decode(text)
    except ValueError:
        return text.encode()
