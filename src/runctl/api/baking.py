"""Images with an environment in them: baked on a machine of their own that is given back, listed, shared, pruned."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runctl.api.env_building import COMMAND, build_at
from runctl.api.machines import wait
from runctl.api.planning import read_project
from runctl.api.syncing import sync
from runctl.api.wanted import resources
from runctl.core.cancel import limited
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.events import Notice
from runctl.core.model import Purchase
from runctl.core.quantities import count
from runctl.engine import names
from runctl.engine.boot import bare_user_data
from runctl.engine.lease import lease
from runctl.engine.steps import step
from runctl.project.script import resolve_script
from runctl.providers.aws import baked, images
from runctl.providers.aws.offers import GPU_DISK_GB
from runctl.providers.aws.provider import AwsProvider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.model import Machine, Offer, Resources
    from runctl.project.root import Root
    from runctl.providers.aws.baked import BakedImage, Images

REACHED_SECONDS: Final = 600.0  # until a new machine can be talked to
UNDO_SECONDS: Final = 20.0  # for taking back an image that nobody will use
BAKES_ON_CPUS, BAKES_ON_GB = 2, 8.0  # cores and GiB of memory of a machine that stands in for one with a GPU


@dataclass(frozen=True)
class Preset:
    """A usual environment: what is installed, and whether it is for machines with a GPU."""

    requirements: tuple[str, ...]
    checks: str
    gpu: bool


PRESETS: Final[Mapping[str, Preset]] = {
    "pytorch-cuda": Preset(("torch", "torchvision", "numpy"), "torch", gpu=True),
    "jax-cuda": Preset(("jax[cuda12]", "flax", "optax", "numpy"), "jax", gpu=True),
    "cpu-sklearn": Preset(("scikit-learn", "pandas", "numpy"), "sklearn", gpu=False),
}


@dataclass(frozen=True)
class Recipe:
    """What is going to be baked, decided: for which dependencies, on which machine, standing on which image."""

    name: str
    root: Root
    script: str
    request: Mapping[str, Any]
    base: str
    offers: tuple[Offer, ...]
    disk_gb: float | None
    there: BakedImage | None  # one that has the same environment on the same base already

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "script": self.script,
            "environment": self.request["digest"],
            "base": self.base,
            "machine_type": self.offers[0].machine_type,
            "region": self.offers[0].region,
            "price_per_hour": str(self.offers[0].price_per_hour),
            "there": None if self.there is None else self.there.to_json(),
        }


def provider_of(rt: Runtime, *, read_only: bool = False) -> AwsProvider:
    """The provider whose images these are."""
    found = rt.provider("aws", read_only=read_only)
    assert isinstance(found, AwsProvider)
    return found


@contextmanager
def preset_project(preset: str) -> Iterator[Path]:
    """The script of a project that needs just what a preset says; gone afterwards. Raises ``preset-unknown``."""
    if preset not in PRESETS:
        raise known("preset-unknown", preset=preset, presets=", ".join(PRESETS))
    with tempfile.TemporaryDirectory(prefix="runctl-preset-") as folder:
        found = PRESETS[preset]
        Path(folder, "requirements.txt").write_text("\n".join(found.requirements) + "\n")
        script = Path(folder, "check.py")
        script.write_text(f"import {found.checks}\n")
        yield script


def plan_bake(
    rt: Runtime, script: str, *, name: str = "", gpu: bool = False, cwd: Path | None = None, dry: bool = True
) -> Recipe:
    """Decide what baking the environment of ``script`` takes. Reads only.

    Where the settings (or ``gpu``) ask for a GPU, the image stands on the one for GPUs, and is baked on a machine without:
    installing needs none.

    Raises:
        UsageError: ``env-nothing``; what is wrong with the project.
        CapacityError, AccessError: as ``offers``.
    """
    found = resolve_script(script, cwd=cwd or Path.cwd(), root=None)
    project = read_project(rt, found.root, found.path)
    request = project.dependencies.wanted()
    if request is None:
        raise known("env-nothing", script=str(found.path), why=project.dependencies.why)
    provider = provider_of(rt, read_only=dry)
    need = resources(rt.config)
    base, offers = _where(rt, provider, need, gpu=gpu or bool(need.gpu))
    there = [
        each
        for each in provider.images.find({baked.ENVIRONMENT: str(request["digest"])}, rt.cancel)
        if (each.base, each.region, each.state) == (base, offers[0].region, "available")
    ]
    return Recipe(
        name=name or found.root.path.name,
        root=found.root,
        script=str(found.path),
        request=request,
        base=base,
        offers=offers,
        disk_gb=need.disk_gb or (GPU_DISK_GB if gpu or need.gpu else None),
        there=there[0] if there else None,
    )


def _where(
    rt: Runtime, provider: AwsProvider, need: Resources, *, gpu: bool
) -> tuple[str, tuple[Offer, ...]]:
    """The image to stand on, and the machines it may be baked on."""
    region = provider.regions[0]
    need = replace(need, spot=False, regions=(region,))  # an interruption would lose the work
    if not gpu:
        offers = tuple(provider.offers(need, rt.cancel))
        arch = offers[0].arch
        base = need.image or images.base(arch=arch, gpus=0)
        return base, tuple(each for each in offers if each.arch == arch)
    arch = provider.offers(need, rt.cancel)[0].arch if need.gpu or need.machine_type else "x86_64"
    base = need.image or images.base(arch=arch, gpus=1)
    small = replace(
        need, gpu=None, machine_type=None, cpus=BAKES_ON_CPUS, memory_gb=BAKES_ON_GB, image=base,
        disk_gb=need.disk_gb or GPU_DISK_GB,
    )  # fmt: skip
    offers = tuple(each for each in provider.offers(small, rt.cancel) if each.arch == arch)
    return base, offers


def bake(rt: Runtime, recipe: Recipe, *, hours: float) -> BakedImage:
    """Bake ``recipe``: buy a machine, install, try, copy its disk, give it back.

    The machine ends itself after ``hours``, whatever happens here. A failure or a cancel gives it back and takes back the
    image that was begun; killed, ``runctl clean`` and ``runctl aws ami prune`` find both by their tags.

    Raises:
        CapacityError, AccessError, UsageError: nothing was bought.
        InstallError: why it cannot be installed.
        RunctlError: ``image-failed``, ``env-untried``; what the machine and AWS say.
    """
    provider = provider_of(rt)
    run_id, _ = names.fresh(now=rt.clock.now().timestamp(), random=os.urandom)
    purchase = Purchase(
        run_id=run_id,
        name=f"bake-{recipe.name}",
        user_data=bare_user_data(minutes=max(1, round(hours * 60))),
        disk_gb=recipe.disk_gb,
        expires_at=rt.clock.now() + timedelta(hours=hours),
        keep=True,
    )
    with lease(
        provider, recipe.offers, purchase, ledger=rt.ledger(), emit=rt.emit, clock=rt.clock, cancel=rt.cancel
    ) as held:
        machine = held.machine
        wait(rt, "aws", machine.id, "reached", seconds=REACHED_SECONDS)
        code = sync(rt, machine.id, cwd=recipe.root.path).receipt.path
        built = build_at(
            rt, machine.endpoint, recipe.request, code=code, store=provider.store(), name=machine.id
        )
        with step("try", "try what was installed", emit=rt.emit, clock=rt.clock) as doing:
            agent = rt.agent(machine.endpoint)
            tried = agent.call(COMMAND, {"op": "alone", "key": built.key}, cancel=rt.cancel)
            doing.summary = f"{count(tried['checked'], 'imports')} tried"
        told = {
            baked.NAME: recipe.name,
            baked.ENVIRONMENT: str(recipe.request["digest"]),
            baked.KEY: built.key,
            baked.BASE: recipe.base,
            baked.PACKAGES: str(built.packages),
            baked.SECONDS: f"{built.seconds:.1f}",
            baked.SCRIPT: recipe.script,
        }
        return _copied(rt, provider.images, machine, f"runctl-{recipe.name}-{run_id}", told)


def _copied(rt: Runtime, ours: Images, machine: Machine, title: str, told: Mapping[str, str]) -> BakedImage:
    """The image of a machine's disk, once it can be used; taken back when that fails."""
    with step("image", "copy its disk into an image", emit=rt.emit, clock=rt.clock) as doing:
        region = machine.offer.region
        image_id = ours.make(machine.id, region, title=title, told=told, cancel=rt.cancel)
        try:
            found = ours.await_available(image_id, region, rt.cancel)
        except BaseException:
            _take_back(rt, ours, image_id)
            raise
        doing.summary = f"{found.id}, {found.gb} GB"
    return found


