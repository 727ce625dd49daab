"""The tags on everything runctl buys, and an instance read back from them. Pure.

Undo goes by tag: what carries ``runctl:managed`` and a run is ours, whoever asks and from which computer. Keys hold to
what instance metadata allows in a tag's key (letters, digits and ``+-=.,_:@``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from runctl.aws.names import MANAGED, MANAGED_TAG
from runctl.core.model import Endpoint, Machine, Offer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.model import Purchase

RUN, ATTEMPT, PROJECT = "runctl:run", "runctl:attempt", "runctl:project"
OWNER, EXPIRES, PRICE, GPU = "runctl:owner", "runctl:expires-at", "runctl:price", "runctl:gpu"
HOME = "~/.runctl"  # $RUNCTL_HOME on machines we buy
LONGEST = 256  # characters of a tag's value


def of_purchase(offer: Offer, purchase: Purchase) -> dict[str, str]:
    """The tags of a machine bought as ``offer`` for ``purchase``; empty ones are left out."""
    tags = {
        "Name": f"runctl-{purchase.name or purchase.run_id}",
        **MANAGED,
        RUN: purchase.run_id,
        ATTEMPT: str(purchase.attempt),
        PROJECT: purchase.project,
        OWNER: purchase.owner,
        EXPIRES: "" if purchase.expires_at is None else purchase.expires_at.isoformat(timespec="seconds"),
        PRICE: f"{offer.price_per_hour} {offer.currency}",
        GPU: f"{offer.gpu}:{offer.gpus}" if offer.gpu else "",
    }
    return {key: value[:LONGEST] for key, value in tags.items() if value}


def of_instance(instance: Mapping[str, Any]) -> dict[str, str]:
    """The tags of an entry of ``DescribeInstances``."""
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}


def endpoint(instance_id: str, region: str) -> Endpoint:
    """How an instance is reached: through Systems Manager, in its region."""
    return Endpoint("ssm", f"{instance_id}@{region}", python="python3", home=HOME)


def machine_of(instance: Mapping[str, Any], region: str) -> Machine:
    """An entry of ``DescribeInstances`` as a machine. One without our tags has no run, no price, no name of ours."""
    tags = of_instance(instance)
    amount, _, currency = tags.get(PRICE, "").partition(" ")
    gpu, _, gpus = tags.get(GPU, "").partition(":")
    cpu, launched = instance.get("CpuOptions", {}), instance.get("LaunchTime")
    offer = Offer(
        provider="aws",
        machine_type=instance["InstanceType"],
        region=region,
        price_per_hour=_decimal(amount),
        currency=currency or "USD",
        spot=instance.get("InstanceLifecycle") == "spot",
        zone=instance.get("Placement", {}).get("AvailabilityZone", ""),
        cpus=cpu.get("CoreCount", 0) * cpu.get("ThreadsPerCore", 0),
        gpu=gpu,
        gpus=int(gpus) if gpus.isdecimal() else 0,
        arch=instance.get("Architecture", ""),
        price_source="as bought" if amount else "",
        image=instance.get("ImageId", ""),
    )
    return Machine(
        id=instance["InstanceId"],
        provider="aws",
        endpoint=endpoint(instance["InstanceId"], region),
        offer=offer,
        run_id=tags.get(RUN, ""),
        expires_at=_time(tags.get(EXPIRES, "")),
        state=instance["State"]["Name"],
        started_at=None if launched is None else launched.astimezone(UTC),
        name=tags.get("Name", "").removeprefix("runctl-"),
        project=tags.get(PROJECT, ""),
        owner=tags.get(OWNER, ""),
        attempt=int(tags.get(ATTEMPT, "1")) if tags.get(ATTEMPT, "1").isdecimal() else 1,
        notes=_notes(instance, tags),
    )


def _notes(instance: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
    reason = instance.get("StateReason", {})
    notes = {
        "managed": tags.get(MANAGED_TAG, ""),
        "address": instance.get("PrivateIpAddress", ""),
        "profile": instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2],
        "reason": reason.get("Code", ""),
        "reason_text": reason.get("Message", ""),
    }
    return {key: value for key, value in notes.items() if value}


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text or 0)
    except InvalidOperation:
        return Decimal(0)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
