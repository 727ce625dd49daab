"""Volumes, snapshots and images hold bytes: where moto's records of them are bent. In moto's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.moto_bend import refuse, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.ec2_rules import Ec2


class Storage:
    """Volumes, snapshots and images hold bytes."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2

    def install(self) -> None:
        """Bend moto's classes."""
        from moto.ec2.models.amis import AmiBackend  # noqa: PLC0415 - heavy
        from moto.ec2.models.elastic_block_store import EBSBackend  # noqa: PLC0415

        replace(EBSBackend, "create_volume", self._create_volume)
        replace(EBSBackend, "attach_volume", self._attach)
        replace(EBSBackend, "detach_volume", self._detach)
        replace(EBSBackend, "delete_volume", self._delete_volume)
        replace(EBSBackend, "create_snapshot", self._snapshot)
        replace(AmiBackend, "create_image", self._image)
        replace(AmiBackend, "copy_image", self._copy_image)
        replace(AmiBackend, "deregister_image", self._deregister)

    def _create_volume(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_volume(backend: Any, *args: Any, **named: Any) -> Any:
            volume = original(backend, *args, **named)
            if volume.snapshot_id:
                self._ec2.go(self._copy_bytes(volume.snapshot_id, volume.id))
            return volume

        return create_volume

    async def _copy_bytes(self, source: str, target: str) -> None:
        await self._ec2.machines.copy_volume(source, target)

    def _attach(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def attach_volume(
            backend: Any, volume_id: str, instance_id: str, device_path: str, *more: Any, **named: Any
        ) -> Any:
            result = original(backend, volume_id, instance_id, device_path, *more, **named)
            facts = self._ec2.describe(instance_id)
            root = backend.get_instance(instance_id).root_device_name
            if facts is not None and facts.state in ("running", "stopped") and device_path != root:
                size = int(backend.get_volume(volume_id).size or 8)
                self._ec2.go(self._do_attach(instance_id, volume_id, device_path, size))
            return result

        return attach_volume

    async def _do_attach(self, instance: str, volume: str, device: str, size: int) -> None:
        await self._ec2.machines.attach_volume(instance, volume, device, gib=size)

    def _detach(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def detach_volume(
            backend: Any, volume_id: str, instance_id: str | None = None, device_path: str | None = None
        ) -> Any:
            held = backend.get_volume(volume_id).attachment
            if held is None:
                raise refuse("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
            owner = instance_id or held.instance.id
            result = original(backend, volume_id, owner, device_path)
            self._ec2.go(self._ec2.machines.detach_volume(owner, volume_id))
            return result

        return detach_volume

    def _delete_volume(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def delete_volume(backend: Any, volume_id: str) -> Any:
            result = original(backend, volume_id)
            self._ec2.go(self._ec2.machines.delete_volume(volume_id))
            return result

        return delete_volume

    def _snapshot(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_snapshot(backend: Any, volume_id: str, *args: Any, **named: Any) -> Any:
            snapshot = original(backend, volume_id, *args, **named)
            self._ec2.go(self._copy_bytes(volume_id, snapshot.id))
            return snapshot

        return create_snapshot

    def _image(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_image(backend: Any, instance_id: str, *args: Any, **named: Any) -> Any:
            asked = named.pop("tag_specifications", None) or []
            mine = [each for each in asked if each["ResourceType"] != "snapshot"]  # moto refuses the others
            ami = original(backend, instance_id, *args, tag_specifications=mine, **named)
            for each in asked:
                if each["ResourceType"] == "snapshot":
                    ami.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in each["Tags"]})
            ami.state = "pending"
            self._ec2.go(self._copy_disk(instance_id, ami))
            return ami

        return create_image

    async def _copy_disk(self, instance: str, ami: Any) -> None:
        try:
            self._ec2.images[ami.id] = await self._ec2.machines.snapshot_disk(instance)
        except OSError:
            ami.state = "failed"
            raise
        ami.state = "available"

    def _deregister(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def deregister_image(backend: Any, ami_id: str) -> Any:
            result = original(backend, ami_id)
            disk = self._ec2.images.pop(ami_id, None)
            if disk is not None and disk not in self._ec2.images.values():
                self._ec2.go(self._ec2.machines.delete_disk(disk))
            return result

        return deregister_image

    def _copy_image(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def copy_image(backend: Any, source_image_id: str, *args: Any, **named: Any) -> Any:
            ami = original(backend, source_image_id, *args, **named)
            if source_image_id in self._ec2.images:
                self._ec2.images[ami.id] = self._ec2.images[source_image_id]
            return ami

        return copy_image
