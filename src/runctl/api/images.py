"""Container images of a project: build one here, send it to a registry."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl import registry
from runctl.api.wanted import resources
from runctl.aws import ecr
from runctl.aws.calls import AwsCalls
from runctl.core.catalogue import known
from runctl.core.events import Notice
from runctl.core.model import Endpoint
from runctl.engine import image_name
from runctl.engine.container_tool import ContainerTool, Login, find_tool
from runctl.engine.steps import step
from runctl.project import containerfile, dependencies
from runctl.project.root import find_root
from runctl.project.script import resolve_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.api.runtime import Runtime
    from runctl.core.ports import Provider
    from runctl.project.containerfile import Containerfile
    from runctl.project.root import Root

ECR = "ecr"  # as a place to push to: the registry of the caller's account


@dataclass(frozen=True)
class BuiltImage:
    """An image that is with this computer's engine now. ``file`` is empty where the Dockerfile was made."""

    image: str
    id: str
    engine: str
    file: str
    why: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def containerfile_of(
    rt: Runtime, *, script: str = "", cwd: Path, file: str = "", base: str = ""
) -> tuple[Root, Containerfile]:
    """The project around ``cwd`` or ``script``, and what its image is built from. Reads only.

    Args:
        script: decides with its own metadata, and with what lies beside it, where there is no Dockerfile.
        cwd: where paths are relative to.
        file: the Dockerfile to use; without it that of the project's root, else one is made.
        base: what a made one begins with; one is made then, whatever lies there.

    Raises:
        UsageError: ``dockerfile-unreadable``, ``dockerfile-nothing``, ``dockerfile-not-made``,
            ``dockerfile-python``, ``conda-environment``; what is wrong with the script or the project.
    """
    found = resolve_script(script, cwd=cwd) if script else None
    root = find_root(cwd) if found is None else found.root
    own = None if base else containerfile.own(root.path, cwd / Path(file).expanduser() if file else None)
    if own is not None:
        return root, own
    needs = dependencies.find(
        root.path, None if found is None else found.path, None, python=rt.config.text("python")
    )
    return root, containerfile.made(root.path, needs, base)


def build_image(
    rt: Runtime,
    *,
    script: str = "",
    cwd: Path,
    tag: str = "",
    file: str = "",
    base: str = "",
    platform: str = "",
) -> BuiltImage:
    """Build the project's image with this computer's engine. Safe to repeat; what an engine has built it builds no more.

    Raises:
        UsageError: as ``containerfile_of``.
        InstallError: ``container-tool-missing``, ``image-not-built``.
        Cancelled: the engine was ended; no tag has changed.
    """
    root, source = containerfile_of(rt, script=script, cwd=cwd, file=file, base=base)
    tool = tool_here(rt)
    name = tag or default_name(root)
    begun = rt.clock.monotonic()
    with step(
        "image", f"build {name} with {' '.join(tool.builder[:2])}", emit=rt.emit, clock=rt.clock
    ) as doing:
        with _sources(root, source) as (path, context):
            number = tool.build(tag=name, file=path, context=context, platform=platform)
        doing.summary = f"from {source.path or 'a made Dockerfile'}"
    full = tool.name_of(name)
    seconds = round(rt.clock.monotonic() - begun, 3)
    return BuiltImage(full, number, tool.program, source.path, source.why, seconds)


