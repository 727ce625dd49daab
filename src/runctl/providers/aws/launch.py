"""Buy one machine: ask for it, see it run, and say what it means when it does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.errors import AccessError, MachineGone, RunctlError, UnreachableError, UsageError
from runctl.core.events import Notice
from runctl.providers.aws import tags
from runctl.providers.aws.fleet import ENDED
from runctl.providers.aws.request import run_instances

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Machine, Offer, Purchase
    from runctl.providers.aws.fleet import Fleet
    from runctl.providers.aws.images import Image
    from runctl.providers.aws.request import Account

UNSEEN_SECONDS = (
    60.0  # a new instance may be unknown to other calls for so long: EC2 is eventually consistent
)
RUNNING_SECONDS = 600.0  # from asking to running; it takes seconds, on bare metal and large GPUs minutes
PROFILE_SECONDS = 60.0  # until EC2 knows an instance profile that IAM has just made
# Why an instance ended before it was seen running (StateReason, EC2 API reference) → our code
_ENDS = {
    "Client.InternalError": "aws-launch-refused",  # in practice the key of an encrypted volume
    "Client.InvalidSnapshot.NotFound": "aws-launch-refused",
    "Client.VolumeLimitExceeded": "aws-quota",
    "Client.InstanceInitiatedShutdown": None,  # it has done its work already
    "Client.UserInitiatedShutdown": None,  # somebody ended it: whoever follows the run will see it gone
}


@dataclass(frozen=True)
class Launch:
    """Buys machines with the settings of an account."""

    fleet: Fleet
    account: Account

    def buy(self, offer: Offer, purchase: Purchase, image: Image, cancel: CancelToken) -> Machine:
        """The machine of ``offer``, running as far as that could be seen. Repeated with the same purchase it gives the same machine.

        A cancel, or a failure that leaves the purchase's fate open, is raised as it is: what was bought carries the
        run's tag.

        Raises:
            CapacityError: transient: there is none now, or it ended before it ran; else a quota.
            AccessError, UsageError: refused for good; nothing is owed.
            ReleaseOwed: ``aws-purchase-unsure``: refused after an attempt whose answer was lost.
            MachineGone: bought, and not seen within a minute.
        """
        request = run_instances(offer, purchase, image, self.account)
        instance = self._ask(request, offer, cancel)
        instance = self._running(instance, offer.region, cancel)
        machine = tags.machine_of(instance, offer.region)
        return replace(machine, offer=replace(offer, zone=machine.offer.zone or offer.zone))

    def _ask(self, request: dict[str, Any], offer: Offer, cancel: CancelToken) -> dict[str, Any]:
        """Send the request until its fate is known; the token makes repeating harmless."""
        clock, unclear = self.fleet.calls.clock, False
        begun = clock.monotonic()
        while True:
            try:
                answer = self.fleet.calls.call(
                    "ec2", "run_instances", cancel=cancel, region=offer.region, **request
                )
            except RunctlError as error:
                if error.code == "aws-token-reused":
                    bought = self.fleet.with_token(request["ClientToken"], offer.region, cancel)
                    if bought is not None:
                        return bought
                unclear = unclear or "unclear" in error.context
                patient = clock.monotonic() - begun < PROFILE_SECONDS
                if error.code == "aws-instance-profile" and patient and self._profile_is_there(cancel):
                    clock.sleep(1.0, cancel)
                    continue
                if unclear and isinstance(error, AccessError | UsageError):
                    # an earlier attempt got no answer: this refusal does not say what became of that one
                    raise known("aws-purchase-unsure", region=offer.region, detail=error.what) from error
                raise
            instance: dict[str, Any] = answer["Instances"][0]
            return instance

    def _profile_is_there(self, cancel: CancelToken) -> bool:
        """Whether IAM has the profile that EC2 does not know; false where we may not ask."""
        try:
            self.fleet.calls.call(
                "iam", "get_instance_profile", cancel=cancel, InstanceProfileName=self.account.profile
            )
        except RunctlError:
            cancel.check()
            return False
        return True

    def _running(self, instance: dict[str, Any], region: str, cancel: CancelToken) -> dict[str, Any]:
        """Wait until a new instance runs, or cannot be watched any more: it is bought all the same, and boots by itself.

        Raises what its early end means.
        """
        clock, instance_id = self.fleet.calls.clock, instance["InstanceId"]
        begun, delay, seen = clock.monotonic(), 0.1, instance
        while True:
            state = seen["State"]["Name"]
            if state in ENDED:
                error = early_end(seen)
                if error is not None:
                    raise error
            if state != "pending":
                return seen
            clock.sleep(delay, cancel)
            delay = min(delay * 1.5, 2.0)
            try:
                found = self.fleet.look(instance_id, region, cancel)
            except (AccessError, UsageError, UnreachableError) as error:
                self._say_unseen(instance_id, error)
                return seen
            waited = clock.monotonic() - begun
            if found is None and waited > UNSEEN_SECONDS:
                raise _never_seen(instance_id, region)
            if waited > RUNNING_SECONDS:
                self.fleet.release(instance_id, cancel)
                raise known(
                    "aws-launch-failed",
                    machine=instance_id,
                    region=region,
                    detail=f"it was still pending after {RUNNING_SECONDS:g} s, and has been terminated",
                )
            seen = found or seen

    def _say_unseen(self, instance_id: str, error: RunctlError) -> None:
        text = f"{instance_id} is bought and starts by itself; it cannot be watched: {error.what}"
        self.fleet.calls.emit(Notice("warning", text))


def _never_seen(instance_id: str, region: str) -> MachineGone:
    detail = f"{instance_id} was bought and not seen for {UNSEEN_SECONDS:g} s"
    error = known("aws-instance-unknown", region=region, detail=detail)
    assert isinstance(error, MachineGone)
    return error


def early_end(instance: Mapping[str, Any]) -> RunctlError | None:
    """What it means that a new instance has ended; None when it ended as it should, or by somebody's hand. Pure."""
    reason = instance.get("StateReason", {})
    code = reason.get("Code", "")
    ours = _ENDS.get(code, "aws-launch-failed")
    if ours is None:
        return None
    return known(
        ours,
        machine=instance["InstanceId"],
        region=instance.get("Placement", {}).get("AvailabilityZone", ""),
        detail=f"{code}: {reason.get('Message', '')}" if code else "AWS gives no reason",
        action="ec2:RunInstances",
        aws=code,
    )
