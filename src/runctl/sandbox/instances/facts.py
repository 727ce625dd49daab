"""What is known about one instance: what it was asked to be, and what its metadata service tells it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Facts:
    """One instance. `at` times are seconds since 1970; `volumes` maps a volume's id to its device's name."""

    id: str
    folder: Path
    address: str
    instance_type: str = "t3.micro"
    profile: str = ""
    spot: bool = False
    region: str = "us-east-1"
    zone: str = "us-east-1a"
    image_id: str = "ami-00000000"
    account: str = "123456789012"
    tags: dict[str, str] = field(default_factory=dict)
    show_tags: bool = False
    user_data: bytes = b""
    launched: float = 0.0
    notice: tuple[str, float] | None = None
    rebalance: float | None = None
    volumes: dict[str, str] = field(default_factory=dict)
    services: list[dict[str, Any]] = field(default_factory=list)
    name: str = ""
    on_end: Callable[[str], None] | None = None
    up: bool = False

    @property
    def hostname(self) -> str:
        """Its own name, else the one EC2 would give it: `ip-172-31-0-5.us-west-2.compute.internal`."""
        if self.name:
            return self.name
        zone = "ec2" if self.region == "us-east-1" else f"{self.region}.compute"
        return f"ip-{self.address.replace('.', '-')}.{zone}.internal"

    @property
    def mac(self) -> str:
        """A made-up, locally administered Ethernet address that stays the same."""
        digits = hashlib.sha256(self.id.encode()).hexdigest()
        return ":".join(["02", *(digits[at : at + 2] for at in range(0, 10, 2))])

    @property
    def prefix(self) -> int:
        """How much of the address is the network's: all instances with the same first 16 bits see each other."""
        return 16


def device_names(device: str, volume_id: str, number: int) -> list[str]:
    """The names below /dev of an attached volume: what was asked for, then those that AWS's kernels give it.

    `number` is the volume's place among those attached: `/dev/nvme<number>n1`, as on Nitro machines.
    """
    asked = device.removeprefix("/dev/")
    names = [
        asked,
        f"nvme{number}n1",
        f"disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}",
    ]
    if asked.startswith("sd"):
        names.insert(1, "xvd" + asked[2:])
    return list(dict.fromkeys(names))
