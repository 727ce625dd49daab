"""The request that buys a machine, complete: a pure function of the offer, the purchase and the settings.

Repeating it byte for byte with the same client token gives the same instance ("Ensuring idempotency", EC2 API
reference); so nothing in it may depend on the moment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.providers.aws import tags
from runctl.providers.aws.offers import disk_gb

if TYPE_CHECKING:
    from runctl.core.model import Offer, Purchase
    from runctl.providers.aws.images import Image

LONGEST_TOKEN = 64


@dataclass(frozen=True)
class Account:
    """What machines are given by the settings of whoever buys; empty: EC2's own default, or none."""

    profile: str = ""
    subnet: str = ""
    security_group: str = ""


def client_token(offer: Offer, purchase: Purchase) -> str:
    """What names the purchase of this offer for this attempt, the same whenever it is asked."""
    what = f"{offer.region}/{offer.zone}/{offer.machine_type}/{offer.spot}"
    run = purchase.run_id
    digest = hashlib.sha256(f"{run}/{purchase.attempt}/{what}".encode()).hexdigest()[:16]
    return f"rc-{run}-{purchase.attempt}"[: LONGEST_TOKEN - 17] + f"-{digest}"


def run_instances(offer: Offer, purchase: Purchase, image: Image, account: Account) -> dict[str, Any]:
    """The parameters of ``RunInstances``.

    The metadata service answers tokens only (IMDSv2) and no packet that was forwarded; the root volume is encrypted and
    goes with the machine; every resource that comes into being carries our tags from its first moment.
    """
    size = disk_gb(purchase.disk_gb, gpus=offer.gpus, least_gb=image.least_gb)
    request: dict[str, Any] = {
        "ClientToken": client_token(offer, purchase),
        "ImageId": image.id,
        "InstanceType": offer.machine_type,
        "MinCount": 1,
        "MaxCount": 1,
        # the deadline on the machine is a shutdown: what was bought for one run ends with it
        "InstanceInitiatedShutdownBehavior": "terminate",  # its deadline ends it for good, and its bill with it
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "InstanceMetadataTags": "enabled",
        },
        "BlockDeviceMappings": [
            {
                "DeviceName": image.root_device,
                "Ebs": {
                    "VolumeSize": size,
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "TagSpecifications": _tag_specifications(offer, purchase),
    }
    if purchase.user_data:
        request["UserData"] = purchase.user_data
    if account.profile:
        request["IamInstanceProfile"] = {"Name": account.profile}
    if account.subnet:
        request["SubnetId"] = account.subnet
    elif offer.zone:
        request["Placement"] = {"AvailabilityZone": offer.zone}
    if account.security_group:
        request["SecurityGroupIds"] = [account.security_group]
    if offer.spot:
        # without MaxPrice: a ceiling below the on-demand price only brings interruptions
        request["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
    return request


def _tag_specifications(offer: Offer, purchase: Purchase) -> list[dict[str, Any]]:
    pairs = [{"Key": key, "Value": value} for key, value in tags.of_purchase(offer, purchase).items()]
    kinds = ["instance", "volume", "network-interface"]
    if offer.spot:
        kinds.append("spot-instances-request")
    return [{"ResourceType": kind, "Tags": pairs} for kind in kinds]
