"""The name of a container image, in its parts. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

LATEST = "latest"


class ImageName(NamedTuple):
    """``REGISTRY/REPOSITORY:TAG`` or ``…@DIGEST``; ``registry`` is empty where the engine's own rule decides."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def remote(self) -> bool:
        """Whether a registry is named, and one that can be pushed to: podman calls what it built itself ``localhost/``."""
        return self.registry not in ("", "localhost")

    @property
    def text(self) -> str:
        """The name whole, with its tag."""
        return f"{self.path}:{self.tag or LATEST}"

    @property
    def path(self) -> str:
        """The name without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository


def read(text: str) -> ImageName:
    """The parts of ``text``. The first part is a registry when it has a dot or a colon in it, or is ``localhost``."""
    rest, _, digest = text.partition("@")
    found = re.fullmatch(r"(.*?)(?::([^:/]+))?", rest)
    path, tag = (found[1], found[2] or "") if found else (rest, "")
    first, slash, behind = path.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return ImageName(first, behind, tag, digest)
    return ImageName("", path, tag, digest)


def target_of(image: ImageName, to: str) -> ImageName:
    """Where ``image`` goes when the user says ``to``: a registry, a repository in one, or that with a tag."""
    if re.fullmatch(r"[^/]+[.:][^/]+", to):
        return image._replace(registry=to, digest="")
    wanted = read(to)
    return wanted._replace(tag=wanted.tag or image.tag)
