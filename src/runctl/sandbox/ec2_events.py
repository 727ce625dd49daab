"""What befalls instances without anybody asking EC2: the spot market takes them back, hardware fails, disks fill up."""

from __future__ import annotations

import asyncio
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from runctl.sandbox import spot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runctl.sandbox.ec2_rules import Ec2, Tracked
    from runctl.sandbox.weather import Rule

NOTICE_SECONDS = 120.0  # between the interruption notice and the end, as documented for spot
SPOT = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
SPOT_STOP = ("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown: Spot instance shutdown")
BROKEN = ("Server.InternalError", "Server.InternalError: Internal error on launch")


class Events:
    """Lets the events of the weather happen to the instances they mean. Methods belong to the loop."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._to_come: set[asyncio.Task[None]] = set()

    async def befall(self, rule: Rule) -> list[str]:
        """Let an event of the weather happen, now or ``rule.at`` seconds from now; the instances it will meet."""
        if rule.kind == "clear":
            for task in self._to_come:
                task.cancel()
            self._ec2.cloud.weather.clear()
            self._ec2.cloud.state.skew = 0.0
            return []
        if rule.at:
            self._to_come.add(task := self._ec2.begin(self._later(rule.at, lambda: self._befall(rule))))
            task.add_done_callback(self._to_come.discard)
            return [each.id for each in self._targets(rule)]
        return await self._befall(rule)

    async def _later(self, seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(seconds)
        await work()

    async def _befall(self, rule: Rule) -> list[str]:
        if rule.kind == "skew":
            self._ec2.cloud.state.skew = rule.delay
            return []
        met = self._targets(rule)
        for tracked in met:
            if rule.kind == "interrupt":
                await self._interrupt(tracked, rule.seconds or NOTICE_SECONDS)
            elif rule.kind == "rebalance":
                self._ec2.machines.rebalance(tracked.id)
            elif rule.kind == "die":
                await self._die(tracked)
            else:
                self._ec2.machines.fill_disk(tracked.id, full=rule.kind == "disk-full")
        return [each.id for each in met]

    def _targets(self, rule: Rule) -> list[Tracked]:
        """The running instances a rule means; of spot ones only, when it is about the spot market."""
        only_spot = rule.kind in ("interrupt", "rebalance")
        return [
            each
            for each in self._ec2.tracked()
            if each.state == "running"
            and (not only_spot or each.record.lifecycle == "spot")
            and fnmatchcase(each.id, rule.instance or "*")
            and fnmatchcase(each.record.instance_type, rule.instance_type or "*")
            and fnmatchcase(str(each.record.placement.zone), rule.zone or "*")
            and fnmatchcase(each.region, rule.region or "*")
        ]

    async def _interrupt(self, tracked: Tracked, seconds: float) -> None:
        """The notice in IMDS and on the spot request, then, after ``seconds``, the end, or the stop it asked for."""
        request = spot.request_of(tracked.record)
        stops = request is not None and request.instance_interruption_behaviour == "stop"
        self._ec2.machines.notice(
            tracked.id, "stop" if stops else "terminate", self._ec2.cloud.state.now() + seconds
        )
        code = "marked-for-stop" if stops else "marked-for-termination"
        await self._ec2.moto.run(lambda: spot.mark(tracked.record, code))
        end = self._put_aside if stops else self._take_back
        self._ec2.begin(self._later(seconds, lambda: end(tracked, SPOT_STOP if stops else SPOT)))

    async def _put_aside(self, tracked: Tracked, reason: tuple[str, str]) -> None:
        await self._ec2.moto.run(lambda: self._ec2.on_stop(tracked.record, reason))

    async def _die(self, tracked: Tracked) -> None:
        tracked.dying = True
        await self._ec2.machines.kill(tracked.id)
        await self._take_back(tracked, BROKEN)

    async def _take_back(self, tracked: Tracked, reason: tuple[str, str]) -> None:
        def change() -> None:
            if tracked.state not in ("shutting-down", "terminated"):
                tracked.record.terminate()
                self._ec2.on_terminate(tracked.record, reason)

        await self._ec2.moto.run(change)
