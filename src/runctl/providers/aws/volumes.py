"""EBS volumes and snapshots of ours: made, found by tag, attached, deleted. Every wait ends in a state that was seen.

Sizes and limits of gp3 are those of "Amazon EBS General Purpose SSD volumes" in the EBS guide.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from runctl.aws.names import MANAGED, MANAGED_TAG
from runctl.core.cancel import limited, together
from runctl.core.catalogue import known
from runctl.providers.aws.prices import remembered_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken

_Thing = TypeVar("_Thing")
NAME = "runctl:volume"
AUTOMATIC = "runctl:automatic"  # a snapshot that was made at the end of a run
BASE_IOPS, MOST_IOPS, IOPS_A_GB = 3000, 16000, 500  # gp3
BASE_MBS, MOST_MBS, IOPS_A_MBS = 125, 1000, 4  # MiB/s of gp3, and how many IOPS one of them takes
READ_SECONDS = 600  # a volume should be read once in about this time
STATE_SECONDS = 300.0  # until a volume is in the state it was brought to
SNAPSHOT_SECONDS = 6 * 3600.0  # the first snapshot of a full volume of terabytes takes hours
UNDO_SECONDS = 20.0
CENT = Decimal("0.01")
LETTERS = "fghijklmnop"  # /dev/sd[f-p] are recommended for data volumes ("Device names", EC2 guide)


@dataclass(frozen=True)
class Volume:
    """A volume of ours. ``gb`` in GiB, as EBS counts; ``machine`` and ``device`` where it is attached."""

    id: str
    region: str
    zone: str
    name: str
    state: str
    gb: int
    kind: str
    iops: int
    mbs: int
    snapshot: str
    encrypted: bool
    created_at: str
    machine: str = ""
    device: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of one of our volumes."""

    id: str
    region: str
    name: str
    state: str
    gb: int
    volume: str
    created_at: str
    automatic: bool = False  # made at the end of a run, and replaced by a newer one

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Wanted:
    """A volume that does not exist yet. ``snapshot``: what it begins with; empty: nothing."""

    zone: str
    gb: int
    name: str = ""
    kind: str = "gp3"
    iops: int | None = None
    mbs: int | None = None
    snapshot: str = ""

    @property
    def region(self) -> str:
        """The region of its zone. Pure."""
        return self.zone[:-1]


