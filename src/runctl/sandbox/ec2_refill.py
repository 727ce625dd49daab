"""What is owed is bought again: for persistent spot requests, fleets and Auto Scaling groups, as soon as there is room."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from runctl.sandbox import ec2_fleets, ec2_groups, spot
from runctl.sandbox.moto_bend import is_no_room

if TYPE_CHECKING:
    from runctl.sandbox.ec2_rules import Ec2

RETRY_SECONDS = 1.0  # between two attempts at what there was no room for


class Refill:
    """One task that works as long as something is owed. ``wake`` may be called from any thread."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._working = False
        self._again = False

    def wake(self) -> None:
        """Something was lost, or could not be had: look what is owed."""
        self._ec2.go(self._work())

    async def _work(self) -> None:
        self._again = True
        if self._working:
            return
        self._working = True
        try:
            while self._again:
                self._again = False
                if await self._ec2.moto.run(self._buy):
                    await asyncio.sleep(RETRY_SECONDS)
                    self._again = True
        finally:
            self._working = False

    def _buy(self) -> bool:
        """Buy what can be had; whether anything is still owed. In moto's thread."""
        owed = False
        for backend in self._backends("ec2"):
            owed |= self._requests(backend)
            owed |= ec2_fleets.refill(backend)
        for backend in self._backends("autoscaling"):
            owed |= ec2_groups.refill(backend)
        return owed

    def _backends(self, module: str) -> list[Any]:
        """moto's backends of every region in use; none while the module has not been loaded."""
        models = sys.modules.get(f"moto.{module}.models")
        if models is None:
            return []
        return list(getattr(models, f"{module}_backends")[self._ec2.cloud.state.account].values())

    def _requests(self, backend: Any) -> bool:
        """Fill a region's open spot requests, start what an interruption stopped; whether any is still without."""
        owed = False
        for request in list(backend.spot_instance_requests.values()):
            if request.state == "open":
                owed |= not _fill(request)
            elif (request.state, request.status["Code"]) == ("disabled", "instance-stopped-no-capacity"):
                owed |= not self._start(request.instance)
        return owed

    def _start(self, record: Any) -> bool:
        """Whether a stopped instance found room again."""
        if record.state != "stopped":
            return False
        try:
            self._ec2.take_place_again(record)
        except Exception as error:
            if not is_no_room(error):
                raise
            return False
        self._ec2.on_start(record)
        return True


def _fill(request: Any) -> bool:
    """Whether an open request has got an instance."""
    try:
        record = request.launch_instance()
    except Exception as error:
        if not is_no_room(error):
            raise
        record, request.held = None, "capacity-not-available"
    if record is None:
        spot.say(request, "open", request.held)
    else:
        spot.tie(record, request)
    return record is not None
