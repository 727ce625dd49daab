"""Where moto's EC2 is bent: everything about it in one call, and here the changes of an instance's state.

moto's methods are replaced on their classes, once a process, because fleets, auto scaling and spot requests call the
same ones. Everything here runs in moto's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox import spot
from runctl.sandbox.ec2_fleets import Fleets
from runctl.sandbox.ec2_launches import Launches
from runctl.sandbox.ec2_storage import Storage
from runctl.sandbox.moto_bend import override, refuse, replace
from runctl.sandbox.spot_requests import SpotRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.ec2_rules import Ec2


def install(ec2: Ec2) -> None:
    """Bend moto's classes. To be called once, in moto's thread, when ``moto.ec2`` has been loaded."""
    from moto.ec2.utils import filter_dict_attribute_mapping  # noqa: PLC0415 - heavy

    filter_dict_attribute_mapping["client-token"] = "client_token"  # moto keeps it and does not search by it
    for part in (Launches, SpotRequests, Fleets, _States, Storage):
        part(ec2).install()


class _States:
    """Start, stop, reboot, terminate: refused where EC2 refuses them, and told to whoever moves the machines."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2

    def install(self) -> None:
        """Bend moto's classes."""
        from moto.ec2.models.instances import InstanceBackend  # noqa: PLC0415 - heavy
        from moto.ec2.models.tags import TagBackend  # noqa: PLC0415
        from moto.ec2.responses.instances import InstanceResponse  # noqa: PLC0415

        replace(InstanceResponse, "stop_instances", _no_hibernation)
        override(InstanceBackend, "start_instances", self._start)
        override(InstanceBackend, "stop_instances", self._stop)
        override(InstanceBackend, "reboot_instances", self._reboot)
        replace(InstanceBackend, "terminate_instances", self._terminate)
        replace(TagBackend, "create_tags", self._retag)
        replace(TagBackend, "delete_tags", self._retag)

    def _start(self, backend: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
        found = _in_states(backend, instance_ids, "started", ("stopped", "pending", "running"))
        for each in found:
            if each.state == "stopped":
                self._ec2.take_place_again(each)
        return [_moved(each, self._ec2.on_start) for each in found]

    def _stop(self, backend: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
        from moto.ec2.exceptions import OperationDisableApiStopNotPermitted  # noqa: PLC0415 - heavy

        found = _in_states(backend, instance_ids, "stopped", ("pending", "running", "stopping", "stopped"))
        for each in found:
            if each.disable_api_stop is True:
                raise OperationDisableApiStopNotPermitted(each.id)
            if spot.one_time(each):
                raise refuse(
                    "UnsupportedOperation",
                    f"You can't stop the Spot Instance '{each.id}' because it is associated with a one-time Spot "
                    "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
                )
        return [_moved(each, self._ec2.on_stop) for each in found]

    def _reboot(self, backend: Any, instance_ids: list[str]) -> list[Any]:
        found = _in_states(backend, instance_ids, "rebooted", ("running",))
        for each in found:
            self._ec2.on_reboot(each)
        return found

    def _terminate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def terminate_instances(backend: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
            found = backend.get_multi_instances_by_id(instance_ids)
            gone = {each.id: _copy(each) for each in found if each.state in ("shutting-down", "terminated")}
            alive = [each.id for each in found if each.id not in gone]
            moved = original(backend, alive) if alive or not instance_ids else []
            for each, _ in moved:
                self._ec2.on_terminate(each)
            before = {each.id: previous for each, previous in moved} | gone
            return [(each, before[each.id]) for each in found]

        return terminate_instances

    def _retag(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def changed(backend: Any, resource_ids: list[str], tags: dict[str, str]) -> Any:
            result = original(backend, resource_ids, tags)
            for each in resource_ids:
                facts = self._ec2.describe(each)
                if facts is not None and facts.state == "running":
                    self._ec2.go(self._tell(each, dict(facts.tags)))
            return result

        return changed

    async def _tell(self, instance: str, tags: dict[str, str]) -> None:
        self._ec2.machines.retag(instance, tags)


def _no_hibernation(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """StopInstances refuses to hibernate, which no instance of the sandbox is made for."""

    def stop_instances(response: Any) -> Any:
        if response.params.get("Hibernate"):
            raise refuse("UnsupportedHibernationConfiguration", "the sandbox's instances do not hibernate")
        return original(response)

    return stop_instances


def _in_states(backend: Any, instance_ids: list[str], verb: str, states: tuple[str, ...]) -> list[Any]:
    found: list[Any] = backend.get_multi_instances_by_id(instance_ids)
    for each in found:
        if each.state not in states:
            raise refuse(
                "IncorrectInstanceState",
                f"The instance '{each.id}' is not in a state from which it can be {verb}.",
            )
    return found


def _copy(record: Any) -> Any:
    import copy  # noqa: PLC0415 - next to its only use

    return copy.copy(record._state)  # noqa: SLF001 - moto's own record of the state


def _moved(record: Any, move: Callable[[Any], None]) -> tuple[Any, Any]:
    """The instance with the state it had before."""
    before = _copy(record)
    move(record)
    return record, before