def speed(gb: int) -> tuple[int, int]:
    """IOPS and MiB/s for a gp3 volume: what reads it once in about ten minutes, within what it may have. Pure.

    Small volumes get the base line, which costs nothing.
    """
    mbs = min(max(BASE_MBS, -(-gb * 1024 // READ_SECONDS)), MOST_MBS)
    iops = min(max(BASE_IOPS, mbs * IOPS_A_MBS), MOST_IOPS, max(BASE_IOPS, gb * IOPS_A_GB))
    return iops, mbs


def volume_of(entry: Mapping[str, Any], region: str) -> Volume:
    """An entry of ``DescribeVolumes``. Pure."""
    told = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", ())}
    held: Mapping[str, Any] = next(
        (each for each in entry.get("Attachments", ()) if each.get("State") != "detached"), {}
    )
    created = entry.get("CreateTime")
    return Volume(
        id=entry["VolumeId"],
        region=region,
        zone=entry.get("AvailabilityZone", ""),
        name=told.get(NAME, ""),
        state=entry.get("State", ""),
        gb=int(entry.get("Size") or 0),
        kind=entry.get("VolumeType", ""),
        iops=int(entry.get("Iops") or 0),
        mbs=int(entry.get("Throughput") or 0),
        snapshot=entry.get("SnapshotId") or "",
        encrypted=bool(entry.get("Encrypted")),
        created_at="" if created is None else created.isoformat(timespec="seconds"),
        machine=held.get("InstanceId", ""),
        device=held.get("Device", ""),
    )


def snapshot_of(entry: Mapping[str, Any], region: str) -> Snapshot:
    """An entry of ``DescribeSnapshots``. Pure."""
    told = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", ())}
    begun = entry.get("StartTime")
    return Snapshot(
        id=entry["SnapshotId"],
        region=region,
        name=told.get(NAME, ""),
        state=entry.get("State", ""),
        gb=int(entry.get("VolumeSize") or 0),
        volume=entry.get("VolumeId", ""),
        created_at="" if begun is None else begun.isoformat(timespec="seconds"),
        automatic=AUTOMATIC in told,
    )


@dataclass(frozen=True)
class Volumes:
    """Our volumes in ``regions``. What only asks may be repeated; so may attach, detach and delete."""

    calls: AwsCalls
    regions: Sequence[str]

    def all(self, cancel: CancelToken) -> list[Volume]:
        """Every volume that somebody made with ``create``, by name; the disks of machines are not among them."""
        found = self._everywhere("describe_volumes", "Volumes", volume_of, cancel)
        return sorted(found, key=lambda each: (each.name, each.id))

    def snapshots(self, cancel: CancelToken) -> list[Snapshot]:
        """Every snapshot of ours, the newest first."""
        found = self._everywhere("describe_snapshots", "Snapshots", snapshot_of, cancel)
        return sorted(found, key=lambda each: each.created_at, reverse=True)

    def _everywhere(
        self,
        operation: str,
        field: str,
        made: Callable[[Mapping[str, Any], str], _Thing],
        cancel: CancelToken,
    ) -> list[_Thing]:
        found: dict[str, list[_Thing]] = {}
        filters = [
            {"Name": f"tag:{MANAGED_TAG}", "Values": ["true"]},
            {"Name": "tag-key", "Values": [NAME]},
        ]

        def look(region: str, inner: CancelToken) -> None:
            pages = self.calls.pages("ec2", operation, cancel=inner, region=region, Filters=filters)
            found[region] = [made(each, region) for page in pages for each in page[field]]

        with together(cancel) as scope:
            for region in self.regions:
                scope.start(region, partial(look, region, scope.cancel))
        return [each for region in self.regions for each in found[region]]

    def named(self, word: str, cancel: CancelToken) -> Volume:
        """The volume with that id, or the only one of that name. Raises ``volume-unknown``, ``volume-ambiguous``."""
        found = [each for each in self.all(cancel) if word in (each.id, each.name)]
        if not found:
            raise known("volume-unknown", volume=word, regions=", ".join(self.regions))
        if len(found) > 1:
            raise known("volume-ambiguous", volume=word, ids=", ".join(each.id for each in found))
        return found[0]

    def snapshot_named(self, word: str, cancel: CancelToken) -> Snapshot:
        """The snapshot with that id, or the newest complete one of that name. Raises ``volume-unknown``."""
        for each in self.snapshots(cancel):
            if word == each.id or (word == each.name and each.state == "completed"):
                return each
        raise known("volume-unknown", volume=word, regions=", ".join(self.regions))

    def zones(self, region: str, cancel: CancelToken) -> list[str]:
        """The zones of a region that are open, by name."""
        answer = self.calls.call("ec2", "describe_availability_zones", cancel=cancel, region=region)
        return sorted(
            each["ZoneName"]
            for each in answer["AvailabilityZones"]
            if each.get("State", "available") == "available"
        )

    def create(self, wanted: Wanted, cancel: CancelToken) -> Volume:
        """Make a volume and see it available; one that does not become so is deleted again."""
        pairs = _tags(wanted.name or wanted.snapshot or "volume")
        request: dict[str, Any] = {
            "AvailabilityZone": wanted.zone,
            "Size": wanted.gb,
            "VolumeType": wanted.kind,
            "Encrypted": True,
            "ClientToken": str(uuid4()),
            "TagSpecifications": [{"ResourceType": "volume", "Tags": pairs}],
        }
        if wanted.kind == "gp3":
            iops, mbs = speed(wanted.gb)
            request |= {"Iops": wanted.iops or iops, "Throughput": wanted.mbs or mbs}
        elif wanted.iops:
            request["Iops"] = wanted.iops
        if wanted.snapshot:
            request["SnapshotId"] = wanted.snapshot
        answer = self.calls.call("ec2", "create_volume", cancel=cancel, region=wanted.region, **request)
        try:
            return self._await(answer["VolumeId"], wanted.region, "available", cancel)
        except BaseException:
            with limited(cancel, UNDO_SECONDS) as soon:
                self._delete(answer["VolumeId"], wanted.region, soon)
            raise

    def attach(self, volume: Volume, machine_id: str, cancel: CancelToken) -> Volume:
        """Attach it to a machine of its zone, and see it so. Raises ``volume-attached`` where another has it."""
        if volume.machine == machine_id:
            return volume
        if volume.machine:
            raise known("volume-attached", volume=volume.id, machine=volume.machine)
        answer = self.calls.call(
            "ec2",
            "describe_volumes",
            cancel=cancel,
            region=volume.region,
            Filters=[{"Name": "attachment.instance-id", "Values": [machine_id]}],
        )
        taken = {held["Device"][-1] for each in answer["Volumes"] for held in each["Attachments"]}
        letter = next(each for each in LETTERS if each not in taken)
        self.calls.call(
            "ec2",
            "attach_volume",
            cancel=cancel,
            region=volume.region,
            VolumeId=volume.id,
            InstanceId=machine_id,
            Device=f"/dev/sd{letter}",
        )
        return self._await(volume.id, volume.region, "in-use", cancel)

    def detach(self, volume: Volume, cancel: CancelToken) -> Volume:
        """Detach it and see it free. It is to be unmounted before."""
        if volume.machine:
            self.calls.call("ec2", "detach_volume", cancel=cancel, region=volume.region, VolumeId=volume.id)
        return self._await(volume.id, volume.region, "available", cancel)

    def delete(self, volume: Volume, cancel: CancelToken) -> None:
        """Delete it for good. Raises ``volume-attached``."""
        if volume.machine:
            raise known("volume-attached", volume=volume.id, machine=volume.machine)
        self._delete(volume.id, volume.region, cancel)

    def _delete(self, volume_id: str, region: str, cancel: CancelToken) -> None:
        self.calls.call("ec2", "delete_volume", cancel=cancel, region=region, VolumeId=volume_id)

    def snapshot(self, volume: Volume, cancel: CancelToken) -> Snapshot:
        """Copy its present bytes into a snapshot, and see it complete; the copying goes on if the wait is cancelled."""
        snapshot_id, clock = self.begin_snapshot(volume, cancel), self.calls.clock
        begun, delay = clock.monotonic(), 0.1
        while True:
            answer = self.calls.call(
                "ec2", "describe_snapshots", cancel=cancel, region=volume.region, SnapshotIds=[snapshot_id]
            )
            found = snapshot_of(answer["Snapshots"][0], volume.region)
            if found.state == "completed":
                return found
            if found.state == "error" or clock.monotonic() - begun > SNAPSHOT_SECONDS:
                raise known("volume-state", volume=snapshot_id, state=found.state, wanted="completed")
            clock.sleep(delay, cancel)
            delay = min(delay * 1.5, 10.0)

    def begin_snapshot(self, volume: Volume, cancel: CancelToken, *, automatic: bool = False) -> str:
        """Begin to copy its present bytes; the id of the snapshot, which becomes complete by itself."""
        pairs = _tags(volume.name) + [{"Key": AUTOMATIC, "Value": "true"}] * automatic
        answer = self.calls.call(
            "ec2",
            "create_snapshot",
            cancel=cancel,
            region=volume.region,
            VolumeId=volume.id,
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": pairs}],
        )
        return str(answer["SnapshotId"])

    def delete_snapshot(self, snapshot: Snapshot, cancel: CancelToken) -> None:
        """Delete it for good."""
        self.calls.call(
            "ec2", "delete_snapshot", cancel=cancel, region=snapshot.region, SnapshotId=snapshot.id
        )

    def await_free(self, volume_id: str, region: str, cancel: CancelToken, *, seconds: float) -> Volume:
        """Wait until the machine that had it has given it back. Raises ``volume-state``."""
        return self._await(volume_id, region, "available", cancel, seconds=seconds)

    def _await(
        self,
        volume_id: str,
        region: str,
        state: str,
        cancel: CancelToken,
        *,
        seconds: float = STATE_SECONDS,
    ) -> Volume:
        """Wait until it is in ``state``, and attached if that says so. Raises ``volume-state``."""
        clock = self.calls.clock
        begun, delay = clock.monotonic(), 0.1
        while True:
            answer = self.calls.call(
                "ec2", "describe_volumes", cancel=cancel, region=region, VolumeIds=[volume_id]
            )
            entry = answer["Volumes"][0]
            attached = any(each.get("State") == "attached" for each in entry.get("Attachments", ()))
            if entry["State"] == state and attached == (state == "in-use"):
                return volume_of(entry, region)
            if entry["State"] == "error" or clock.monotonic() - begun > seconds:
                raise known("volume-state", volume=volume_id, state=entry["State"], wanted=state)
            clock.sleep(delay, cancel)
            delay = min(delay * 1.5, 2.0)


def month_of(volume: Volume) -> Decimal | None:
    """What a volume of gp3 costs a month for its size; None of another kind, or where the table lacks the region."""
    price = remembered_disk(volume.region) if volume.kind == "gp3" else None
    return None if price is None else (price.amount * volume.gb).quantize(CENT)


def _tags(name: str) -> list[dict[str, str]]:
    pairs = {"Name": f"runctl-{name}", **MANAGED, NAME: name}
    return [{"Key": key, "Value": value} for key, value in pairs.items()]
