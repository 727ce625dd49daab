"""Images of ours as EC2 tells them, and what is refused before AWS is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from runctl.aws.calls import AwsCalls
from runctl.core.cancel import CancelToken
from runctl.core.errors import UsageError
from runctl.providers.aws import images
from runctl.providers.aws.baked import Images, image_of

ENTRY: dict[str, Any] = {
    "ImageId": "ami-0123456789abcdef0",
    "State": "available",
    "CreationDate": "2026-11-27T02:00:00.000Z",
    "Architecture": "x86_64",
    "RootDeviceName": "/dev/xvda",
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 30, "Encrypted": True}},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    ],
    "Tags": [
        {"Key": "runctl:image", "Value": "lab"},
        {"Key": "runctl:env-key", "Value": "k" * 32},
        {"Key": "runctl:packages", "Value": "12"},
    ],
}


class Calls:
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, _service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        self.asked.append((operation, parameters))
        return {}


def test_an_image_as_ec2_tells_it() -> None:
    image = image_of(ENTRY, "eu-west-1")
    assert (image.name, image.key, image.packages) == ("lab", "k" * 32, 12)
    assert (image.gb, image.encrypted, image.snapshots) == (30, True, ("snap-1",))
    assert image_of({"ImageId": "ami-1"}, "eu-west-1").to_json()["snapshots"] == []


def test_what_is_encrypted_with_the_accounts_own_key_is_not_shared() -> None:
    calls = Calls()
    ours = Images(cast("AwsCalls", calls), ["eu-west-1"])
    with pytest.raises(UsageError) as raised:
        ours.share(image_of(ENTRY, "eu-west-1"), ["123456789012"], CancelToken())
    assert raised.value.code == "image-not-shareable"
    assert calls.asked == []
    ours.share(replace(image_of(ENTRY, "eu-west-1"), encrypted=False), ["123456789012"], CancelToken())
    assert [operation for operation, _ in calls.asked] == [
        "modify_snapshot_attribute",
        "modify_image_attribute",
    ]


def test_removing_an_image_deletes_what_is_billed() -> None:
    calls = Calls()
    Images(cast("AwsCalls", calls), ["eu-west-1"]).remove(image_of(ENTRY, "eu-west-1"), CancelToken())
    assert [operation for operation, _ in calls.asked] == ["deregister_image", "delete_snapshot"]
    assert calls.asked[1][1]["SnapshotId"] == "snap-1"


@pytest.mark.parametrize(
    ("said", "is_name"),
    [("lab", True), ("", False), ("ami-0123456789abcdef0", False), ("/aws/service/x", False)],
)
def test_how_an_image_is_named(said: str, is_name: bool) -> None:
    assert images.is_name(said) is is_name
