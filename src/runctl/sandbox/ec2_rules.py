"""How instances live: pending → running → stopping → stopped → shutting-down → terminated, driven by real machines.

moto holds the records and this class their truth: ``ec2_hooks.py`` tells it what was asked for, it moves the machines
one step at a time (a lock each) and writes the state that is true back in moto's thread.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import InstanceFacts
from runctl.sandbox.ec2_hooks import install
from runctl.sandbox.spot import close_request, mark_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from runctl.sandbox.call import Cloud
    from runctl.sandbox.instances.machines import Machines
    from runctl.sandbox.moto_services import Moto
    from runctl.sandbox.weather import Rule

log = logging.getLogger("runctl.sandbox.ec2")

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
NOTICE_SECONDS = 120.0  # between the interruption notice and the end, as documented for spot
USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
GUEST = (
    "Client.InstanceInitiatedShutdown",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)
SPOT = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
BROKEN = ("Server.InternalError", "Server.InternalError: Internal error on launch")


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
        moto.when_loaded("ec2", lambda: install(self))

    # What others ask.

    def describe(self, instance: str) -> InstanceFacts | None:
        """An instance as the other services see it, in any region; None when there never was one."""
        found = self._all.get(instance)
        return None if found is None else facts_of(found)

    def instances(self, region: str | None = None) -> list[InstanceFacts]:
        """Every instance, terminated ones included, in the order they were launched."""
        return [facts_of(each) for each in list(self._all.values()) if region in (None, each.region)]

    # What moto's thread reports.

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
            self.go(self._start(self._all[record.id]))

    def on_stop(self, record: Any) -> None:
        """A running instance is to stop."""
        if record._state.name in ("pending", "running"):  # noqa: SLF001 - moto's own record of the state
            set_state(record, "stopping", USER)
            self.go(self._stop(self._all[record.id], USER))

    def on_terminate(self, record: Any, reason: tuple[str, str] = USER) -> None:
        """An instance is to be gone; moto has let go of its volumes and addresses."""
        set_state(record, "shutting-down", reason)
        self.go(self._terminate(self._all[record.id], reason))

    def on_reboot(self, record: Any) -> None:
        """A running instance is to boot again."""
        self.go(self._reboot(self._all[record.id]))

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` on the loop, from any thread; a failure is logged."""
        self._loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

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
                if device not in (record.root_device_name, "/dev/sda1"):
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
            await self.moto.run(lambda: close_request(tracked.record, reason[0]))

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
            self._begin(self._guest_ended(tracked))

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
                set_state(record, "stopping", GUEST)
                self.go(self._stop(tracked, GUEST))

        await self.moto.run(change)

    async def befall(self, rule: Rule) -> list[str]:
        """Let an event of the weather happen, now or ``rule.at`` seconds from now; the instances it will meet."""
        if rule.kind == "clear":
            self.cloud.weather.clear()
            self.cloud.state.skew = 0.0
            return []
        if rule.kind == "skew":
            self.cloud.state.skew = rule.delay
            return []
        if rule.at:
            self._begin(self._later(rule.at, lambda: self._befall(rule)))
            return [each.id for each in self._targets(rule)]
        return await self._befall(rule)

    async def _later(self, seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(seconds)
        await work()

    async def _befall(self, rule: Rule) -> list[str]:
        met = self._targets(rule)
        for tracked in met:
            if rule.kind == "interrupt":
                await self._interrupt(tracked, rule.seconds or NOTICE_SECONDS)
            elif rule.kind == "rebalance":
                self.machines.rebalance(tracked.id)
            elif rule.kind == "die":
                await self._die(tracked)
            else:
                self.machines.fill_disk(tracked.id, full=rule.kind == "disk-full")
        return [each.id for each in met]

    def _targets(self, rule: Rule) -> list[Tracked]:
        """The running instances a rule means; of spot ones only, when it is about the spot market."""
        only_spot = rule.kind in ("interrupt", "rebalance")
        return [
            each
            for each in self._all.values()
            if each.state == "running"
            and (not only_spot or each.record.lifecycle == "spot")
            and fnmatchcase(each.id, rule.instance or "*")
            and fnmatchcase(each.record.instance_type, rule.instance_type or "*")
            and fnmatchcase(str(each.record.placement.zone), rule.zone or "*")
            and fnmatchcase(each.region, rule.region or "*")
        ]

    async def _interrupt(self, tracked: Tracked, seconds: float) -> None:
        """The notice in IMDS and on the spot request, then, after ``seconds``, the end."""
        self.machines.notice(tracked.id, "terminate", self.cloud.state.now() + seconds)
        await self.moto.run(lambda: mark_request(tracked.record, "marked-for-termination"))
        self._begin(self._later(seconds, lambda: self._take_back(tracked, SPOT)))

    async def _die(self, tracked: Tracked) -> None:
        tracked.dying = True
        await self.machines.kill(tracked.id)
        await self._take_back(tracked, BROKEN)

    async def _take_back(self, tracked: Tracked, reason: tuple[str, str]) -> None:
        def change() -> None:
            if tracked.state not in ("shutting-down", "terminated"):
                tracked.record.terminate()
                self.on_terminate(tracked.record, reason)

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
    """Write a state into moto's record. In moto's thread only."""
    record._state.name, record._state.code = state, CODES[state]  # noqa: SLF001 - moto's own record of the state
    record.state_reason.code, record.state_reason.message = reason
    record._reason = reason[1].partition(": ")[2] if reason[0] else ""  # noqa: SLF001 - as above


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
