"""EC2 as a provider: offers by need, machines leased by tag, reached through Systems Manager."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from runctl.aws import doctor
from runctl.aws.calls import AwsCalls
from runctl.aws.explain import explain
from runctl.aws.names import default_bucket
from runctl.aws.probes import account as examined
from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, NotBought
from runctl.core.model import Held
from runctl.core.ports import Features
from runctl.project.places import cache_dir, state_dir
from runctl.providers.aws.baked import Images
from runctl.providers.aws.cache import AnswerCache
from runctl.providers.aws.caches import Caches
from runctl.providers.aws.fleet import Fleet
from runctl.providers.aws.launch import Launch
from runctl.providers.aws.market import Market
from runctl.providers.aws.regions import RegionsUsed
from runctl.providers.aws.request import Account
from runctl.providers.aws.shop import Shop
from runctl.providers.aws.tags import HOME, endpoint
from runctl.providers.aws.volumes import Volumes, month_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.checks import Probe
    from runctl.core.errors import RunctlError
    from runctl.core.model import CacheVolume, Endpoint, Machine, Offer, Purchase, Resources
    from runctl.core.ports import Surroundings


class AwsProvider:
    """Leases EC2 instances in the regions that the settings allow. Nothing is asked of AWS before a method needs it."""

    name = "aws"
    features = Features(
        costs_money=True,
        exclusive=True,
        spot=True,
        notice_seconds=120,
        boots_agent=True,
        home=HOME,
        purchase_open_seconds=900.0,  # a signed request is refused once it is five minutes old (SigV4)
        least_billed_seconds=60,  # AWS bills Linux by the second, a minute at least
    )

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self.calls = AwsCalls.of(surroundings)
        self._asked: set[tuple[str, int]] = (
            set()
        )  # purchases of which we know that nobody made them before us

    @property
    def regions(self) -> tuple[str, ...]:
        """Where machines may be bought, the home region first. Raises ``aws-no-region``."""
        return tuple(dict.fromkeys([self.calls.session.region, *self._around.setting("aws.regions")]))

    @cached_property
    def fleet(self) -> Fleet:
        """The instances that exist, in every region where one of ours may be."""
        return Fleet(self.calls, list(dict.fromkeys([*self.regions, *self._used.names()])))

    @cached_property
    def images(self) -> Images:
        """Our images, in every region where one of ours may be."""
        return Images(self.calls, self.fleet.regions)

    @cached_property
    def volumes(self) -> Volumes:
        """Our volumes, in every region where one of ours may be."""
        return Volumes(self.calls, self.fleet.regions)

    @cached_property
    def _used(self) -> RegionsUsed:
        return RegionsUsed(
            state_dir(self._around.env) / "aws" / "regions",
            now=self._around.clock.now,
            read_only=self._around.read_only,
        )

    def offers(self, need: Resources, cancel: CancelToken) -> Sequence[Offer]:
        """What could satisfy ``need``, in the order to try. Reads only; answers are remembered for an hour.

        A machine that ``need`` names is the one offer: it is there, whoever made it, and is asked after every time.

        Raises:
            MachineGone, UsageError: of a machine that was named: ``aws-instance-unknown``, ``aws-not-running``.
            CapacityError: ``aws-no-type``, ``aws-no-offer``.
            UsageError: ``aws-gpu-unknown``, ``aws-type-unknown``, ``aws-no-image``, ``aws-network``.
            AccessError, UnreachableError: AWS could not be asked.
        """
        if need.machine:
            return (self._existing(need.machine, cancel),)
        return Shop(self._market(cancel), self._around.setting).offers(need, need.regions or self.regions)

    def _existing(self, machine_id: str, cancel: CancelToken) -> Offer:
        machine = self.fleet.machine(machine_id, cancel)
        if machine.state != "running":
            place = machine.offer.region
            raise known("aws-not-running", machine=machine.id, region=place, state=machine.state)
        return replace(machine.offer, machine=machine.id)

    def endpoint(self, offer: Offer) -> Endpoint | None:
        """How to reach the machine that the user named; None for everything that has to be bought."""
        return endpoint(offer.machine, offer.region) if offer.machine else None

    def store(self) -> str:
        """The bucket of the settings, or ``runctl-ACCOUNT-REGION`` in the home region. May ask who calls."""
        prefix = str(self._around.setting("aws.prefix")).strip("/")
        bucket = str(self._around.setting("aws.bucket"))
        if not bucket:
            account = self.calls.identity(self._around.cancel).account
            bucket = default_bucket(account, self.calls.session.region)
        return f"s3://{bucket}/{prefix}".rstrip("/")

    def acquire(self, offer: Offer, purchase: Purchase, cancel: CancelToken) -> Machine:
        """Buy the machine of ``offer`` for ``purchase``, or find the one that was bought before, and see it run.

        A machine that exists already is only looked at: nothing is bought, nothing is changed.

        Raises:
            NotBought: cancelled before EC2 was asked.
            CapacityError: transient: try the next offer; else a quota.
            AccessError, UsageError: AWS refused for good; nothing was bought.
            UnreachableError, MachineGone, Cancelled: what became of the purchase is not known here; its tag tells.
        """
        if offer.machine:
            found = self.fleet.machine(f"{offer.machine}@{offer.region}", cancel)
            return replace(found, run_id=purchase.run_id)
        try:
            if (purchase.run_id, purchase.attempt) not in self._asked:
                earlier = self.fleet.bought(purchase.run_id, purchase.attempt, cancel)
                if earlier is not None:
                    return earlier
                self._asked.add((purchase.run_id, purchase.attempt))
            self._used.note(offer.region)
            self.fleet.cover(offer.region)
            image = (
                self._market(cancel).images({offer.region: [offer.image]}).get((offer.region, offer.image))
            )
        except Cancelled as error:
            raise NotBought(what=error.what) from error
        if image is None:
            raise known("aws-image-unknown", region=offer.region, detail=f"there is no image {offer.image}")
        return Launch(self.fleet, self._account).buy(offer, purchase, image, cancel)

    def machines(self, cancel: CancelToken) -> Sequence[Machine]:
        """Every machine of ours that is or may be billed, by tag, in all regions of the settings.

        Also where this computer has bought one since yesterday, or still has one, though no setting names the region.
        """
        found = self.fleet.ours(cancel)
        self._used.settle({each.offer.region for each in found})
        return found

    def held(self, cancel: CancelToken) -> Sequence[Held]:
        """Our images, volumes and snapshots. A volume of gp3 has its price from the table, without what speed costs."""
        with together(cancel) as scope:
            images = scope.start("images", lambda: self.images.all(scope.cancel))
            volumes = scope.start("volumes", lambda: self.volumes.all(scope.cancel))
            copies = scope.start("snapshots", lambda: self.volumes.snapshots(scope.cancel))
        return (
            *(Held("image", self.name, e.id, e.name, e.region, e.state, e.gb) for e in images.result()),
            *(
                Held("volume", self.name, e.id, e.name, e.zone, e.state, e.gb, e.machine, month_of(e))
                for e in volumes.result()
            ),
            *(Held("snapshot", self.name, e.id, e.name, e.region, e.state, e.gb) for e in copies.result()),
        )

    def cache_volumes(
        self, need: Resources, zones: Sequence[str], cancel: CancelToken
    ) -> Sequence[CacheVolume]:
        """See ``Caches.find``."""
        return Caches(self.fleet).find(need, zones, cancel)

    def attach_cache(self, need: Resources, machine: Machine, cancel: CancelToken) -> CacheVolume:
        """See ``Caches.attach``."""
        return Caches(self.fleet).attach(need, machine, cancel)

    def copy_cache(self, cache: CacheVolume, *, changed: bool, cancel: CancelToken) -> str:
        """See ``Caches.copy``."""
        return Caches(self.fleet).copy(cache, changed=changed, cancel=cancel)

    def release(self, machine_id: str, cancel: CancelToken) -> None:
        """Terminate a machine of ours and see it end. Raises ``ReleaseOwed`` when that is not sure, ``aws-not-ours``."""
        self.fleet.release(machine_id, cancel)

    def probes(self, need: Resources) -> Sequence[Probe]:
        """Everything there is to look at in the account, for a machine that satisfies ``need``."""
        asked = need.gpu or need.cpus or need.memory_gb or need.machine_type
        find = (lambda cancel: self.offers(need, cancel)) if asked else None
        return doctor.probes_for_account(self._examined, find)

    def probes_for(self, offers: Sequence[Offer], data: Sequence[str]) -> Sequence[Probe]:
        """What has to hold before one of ``offers`` is bought: keys, bucket, profile, data, quota, permissions. Read-only."""
        return doctor.probes_for_plan(self._examined, offers, data)

    def explain(
        self,
        error: RunctlError,
        *,
        cancel: CancelToken,
        machine_id: str = "",
        offer: Offer | None = None,
        more: Sequence[Probe] = (),
    ) -> RunctlError:
        """``error`` with what probes find about it, within three seconds; never raises. See ``aws.explain``."""
        return explain(error, self._examined, cancel=cancel, machine_id=machine_id, offer=offer, more=more)

    @property
    def _examined(self) -> examined.Account:
        return examined.Account(self.calls, self._around.setting)

    def machine(self, machine_id: str, cancel: CancelToken) -> Machine:
        """Any instance, ours or not. Raises ``aws-instance-unknown``, ``aws-id``."""
        return self.fleet.machine(machine_id, cancel)

    def start(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> Machine:
        """See ``Fleet.start``."""
        return self.fleet.start(machine_id, cancel, not_mine=not_mine)

    def stop(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> None:
        """See ``Fleet.stop``."""
        self.fleet.stop(machine_id, cancel, not_mine=not_mine)

    def end(self, machine_id: str, cancel: CancelToken, *, not_mine: bool = False) -> None:
        """See ``Fleet.release``."""
        self.fleet.release(machine_id, cancel, not_mine=not_mine)

    @property
    def _account(self) -> Account:
        setting = self._around.setting
        return Account(
            profile=str(setting("aws.instance_profile")),
            subnet=str(setting("aws.subnet")),
            security_group=str(setting("aws.security_group")),
        )

    def _market(self, cancel: CancelToken) -> Market:
        cache = AnswerCache(
            cache_dir(self._around.env) / "aws",
            whose=self.calls.session.whose,
            now=self._around.clock.now,
            read_only=self._around.read_only,
        )
        return Market(self.calls, cache, cancel)
