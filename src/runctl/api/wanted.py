"""What the settings ask of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.core.catalogue import known
from runctl.core.model import Resources

if TYPE_CHECKING:
    from runctl.project.config import Config


def resources(settings: Config) -> Resources:
    """What the settings ask of a machine. Raises ``usage`` for a number of GPUs that is none."""
    gpu, _, number = settings.text("gpu").partition(":")
    if number and not (number.isdigit() and int(number)):
        raise known(
            "usage", why=f"--gpu {settings.text('gpu')} needs a number of GPUs after the colon: A10G:2"
        )
    cpus = settings.number("cpus")
    region = settings.text("aws.region")
    return Resources(
        gpu=gpu or None,
        gpus=int(number or 1),
        cpus=None if cpus is None else int(cpus),
        memory_gb=settings.number("memory"),
        disk_gb=settings.number("disk"),
        machine_type=settings.text("instance_type") or None,
        machine=settings.text("machine"),
        spot=settings.flag("spot"),
        fallback=not settings.flag("no_fallback"),
        regions=((region,) if region else ()) + settings.items("aws.regions"),
        image=settings.text("aws.image"),
        cache_volume=settings.text("cache_volume"),
        cache_gb=int(settings.number("cache_volume_gb") or 0),
    )