@dataclass(frozen=True)
class PushedImage:
    """An image that is with a registry. ``image`` names it by digest: what it means never changes."""

    image: str
    tag: str
    digest: str
    repository_made: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def push_image(rt: Runtime, image: str = "", *, cwd: Path, to: str = "") -> PushedImage:
    """Send an image that is here to a registry. Safe to repeat: layers that are there are not sent again.

    Args:
        image: its name; without one, what ``build_image`` calls that of the project around ``cwd``.
        cwd: where the project is looked for.
        to: a registry, a repository, or one with a tag; ``ecr`` is that of your AWS account and region. Without it, the
            registry that ``image`` names.

    Raises:
        UsageError: ``registry-missing``, ``image-not-here``.
        AccessError: ``image-push-refused``; no AWS credentials, or ones that may not.
        InstallError: ``container-tool-missing``, ``image-not-pushed``.
        UnreachableError: ``image-push-network``.
        Cancelled: the engine was ended; no tag has changed at the registry.
    """
    name = image_name.read(image or default_name(find_root(cwd)))
    target = name if not to or to == ECR else image_name.target_of(name, to)
    if to != ECR and not target.remote:
        raise known("registry-missing", image=target.text)
    place = ecr.Place() if to == ECR else ecr.place_of(target.registry)
    tool = tool_here(rt)
    full = tool.name_of(image or name.text)
    login, made, begun = None, False, rt.clock.monotonic()
    with step("push", f"push {name.text} with {tool.program}", emit=rt.emit, clock=rt.clock) as doing:
        if place is not None:
            calls = AwsCalls.of(rt.surroundings())
            made = ecr.make_repository(calls, place, target.repository, rt.cancel)
            token = ecr.log_in(calls, place, rt.cancel)
            target = target._replace(registry=token.host)
            login = Login(token.host, token.user, token.password)
            if made:
                rt.emit(Notice("info", f"made the repository {target.repository} in {token.host}"))
        digest = tool.push(full, target.text, login=login)
        doing.summary = f"{target.text}, {digest[:19]}"
    seconds = round(rt.clock.monotonic() - begun, 3)
    return PushedImage(f"{target.path}@{digest}", target.text, digest, made, seconds)


def image_for_run(
    rt: Runtime,
    *,
    script: str,
    cwd: Path,
    tag: str = "",
    file: str = "",
    base: str = "",
    platform: str = "",
    to: str = "",
    dry: bool = False,
) -> str:
    """Build an image for a run of ``script`` and push it where its machine is another one; the name to run it by.

    A machine that is bought takes it from ECR unless ``to`` says otherwise, by its digest. With ``dry`` nothing is built
    or pushed: what would be is a notice, and the name has a tag.

    Raises:
        UsageError: ``registry-missing`` before anything is built.
        RunctlError: what ``build_image`` and ``push_image`` raise.
    """
    root, source = containerfile_of(rt, script=script, cwd=cwd, file=file, base=base)
    target = rt.config.text("target")
    provider = rt.provider(target, read_only=True)
    if not to and provider.features.costs_money:
        to = ECR
    name = tag or default_name(root)
    pushed = bool(to) or _elsewhere(rt, provider)
    goes = image_name.read(name) if not to or to == ECR else image_name.target_of(image_name.read(name), to)
    if pushed and to != ECR and not goes.remote:
        raise known("registry-missing", image=name)
    if dry:
        made = f"image {name} would be built from {source.path or f'a Dockerfile made of {source.why}'}"
        rt.emit(Notice("info", f"{made}, and pushed to {to or goes.registry}" if pushed else made))
        return name if to == ECR else goes.text
    built = build_image(rt, script=script, cwd=cwd, tag=tag, file=file, base=base, platform=platform)
    return push_image(rt, built.image, cwd=cwd, to=to or goes.text).image if pushed else built.image


def _elsewhere(rt: Runtime, provider: Provider) -> bool:
    """Whether its machines are other ones than this computer."""
    if provider.features.costs_money:
        return True
    endpoint = provider.endpoint(provider.offers(resources(rt.config), rt.cancel)[0])
    return endpoint is None or endpoint.transport != "local"


def tool_here(rt: Runtime) -> ContainerTool:
    """This computer's engine; raises ``container-tool-missing``."""
    transport = registry.transport(Endpoint("local"), rt.surroundings())
    return find_tool(transport, emit=rt.emit, clock=rt.clock, cancel=rt.cancel)


def default_name(root: Root) -> str:
    """What an image of the project is called where nobody says: the folder's name, as registries take it. Pure."""
    name = re.sub(r"[^a-z0-9]+", "-", root.path.name.lower()).strip("-")
    return f"{name or 'project'}:latest"


@contextmanager
def _sources(root: Root, source: Containerfile) -> Iterator[tuple[Path, Path]]:
    """The file to build and what it may copy: a made one sees the files it names and nothing else."""
    if source.files is None:
        yield root.path / source.path, root.path
        return
    with tempfile.TemporaryDirectory(prefix="runctl-") as folder:
        context = Path(folder, "context")
        for each in source.files:
            (context / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root.path / each, context / each)
        context.mkdir(exist_ok=True)
        made = Path(folder, "Dockerfile")
        made.write_text(source.text)
        yield made, context
