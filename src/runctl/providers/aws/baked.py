"""Images of our own, with an environment in them: made of an instance, found by tag, shared, deleted with their snapshots.

Whatever an image is for stands in its tags from its first moment, so that one that was being made when the client was
killed is seen and can be pruned like any other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from runctl.aws.names import MANAGED, MANAGED_TAG
from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.providers.aws import tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken

NAME, ENVIRONMENT, KEY, BASE = "runctl:image", "runctl:environment", "runctl:env-key", "runctl:base"
PACKAGES, SECONDS, SCRIPT = "runctl:packages", "runctl:build-seconds", "runctl:script"
AVAILABLE_SECONDS = (
    3600.0  # until an image is there: EC2 copies the disk; a hundred gigabytes take tens of minutes
)
SEEN_EVERY = 5.0  # seconds between two looks, once it has taken a while


@dataclass(frozen=True)
class BakedImage:
    """An image of ours. ``environment`` is the digest of the dependencies it was baked for, ``key`` the environment's.

    ``base`` is the public image it stands on, as it was asked for. Sizes in gigabytes of the disk it copies.
    """

    id: str
    region: str
    name: str
    state: str
    created_at: str
    environment: str
    key: str
    base: str
    packages: int
    build_seconds: float
    script: str
    owner: str
    arch: str
    root_device: str
    gb: int
    encrypted: bool
    snapshots: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"snapshots": list(self.snapshots)}


def image_of(entry: Mapping[str, Any], region: str) -> BakedImage:
    """An entry of ``DescribeImages``. Pure."""
    told = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", ())}
    disks = [each["Ebs"] for each in entry.get("BlockDeviceMappings", ()) if "Ebs" in each]
    return BakedImage(
        id=entry["ImageId"],
        region=region,
        name=told.get(NAME, ""),
        state=entry.get("State", ""),
        created_at=entry.get("CreationDate", ""),
        environment=told.get(ENVIRONMENT, ""),
        key=told.get(KEY, ""),
        base=told.get(BASE, ""),
        packages=int(told.get(PACKAGES, 0)),
        build_seconds=float(told.get(SECONDS, 0)),
        script=told.get(SCRIPT, ""),
        owner=told.get(tags.OWNER, ""),
        arch=entry.get("Architecture", ""),
        root_device=entry.get("RootDeviceName") or "/dev/xvda",
        gb=sum(int(disk.get("VolumeSize") or 0) for disk in disks),
        encrypted=any(disk.get("Encrypted") for disk in disks),
        snapshots=tuple(disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")),
    )


@dataclass(frozen=True)
class Images:
    """Our images in ``regions``. Every method may be repeated."""

    calls: AwsCalls
    regions: Sequence[str]

    def all(self, cancel: CancelToken) -> list[BakedImage]:
        """Every image with our tag, the newest first. One call a region."""
        return self.find({MANAGED_TAG: "true"}, cancel)

    def find(self, wanted: Mapping[str, str], cancel: CancelToken) -> list[BakedImage]:
        """Our images whose tags say so, the newest first."""
        found: dict[str, list[BakedImage]] = {}

        def look(region: str, inner: CancelToken) -> None:
            filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]
            answer = self.calls.call(
                "ec2", "describe_images", cancel=inner, region=region, Owners=["self"], Filters=filters
            )
            found[region] = [image_of(each, region) for each in answer["Images"]]

        with together(cancel) as scope:
            for region in self.regions:
                scope.start(region, partial(look, region, scope.cancel))
        every = [each for region in self.regions for each in found[region]]
        return sorted(every, key=lambda each: each.created_at, reverse=True)

    def named(self, word: str, cancel: CancelToken) -> BakedImage:
        """The image with that id, or the newest of that name. Raises ``image-unknown``."""
        for each in self.all(cancel):
            if word in (each.id, each.name):
                return each
        raise known("image-unknown", image=word, regions=", ".join(self.regions))

    def make(
        self, machine_id: str, region: str, *, title: str, told: Mapping[str, str], cancel: CancelToken
    ) -> str:
        """Begin an image of an instance, which EC2 restarts so that its files are whole; the image's id.

        ``title`` is unique in the account and region: repeating the call with it finds the first one's image.
        """
        pairs = [
            {"Key": key, "Value": value[: tags.LONGEST]}
            for key, value in {**MANAGED, **told}.items()
            if value
        ]
        answer = self.calls.call(
            "ec2",
            "create_image",
            cancel=cancel,
            region=region,
            InstanceId=machine_id,
            Name=title,
            TagSpecifications=[{"ResourceType": kind, "Tags": pairs} for kind in ("image", "snapshot")],
        )
        return str(answer["ImageId"])

    def await_available(self, image_id: str, region: str, cancel: CancelToken) -> BakedImage:
        """Wait until an image can be used. Raises ``image-failed``."""
        clock = self.calls.clock
        begun, delay = clock.monotonic(), 0.1
        while True:
            answer = self.calls.call(
                "ec2", "describe_images", cancel=cancel, region=region, ImageIds=[image_id]
            )
            found = image_of(answer["Images"][0], region) if answer["Images"] else None
            if found is not None and found.state == "available":
                return found
            state = "gone" if found is None else found.state
            late = clock.monotonic() - begun > AVAILABLE_SECONDS
            if late or state in ("failed", "error", "invalid", "deregistered"):
                reason = dict(answer["Images"][0].get("StateReason", {})) if answer["Images"] else {}
                detail = reason.get("Message") or f"it is {state} after {clock.monotonic() - begun:.0f} s"
                raise known("image-failed", image=image_id, region=region, detail=detail)
            clock.sleep(delay, cancel)
            delay = min(delay * 1.5, SEEN_EVERY)

    def remove(self, image: BakedImage, cancel: CancelToken) -> None:
        """Deregister an image, and delete its snapshots, which is what is billed."""
        self.calls.call("ec2", "deregister_image", cancel=cancel, region=image.region, ImageId=image.id)
        for snapshot in image.snapshots:
            self.calls.call("ec2", "delete_snapshot", cancel=cancel, region=image.region, SnapshotId=snapshot)

    def share(self, image: BakedImage, accounts: Sequence[str], cancel: CancelToken) -> None:
        """Let other accounts launch an image. Raises ``image-not-shareable`` for one under this account's own key."""
        if image.encrypted:
            raise known("image-not-shareable", image=image.id)
        for snapshot in image.snapshots:
            self.calls.call(
                "ec2",
                "modify_snapshot_attribute",
                cancel=cancel,
                region=image.region,
                SnapshotId=snapshot,
                Attribute="createVolumePermission",
                OperationType="add",
                UserIds=list(accounts),
            )
        self.calls.call(
            "ec2",
            "modify_image_attribute",
            cancel=cancel,
            region=image.region,
            ImageId=image.id,
            LaunchPermission={"Add": [{"UserId": each} for each in accounts]},
        )
