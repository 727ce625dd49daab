"""Instances that exist: found by tag or id in every region we may buy in, ended, stopped, started."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from runctl.aws.errors import code_of
from runctl.aws.names import MANAGED_TAG
from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, MachineGone, RunctlError
from runctl.providers.aws import tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken
    from runctl.core.model import Machine

PAGE = 1000  # the most DescribeInstances gives at once
ALIVE = ("pending", "running", "stopping", "stopped")  # states in which something is billed, or can be again
ENDED = ("shutting-down", "terminated")  # billing ends when an instance begins to shut down for good
GONE_SECONDS = 60.0  # until a terminated instance has to show it
_ID = re.compile(r"(?P<id>i-[0-9a-f]{8}(?:[0-9a-f]{9})?)(?:@(?P<region>[a-z0-9-]+))?\Z")


@dataclass
class Fleet:
    """Instances in ``regions``.

    Every method may be repeated. Ids are ``i-0abc`` or ``i-0abc@us-west-2``; without a region all of them are searched.
    """

    calls: AwsCalls
    regions: list[str]
    page: int = PAGE
    _seen: dict[str, str] = field(default_factory=dict, init=False)  # id → region

    def cover(self, region: str) -> None:
        """Look in ``region`` as well from now on."""
        if region not in self.regions:
            self.regions.append(region)

    def ours(self, cancel: CancelToken) -> list[Machine]:
        """Every machine with our tag that is or may be billed. One call a region and a thousand machines."""
        wanted = {f"tag:{MANAGED_TAG}": ["true"], "instance-state-name": list(ALIVE)}
        found = self._search(wanted, self.regions, cancel)
        return [tags.machine_of(each, region) for region, each in found]

    def bought(self, run_id: str, attempt: int, cancel: CancelToken) -> Machine | None:
        """The machine that already lives for an attempt of a run; None when there is none, or none is seen yet."""
        wanted = {
            f"tag:{tags.RUN}": [run_id],
            f"tag:{tags.ATTEMPT}": [str(attempt)],
            "instance-state-name": ["pending", "running"],
        }
        found = self._search(wanted, self.regions, cancel)
        return tags.machine_of(found[0][1], found[0][0]) if found else None

    def with_token(self, token: str, region: str, cancel: CancelToken) -> dict[str, Any] | None:
        """The instance that was bought with a client token."""
        found = self._search({"client-token": [token]}, [region], cancel)
        return found[0][1] if found else None

    def look(self, instance_id: str, region: str, cancel: CancelToken) -> dict[str, Any] | None:
        """An instance as EC2 describes it; None while, or because, EC2 knows no such instance there."""
        self._seen[instance_id] = region
        try:
            answer = self.calls.call(
                "ec2", "describe_instances", cancel=cancel, region=region, InstanceIds=[instance_id]
            )
        except MachineGone as error:
            if code_of(error) == "InvalidInstanceID.NotFound":
                return None
            raise
        found: list[dict[str, Any]] = [each for r in answer["Reservations"] for each in r["Instances"]]
        return found[0] if found else None

    def machine(self, machine_id: str, cancel: CancelToken) -> Machine:
        """Any instance, ours or not. Raises ``aws-instance-unknown`` (MachineGone) when no region knows it."""
        instance, region = self._find(machine_id, cancel)
        if instance is None:
            where = ", ".join(self.regions)
            raise known("aws-instance-unknown", region=where, detail=f"nobody there knows {machine_id}")
        return tags.machine_of(instance, region)

    def release(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> None:
        """Terminate an instance and see that it ends. One that has ended, or is not known any more, is a success.

        The tag is looked at in the moment of the deletion, whatever anybody's records say.

        Args:
            machine_id: which one.
            cancel: ends the wait; whether it ended is then not known.
            not_mine: also one without our tag, because somebody named it.

        Raises:
            UsageError: ``aws-not-ours``, ``aws-id``.
            ReleaseOwed: it was, or may have been, asked to end, and has not been seen to.
            Cancelled: likewise, because somebody asked to stop.
        """
        instance_id = machine_id
        try:
            instance, region = self._find(machine_id, cancel)
            if instance is None or instance["State"]["Name"] in ENDED:
                return
            instance_id = instance["InstanceId"]
            _refuse_others(instance, not_mine=not_mine)
            self.calls.call(
                "ec2", "terminate_instances", cancel=cancel, region=region, InstanceIds=[instance_id]
            )
            self._await(instance_id, region, ENDED, cancel)
        except MachineGone:
            return
        except RunctlError as error:
            if isinstance(error, Cancelled) or error.code in ("aws-not-ours", "aws-id"):
                raise
            raise _owed(instance_id, self._seen.get(instance_id, ""), error) from error

    def stop(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> None:
        """Stop an instance and wait until it has; its disk stays, and is billed.

        Raises:
            RunctlError: ``aws-not-ours``, ``aws-spot-cannot-stop``, ``aws-instance-state``, ``aws-instance-unknown``.
        """
        instance_id, region = self._mine(machine_id, cancel, not_mine=not_mine)
        self.calls.call("ec2", "stop_instances", cancel=cancel, region=region, InstanceIds=[instance_id])
        self._await(instance_id, region, ("stopped", *ENDED), cancel, seconds=600)

    def start(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> Machine:
        """Start a stopped instance and wait until it runs. Raises as ``stop`` does, and ``aws-no-capacity``."""
        instance_id, region = self._mine(machine_id, cancel, not_mine=not_mine)
        self.calls.call("ec2", "start_instances", cancel=cancel, region=region, InstanceIds=[instance_id])
        instance = self._await(instance_id, region, ("running", *ENDED), cancel, seconds=600)
        return tags.machine_of(instance, region)

    def _mine(self, machine_id: str, cancel: CancelToken, *, not_mine: bool) -> tuple[str, str]:
        """The id and region of an instance that may be acted upon."""
        instance, region = self._find(machine_id, cancel)
        if instance is None:
            where = ", ".join(self.regions)
            raise known("aws-instance-unknown", region=where, detail=f"nobody there knows {machine_id}")
        _refuse_others(instance, not_mine=not_mine)
        return instance["InstanceId"], region

    def _await(
        self,
        instance_id: str,
        region: str,
        states: Sequence[str],
        cancel: CancelToken,
        *,
        seconds: float = GONE_SECONDS,
    ) -> dict[str, Any]:
        """Wait until an instance is in one of ``states``. Raises ``MachineGone``, ``aws-too-slow``."""
        clock = self.calls.clock
        begun, delay = clock.monotonic(), 0.1
        while True:
            instance = self.look(instance_id, region, cancel)
            if instance is None:
                raise known(
                    "aws-instance-unknown", region=region, detail=f"{instance_id} is not known any more"
                )
            if instance["State"]["Name"] in states:
                return instance
            if clock.monotonic() - begun > seconds:
                raise known(
                    "aws-too-slow",
                    machine=instance_id,
                    region=region,
                    state=instance["State"]["Name"],
                    wanted=states[0],
                    seconds=round(seconds),
                )
            clock.sleep(delay, cancel)
            delay = min(delay * 1.5, 2.0)

    def _find(self, machine_id: str, cancel: CancelToken) -> tuple[dict[str, Any] | None, str]:
        """An instance and its region, by id alone or with its region. Raises ``aws-id``."""
        said = _ID.match(machine_id)
        if said is None:
            raise known("aws-id", id=machine_id)
        instance_id = said["id"]
        region = said["region"] or self._seen.get(instance_id)
        regions = [region] if region else self.regions
        found = self._search({"instance-id": [instance_id]}, regions, cancel)
        if not found:
            return None, ""
        self._seen[instance_id] = found[0][0]
        return found[0][1], found[0][0]

    def _search(
        self, wanted: Mapping[str, Sequence[str]], regions: Iterable[str], cancel: CancelToken
    ) -> list[tuple[str, dict[str, Any]]]:
        """Instances by filter, in all ``regions`` at once, with their regions. One region that fails fails the search.

        An empty answer must mean that there is nothing: bills depend on it.
        """
        regions = list(regions)
        found: dict[str, list[dict[str, Any]]] = {}

        def look(region: str, inner: CancelToken) -> None:
            pages = self.calls.pages(
                "ec2",
                "describe_instances",
                cancel=inner,
                region=region,
                MaxResults=self.page,
                Filters=[{"Name": name, "Values": list(values)} for name, values in wanted.items()],
            )
            found[region] = [
                each for page in pages for held in page["Reservations"] for each in held["Instances"]
            ]

        with together(cancel) as scope:
            for region in regions:
                scope.start(region, partial(look, region, scope.cancel))
        both = [(region, each) for region in regions for each in found[region]]
        self._seen.update({each["InstanceId"]: region for region, each in both})
        return both


def _refuse_others(instance: Mapping[str, Any], *, not_mine: bool) -> None:
    if not not_mine and tags.of_instance(instance).get(MANAGED_TAG) != "true":
        raise known("aws-not-ours", machine=instance["InstanceId"])


def _owed(machine_id: str, region: str, error: RunctlError) -> RunctlError:
    detail = f"{error.what}: {error.why}" if error.why else error.what
    return known("aws-release-unsure", machine=machine_id, region=region or "REGION", detail=detail)
