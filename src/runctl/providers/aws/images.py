"""Which image a machine boots: the newest public one for its processor and GPU, found by AWS's own parameters.

Amazon Linux 2023 without GPU, and AWS's Deep Learning Base image on Amazon Linux 2023 with one: both have Python 3.9 or
later, the SSM agent, and `venv`. Names: ``/aws/service/ami-amazon-linux-latest/`` in the EC2 guide, and "Finding the
ID of a DLAMI" in the Deep Learning AMI guide; which GPUs its open driver knows stands in that image's release notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runctl.providers.aws.types import InstanceType

_PLAIN = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}"
_NVIDIA = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
_TOO_OLD = ("K80", "K520", "M60", "V100")  # before Turing: the open driver does not know them
_AMI = re.compile(r"ami-[0-9a-f]{8,17}\Z")


@dataclass(frozen=True)
class Image:
    """An image, and what a launch has to know of it."""

    id: str
    root_device: str
    least_gb: int  # its root volume cannot be smaller
    baked: str = ""  # the key of the environment that is in it


def parameter(machine: InstanceType) -> str | None:
    """The public parameter that names the image for a type; None where AWS has no image for its GPU. Pure."""
    if machine.gpus and (machine.gpu_maker != "NVIDIA" or machine.gpu in _TOO_OLD):
        return None
    return base(arch=machine.arch, gpus=machine.gpus)


def base(*, arch: str, gpus: int) -> str:
    """The public parameter for a machine that was offered: with a GPU it is one that the image knows. Pure."""
    return (_NVIDIA if gpus else _PLAIN).format(arch=arch)


def is_id(image: str) -> bool:
    """Whether an image is named by its id, not by a parameter. Pure."""
    return bool(_AMI.match(image))


def is_name(image: str) -> bool:
    """Whether it is the name of an image of ours, neither an id nor a parameter. Pure."""
    return bool(image) and not is_id(image) and not image.startswith("/")


def from_api(answers: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """The entries of ``DescribeImages`` as rows ``[id, root device, size of its root volume]``. Pure."""
    rows = []
    for answer in answers:
        root = answer.get("RootDeviceName") or "/dev/xvda"
        sizes = [
            int(device["Ebs"].get("VolumeSize") or 0)
            for device in answer.get("BlockDeviceMappings", ())
            if device.get("DeviceName") == root and "Ebs" in device
        ]
        rows.append([answer["ImageId"], root, max(sizes, default=0)])
    return rows


def missing(machines: Iterable[InstanceType]) -> Exception:
    """The error for types that no public image fits."""
    gpus = sorted({each.gpu for each in machines if each.gpu})
    return known("aws-no-image", gpu=", ".join(gpus) or "this processor")
