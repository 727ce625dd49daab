"""Where things are: the addresses an instance finds the sandbox under, and the folders of a sandbox's machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IMDS_ADDRESS = "169.254.169.254"  # AWS's own
PROXY_ADDRESS = "169.254.169.253"  # on AWS the VPC's name server; here where packages come from
PROXY_PORT = 3128
MARKER = "RUNCTL_SANDBOX_MACHINES"  # environment variable of every process of a sandbox: the folder of its machines


class Layout:
    """The folders below `root`: instances, images, volumes, and the record of the processes that run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.instances = root / "instances"
        self.images = root / "images"
        self.volumes = root / "volumes"
        self.record = root / "processes.json"
        self.log = root / "keeper.log"

    def instance(self, instance_id: str) -> Path:
        """The folder of one instance: `upper`, `work`, `root`, `console.log`, `user-data`."""
        return self.instances / instance_id

    def volume(self, volume_id: str) -> Path:
        """The file (or, in plain mode, folder) of one volume."""
        return self.volumes / volume_id

    def create(self) -> None:
        """Makes the folders. Safe to repeat."""
        for folder in (self.instances, self.images, self.volumes):
            folder.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)  # disks of instances hold what their users put there
