"""``runctl clean --store``: what of the account's bucket nobody uses; nothing of it is younger than a sync counts on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.sandbox.cloud_world import sandbox

if TYPE_CHECKING:
    from tests.conftest import World


def test_the_bucket_of_the_account_is_looked_at(world: World) -> None:
    with sandbox(world.root / "cloud", "--plain") as box:
        world.env |= box.values
        account = box.client("sts").get_caller_identity()["Account"]
        bucket = f"runctl-{account}-{box.values['AWS_REGION']}"
        box.client("s3").create_bucket(Bucket=bucket)
        box.client("s3").put_object(Bucket=bucket, Key="runctl/packs/x", Body=b"12345")
        (found,) = world.runctl("clean", "--store", "--dry-run", "--json").json()
        assert found == {
            "url": f"s3://{bucket}/runctl",
            "trees": [],
            "packs": [],
            "bytes": 0,
            "kept_objects": 1,
            "kept_bytes": 5,
        }
        told = world.runctl("clean", "--store")
        assert told.code == 0, told.err
        assert f"s3://{bucket}/runctl: 0 trees and 0 packs, 0 B unused; 1 object, 5 B stay" in told.out
        short = world.runctl("clean", "--store", "--days", "29")
        assert short.code == 2
        assert "30 days" in short.err