def _take_back(rt: Runtime, ours: Images, image_id: str) -> None:
    with limited(rt.cancel, UNDO_SECONDS) as cancel:
        try:
            ours.remove(ours.named(image_id, cancel), cancel)
        except RunctlError as error:
            text = f"the image {image_id} may be left: {error.what}; look with: runctl aws ami list"
            rt.emit(Notice("warning", text))


def baked_images(rt: Runtime) -> list[BakedImage]:
    """Our images, the newest first. Reads only."""
    return provider_of(rt, read_only=True).images.all(rt.cancel)


def baked_image(rt: Runtime, word: str) -> BakedImage:
    """One by its id, or the newest of a name. Raises ``image-unknown``."""
    return provider_of(rt, read_only=True).images.named(word, rt.cancel)


def prunable(
    rt: Runtime, words: Sequence[str], *, older_than: float | None, keep: int | None
) -> list[BakedImage]:
    """Those that are named, older than so many seconds, or not among the newest ``keep`` of their name.

    Raises ``image-unknown`` for a word that names none.
    """
    found = baked_images(rt)
    chosen = [each for each in found if {each.id, each.name} & set(words)]
    for word in words:
        if not any(word in (each.id, each.name) for each in chosen):
            regions = ", ".join(provider_of(rt, read_only=True).regions)
            raise known("image-unknown", image=word, regions=regions)
    now = rt.clock.now()
    seen: dict[tuple[str, str, str], int] = {}
    for each in found:
        place = (each.region, each.name, each.arch)
        seen[place] = seen.get(place, 0) + 1
        old = older_than is not None and _age(each, now) > older_than
        if old or (keep is not None and seen[place] > keep) or each.state in ("failed", "error"):
            chosen.append(each)
    return [each for each in found if each in chosen]


def _age(image: BakedImage, now: datetime) -> float:
    made = datetime.fromisoformat(image.created_at) if image.created_at else now
    return (now - made).total_seconds()


def remove_image(rt: Runtime, image: BakedImage) -> None:
    """Deregister an image of ours and delete its snapshots."""
    with step("prune", f"remove {image.id}", emit=rt.emit, clock=rt.clock):
        provider_of(rt).images.remove(image, rt.cancel)


def share_image(rt: Runtime, image: BakedImage, accounts: Sequence[str]) -> None:
    """Let other accounts launch it. Raises ``image-not-shareable``."""
    provider_of(rt).images.share(image, accounts, rt.cancel)
