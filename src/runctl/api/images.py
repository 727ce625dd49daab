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
from runctl.core.model import Endpoint
from runctl.engine.container_tool import ContainerTool, find_tool
from runctl.engine.steps import step
from runctl.project import containerfile, dependencies
from runctl.project.root import find_root
from runctl.project.script import resolve_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.api.runtime import Runtime
    from runctl.project.containerfile import Containerfile
    from runctl.project.root import Root


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
